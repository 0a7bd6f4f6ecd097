"""etcd under systemd: a hardened ``Type=notify`` unit of our own in ``/etc/systemd/system``, log in the journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from etcdfleet.drivers.init import Hidden, ServiceFile, ServiceState, ran_seconds

if TYPE_CHECKING:
    from etcdfleet.remote import CommandResult

_UNIT = "/etc/systemd/system/etcd.service"
_PROGRAM = f"sed -n 's|^ExecStart=\\([^ ]*\\) .*|\\1|p' {_UNIT}"

_OF_THE_MANAGER = frozenset(
    {"ExecCondition", "ExecStartPre", "TimeoutStartSec", "TimeoutStopSec", "Restart", "RestartSec"}
)


class Systemd:
    """See `etcdfleet.drivers.init.Service`."""

    name = "systemd"
    hides: tuple[Hidden, ...] = (Hidden(("/home", "/root"), "which the unit hides from etcd (ProtectHome=)"),)
    detect = "[ -d /run/systemd/system ]"
    files: tuple[ServiceFile, ...] = (ServiceFile("etcd.service.j2", _UNIT),)
    made: tuple[str, ...] = ("/etc/systemd/system/etcd-server.service",)
    program = _PROGRAM
    probe = (
        "said=$(systemctl show etcd.service -p ActiveState,SubState,MainPID,UnitFileState,FragmentPath,NRestarts,"
        "ExecMainStartTimestamp,NeedDaemonReload)\n"
        'echo "$said"; pid=${said#*MainPID=}; pid=${pid%%[!0-9]*}; [ "$pid" != 0 ] || pid='
    )
    installed = "systemctl daemon-reload"
    # Masked, a package's maintainer script cannot start the unit, nor can a boot. Placing our unit later replaces
    # the mask, since both are /etc/systemd/system/etcd.service.
    prevent_autostart = f"[ -e {_UNIT} ] || [ -L {_UNIT} ] || systemctl mask --quiet etcd.service"
    start = "systemctl reset-failed etcd.service 2>/dev/null || true\nsystemctl start --no-block etcd.service"
    restart = (
        "systemctl stop etcd.service\nsystemctl reset-failed etcd.service 2>/dev/null || true\n"
        "systemctl start --no-block etcd.service"
    )
    stop = "systemctl stop etcd.service"
    # reenable also renews the alias's link when the unit replaced the package's.
    enable = "systemctl reenable --quiet etcd.service"
    disable = "systemctl disable --quiet etcd.service"
    pid = "systemctl show etcd.service -p MainPID --value | grep -v '^0$'"
    respawns = "systemctl show etcd.service -p NRestarts --value"
    gave_up = 'case "$(systemctl is-active etcd.service)" in inactive|failed) true ;; *) false ;; esac'

    def read(self, result: CommandResult) -> ServiceState:
        """Return the state out of ``systemctl show``."""
        values = dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)
        pid = int(values.get("MainPID") or 0)
        active = values.get("ActiveState", "")
        return ServiceState(
            running=active in {"active", "activating", "reloading"} and pid > 0,
            enabled=values.get("UnitFileState") == "enabled",
            pid=pid or None,
            started=values.get("ExecMainStartTimestamp", ""),
            loaded=values.get("FragmentPath", ""),
            detail=f"{active} ({values.get('SubState', '?')}), {values.get('NRestarts', '0')} automatic restarts",
            program=values.get("program", ""),
            program_file=values.get("program_file", ""),
            runs=values.get("runs", ""),
            seconds=ran_seconds(values.get("ran", "")),
        )

    def in_force(self, content: bytes) -> tuple[str, ...]:
        """Section [Service], without what systemd itself does before the start, after the end, or to stop it.

        systemd takes those from the unit as it was loaded last (systemctl(1), daemon-reload).
        """
        lines, section = [], ""
        for line in content.decode("utf-8", "replace").splitlines():
            section = line if line.startswith("[") else section
            key = line.partition("=")[0]
            if section == "[Service]" and line.strip() and line[0] not in "#;" and key not in _OF_THE_MANAGER:
                # "-" lets the path be absent (systemd.exec(5)); where etcd runs, it is there.
                lines.append(line.replace("ReadWritePaths=-", "ReadWritePaths="))
        return tuple(lines)

    def logs(self, lines: int) -> str:
        """Return shell that prints the journal of the unit."""
        return f"journalctl --no-pager -q -o cat -u etcd.service -n {lines}"

    def environment(self) -> Mapping[str, str]:
        """Return nothing: the unit's template needs no paths."""
        return {}

    def stop_other(self, unit: str) -> str:
        """Return how to stop and disable its unit, where it has one."""
        return f"systemctl disable --now {unit}" if unit else "stop and disable what starts it"
