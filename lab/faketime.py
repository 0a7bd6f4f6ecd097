"""Clock faults: a host that is told another time than it is.

The kernel's clock is shared by all hosts and the controller, so it cannot be changed for one. What is shifted is the
time that commands on the host see: ``date``, ``openssl`` and ``curl`` get a front in ``/usr/local/bin``, first in the
PATH of logins, sudo and OpenRC. It preloads libfaketime, or has ``date`` show another time than now: that library works
neither with Alpine's musl programs (``date`` and ``curl`` there) nor with the 64-bit time of Debian's 32-bit ``date``.

Not shifted: programs called by their full path or already running, etcd (Go asks the kernel directly) and Vault, shell
built-ins, times of files, logs, and everything else in the host. So a shifted host behaves as a person or a check
on it sees a wrong clock, while its etcd does not: to see etcd with expired certificates, use short lives (TTL).
A library in ``/etc/ld.so.preload`` would reach more, but shifts the clock for time-outs too: sshd and systemctl fail.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping

from lab import hosts
from lab.errors import LabError, LabUsageError
from lab.state import Init, Kind, Lab, LabHost

FOLDER = "/usr/local/bin"
MARK = "# Made by the lab: this command sees a shifted clock."
LIBRARY = "/usr/$LIB/faketime/libfaketime.so.1"  # $LIB: the loader's own, Debian's folder of the architecture
PRELOADED: Mapping[Kind, tuple[str, ...]] = {
    "debian": ("openssl", "curl"),
    "debian13": ("openssl", "curl"),
    "debian-armhf": ("openssl", "curl"),
    "alpine": ("openssl",),
}
# How `date` is told a time, from an offset in seconds. Busybox knows no relative times.
DATES: Mapping[Init, str] = {"systemd": "now {offset:+d} seconds", "openrc": "@$(($(/bin/date +%s) + {offset}))"}
TIMEOUT_SECONDS = 30

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "y": 365 * 86400}

# DONT_FAKE_MONOTONIC: or time-outs, which count on another clock, go wrong. NO_FAKE_STAT: times of files stay true.
_PRELOADING_FRONT = """\
#!/bin/sh
{mark}
export LD_PRELOAD='{library}' FAKETIME='{offset:+d}' FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1
exec {program} "$@"
"""

# Only what shows the present time; to show or set another is the real command's.
_DATE_FRONT = """\
#!/bin/sh
{mark}
for argument in "$@"; do
	case $argument in
	-u | --utc | --universal | -R | --rfc-email | -I* | --iso-8601* | --rfc-3339=* | +*) ;;
	*) exec /bin/date "$@" ;;
	esac
done
exec /bin/date -d "{date}" "$@"
"""


def parse_offset(text: str) -> int:
    """Return the seconds in an offset such as ``-365d`` or ``+90m``: sign, number, and s, m, h, d or y (none: s).

    Raises LabUsageError for anything else.
    """
    match = re.fullmatch(r"([+-])(\d{1,10})([smhdy]?)", text)
    if not match:
        raise LabUsageError(
            f"{text!r} is no offset of a clock", where="clock", remedy="write it as -365d, +2h, -90m or +30s, or: reset"
        )
    seconds = int(match[2]) * _UNITS[match[3] or "s"]
    return -seconds if match[1] == "-" else seconds


def set(lab: Lab, host: LabHost, offset: str) -> None:  # noqa: A001 - read as faketime.set
    """Shift the clock that new commands on a running host see, by ``offset`` (see ``parse_offset``) from the true time.

    It stays over a restart of the host. Raises LabUsageError for a wrong offset, LabError if the host is off, has no
    libfaketime, or holds a foreign file at a front's place (nothing is changed then).
    """
    seconds = parse_offset(offset)
    script = f"library=$(ls /usr/lib/*/faketime/libfaketime.so.1) || exit 3\nmkdir -p {FOLDER}\n"
    for name in _fronts(host):
        script += f"[ ! -e {FOLDER}/{name} ] || grep -qxF '{MARK}' {FOLDER}/{name} || exit 4\n"
    for name in PRELOADED[host.kind]:
        program = f"/usr/bin/{name}"
        text = _PRELOADING_FRONT.format(mark=MARK, library=LIBRARY, offset=seconds, program=program)
        script += f"if [ -x {program} ]; then\n{_writing(name, text)}fi\n"
    script += _writing("date", date_front(host.init, seconds))
    _run(lab, host, script)


def clear(lab: Lab, host: LabHost) -> None:
    """Show the true time again; fine if it was not shifted. Raises LabError if the host is off."""
    script = (
        f"for name in {' '.join(_fronts(host))}; do\n"
        f"  file={FOLDER}/$name\n"
        f"  if [ -f $file ] && grep -qxF '{MARK}' $file; then rm -f $file; fi\n"
        f"  rm -f {FOLDER}/.lab-$name\n"
        "done\n"
    )
    _run(lab, host, script)


def date_front(init: Init, offset: int) -> str:
    """Return the shell script that stands before ``date``: ``offset`` in seconds."""
    return _DATE_FRONT.format(mark=MARK, date=DATES[init].format(offset=offset))


def _fronts(host: LabHost) -> tuple[str, ...]:
    return ("date", *PRELOADED[host.kind])


def _writing(name: str, text: str) -> str:
    # Whole or not at all: a command that is run just now must not read half a script.
    temporary = f"{FOLDER}/.lab-{name}"
    here = f"cat > {temporary} <<'END-OF-FRONT'\n{text}END-OF-FRONT\n"
    return f"{here}chmod 755 {temporary}\nmv -f {temporary} {FOLDER}/{name}\n"


def _run(lab: Lab, host: LabHost, script: str) -> None:
    # Inside the host and not by writing below its root: the disk is a mounted overlay.
    command = hosts.enter_command(lab, host, ["/bin/sh", "-eu", "-s"])
    try:
        done = subprocess.run(
            command, input=script, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"did not answer within {TIMEOUT_SECONDS} s", where=host.name) from error
    if done.returncode == 3:
        remedy = f"python -m lab down --name {lab.name}, then up: its disk was made from an older image"
        raise LabError("the host has no libfaketime", where=host.name, remedy=remedy)
    if done.returncode == 4:
        raise LabError("a command there is not the lab's", where=f"{host.name}:{FOLDER}", remedy="remove it yourself")
    if done.returncode:
        raise LabError(f"the clock could not be changed: {done.stderr.strip()}", where=host.name)
