"""Long-running programs of a lab: started detached from the command line tool, found again, ended."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab import cgroups
from lab.errors import LabError
from lab.state import Lab, write_atomic


def start(
    lab: Lab,
    name: str,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    netns: str | None = None,
    memory: int | None = None,
) -> None:
    """Start ``argv`` as the daemon ``name`` in a session and a control group of its own.

    Output is appended to ``.lab/<lab>/logs/<name>.log``. ``env`` is the whole environment (None: the caller's);
    ``netns`` names a network namespace (None: the controller's); ``memory`` is a limit in bytes. Returns at once: the
    caller waits for what it needs. Raises LabError if that daemon runs already.
    """
    if running(lab, name):
        raise LabError(f"{name} runs already", where=f"lab {lab.name}", remedy=f"python -m lab down --name {lab.name}")
    lab.logs.mkdir(parents=True, exist_ok=True)
    _record(lab, name).parent.mkdir(exist_ok=True)
    groups = cgroups.create(_group(lab, name), memory=memory)
    command = [*(["ip", "netns", "exec", netns] if netns else []), *argv]
    with (lab.logs / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            cgroups.enter(groups, command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=env,
            start_new_session=True,
        )
    record = {"pid": process.pid, "started": _start_time(process.pid), "argv": list(argv)}
    write_atomic(_record(lab, name), json.dumps(record) + "\n", mode=0o600)


def stop(lab: Lab, name: str) -> None:
    """End the daemon ``name`` and its children (SIGKILL, which each must survive anyway); fine if it is not running."""
    group = _group(lab, name)
    cgroups.kill(group)
    cgroups.remove(group)
    _record(lab, name).unlink(missing_ok=True)


def running(lab: Lab, name: str) -> bool:
    """Return whether the daemon started as ``name`` is alive: the same process, not one that got its number later."""
    return main_pid(lab, name) is not None


def main_pid(lab: Lab, name: str) -> int | None:
    """Process id of the daemon, None if it never ran or that process is gone (a re-used number does not count)."""
    try:
        record = json.loads(_record(lab, name).read_text())
    except (OSError, ValueError):
        return None
    pid = int(record["pid"])
    return pid if record["started"] and _start_time(pid) == record["started"] else None


def tail(lab: Lab, name: str, lines: int = 10) -> str:
    """Return the last lines of the daemon's log, for error messages."""
    try:
        return "\n".join((lab.logs / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _group(lab: Lab, name: str) -> str:
    return f"{lab.cgroup}/{name}"


def _record(lab: Lab, name: str) -> Path:
    return lab.dir / "run" / f"{name}.json"


def _start_time(pid: int) -> str:
    """Return when a process started (clock ticks since which boot), empty if it is gone: its identity."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else f"{fields[19]}@{_boot_id()}"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def signal_main(lab: Lab, name: str, number: int) -> bool:
    """Send a signal to the daemon itself (not its children); False if it does not run."""
    pid = main_pid(lab, name)
    if pid is None:
        return False
    os.kill(pid, number)
    return True
