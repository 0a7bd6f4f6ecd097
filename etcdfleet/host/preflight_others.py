"""What an etcd that is on a host already means for a deploy: pure checks over `Others`, with words and remedies."""

from __future__ import annotations

from etcdfleet.drivers.init import service_for
from etcdfleet.host.others import OtherProcess, Others
from etcdfleet.host.preflight import Trouble
from etcdfleet.text import counted

_SECTION = "docs/hosts.md, An etcd that is there already"


def other_problems(data_dir: str, others: Others, init: str) -> list[Trouble]:
    """Report an etcd that runs, and that no run of this project has set up.

    One whose data are where the inventory wants them is left to the plan of the start: it may be the cluster's own.
    """
    processes = [process for process in others.processes if process.data_dir != data_dir]
    if not processes:
        return []
    told = ", ".join(_process_told(process) for process in processes)
    unit = next((process.unit for process in processes if process.unit), "")
    stop = service_for(init).stop_other(unit)
    return [
        Trouble(
            f"an etcd runs there that this project has not set up: {told}",
            f"if what is in it is not needed: {stop}, and run again; it is a cluster of its own, and cannot"
            f" become a member of this one; to keep its data: {_SECTION}",
        )
    ]


def other_warnings(others: Others, *, empty: bool) -> list[Trouble]:
    """Report data of another etcd beside an empty data directory: the new cluster will know nothing of them."""
    if not others.data or others.processes or not empty:
        return []
    return [
        Trouble(
            f"data of another etcd lie in {', '.join(data.told for data in others.data)}; the new cluster begins"
            " without them",
            f"they are left alone: remove them if they are not needed; to begin with them instead: {_SECTION}",
        )
    ]


def _process_told(process: OtherProcess) -> str:
    parts = [process.unit or f"process {process.pid}"]
    if process.data_dir:
        parts.append(f"data in {process.data_dir}")
    if process.keys is not None:
        parts.append(counted(process.keys, "key"))
    return ", ".join(parts)
