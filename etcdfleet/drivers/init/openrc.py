"""etcd under OpenRC: an init script with ``supervise-daemon``, settings in ``/etc/conf.d/etcd``, log in a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from etcdfleet.drivers.init import Hidden, ServiceFile, ServiceState, ran_seconds

if TYPE_CHECKING:
    from etcdfleet.remote import CommandResult

_LOG = "/var/log/etcd/etcd.log"
# The supervisor's child, not the supervisor: pgrep by full command line, in busybox and elsewhere.
_PID = "pgrep -o -f '^[^ ]*etcd --config-file=/etc/etcd/conf.yml' 2>/dev/null"
_PROGRAM = "sed -n 's|^command=\"\\(.*\\)\"$|\\1|p' /etc/init.d/etcd"

_OF_THE_SCRIPT = frozenset({"name", "description", "disk_wait", "disk_there"})


class OpenRC:
    """See `etcdfleet.drivers.init.Service`."""

    name = "openrc"
    hides: tuple[Hidden, ...] = ()
    detect = "[ -e /run/openrc/softlevel ]"
    files: tuple[ServiceFile, ...] = (
        ServiceFile("etcd.initd.j2", "/etc/init.d/etcd", 0o755),
        ServiceFile("etcd.confd.j2", "/etc/conf.d/etcd"),
    )
    made: tuple[str, ...] = (_LOG.rpartition("/")[0],)
    program = _PROGRAM
    probe = (
        'rc-service etcd status 2>&1; echo "rc=$?"\n'
        "[ -e /etc/runlevels/default/etcd ] && echo enabled=yes\n"
        f'pid=$({_PID}) && echo "pid=$pid" && '
        'echo "started=$(stat -c %Y "/proc/$pid" 2>/dev/null)"'
    )
    installed = "true"
    prevent_autostart = "true"  # apk starts no services
    # Without a supervisor the state is a leftover: "crashed" where it gave up, even "started" where the start was cut
    # off with its SSH session (openrc-run takes a hang-up for a success). zap forgets the state, and start works again.
    start = (
        "pgrep -f '^[^ ]*supervise-daemon etcd ' >/dev/null || rc-service etcd zap >/dev/null 2>&1 || true\n"
        "rc-service --quiet --ifstopped etcd start"
    )
    restart = (
        "rc-service --quiet etcd stop || true\nrc-service etcd zap >/dev/null 2>&1 || true\n"
        "rc-service --quiet etcd start"
    )
    stop = "rc-service --quiet --ifstarted etcd stop"
    enable = "rc-update --quiet add etcd default"
    disable = "rc-update --quiet delete etcd default"
    pid = _PID
    # supervise-daemon writes it at each start of its child: 0 is the first.
    respawns = "cat /run/openrc/options/etcd/start_count 2>/dev/null || echo 0"
    gave_up = "! rc-service etcd status >/dev/null 2>&1"

    def read(self, result: CommandResult) -> ServiceState:
        """Return the state out of ``rc-service status``, the runlevel and the process list."""
        values = dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)
        first = result.stdout.strip().splitlines()[0].strip() if result.stdout.strip() else ""
        pid = values.get("pid", "")
        return ServiceState(
            running=values.get("rc") == "0" and pid.isdigit(),
            enabled=values.get("enabled") == "yes",
            pid=int(pid) if pid.isdigit() else None,
            started=values.get("started", ""),
            loaded="/etc/init.d/etcd",
            detail=first.removeprefix("* ").strip(),
            program=values.get("program", ""),
            program_file=values.get("program_file", ""),
            runs=values.get("runs", ""),
            seconds=ran_seconds(values.get("ran", "")),
        )

    def in_force(self, content: bytes) -> tuple[str, ...]:
        """Return the assignments, read when supervise-daemon starts; OpenRC reads functions whenever it runs one."""
        assignments, inside = [], False
        for line in content.decode("utf-8", "replace").splitlines():
            inside = (inside or line.endswith("() {")) and line != "}"
            if line.strip() and line[0] not in "#}" and not inside and line.partition("=")[0] not in _OF_THE_SCRIPT:
                assignments.append(line)
        return tuple(assignments)

    def logs(self, lines: int) -> str:
        """Return shell that prints the end of the log file that supervise-daemon writes."""
        return f"tail -n {lines} {_LOG}"

    def environment(self) -> Mapping[str, str]:
        """Return where the init script sends etcd's output."""
        return {"log_file": _LOG}

    def stop_other(self, _: str) -> str:
        """Return how to stop and disable the service of Alpine's package."""
        return "rc-service etcd stop; rc-update del etcd"
