"""Nornir runners for the members of a cluster: all together, or one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from nornir.core.inventory import Host
from nornir.core.task import AggregatedResult, Task

from etcdfleet.report.record.recorder import RunInterruptedError


class RollingRunner:
    """One host at a time, in the given order; a failure stops the rest.

    ``order`` gives the names of the hosts. Those that were not reached because of an earlier failure are missing from
    the result; ``not_reached`` is called with each of them and the host that failed. When the run was interrupted
    instead, nothing has failed, and it is not called.
    """

    def __init__(
        self, order: Sequence[str], *, not_reached: Callable[[str, str], None] = lambda _host, _failed: None
    ) -> None:
        self.order = order
        self.not_reached = not_reached

    def run(self, task: Task, hosts: list[Host]) -> AggregatedResult:
        """Nornir's interface of a runner."""
        by_name = {host.name: host for host in hosts}
        queue = [by_name[name] for name in self.order if name in by_name]
        result = AggregatedResult(task.name)
        for number, host in enumerate(queue):
            result[host.name] = done = task.copy().start(host)
            if done.failed:
                if not isinstance(done.exception, RunInterruptedError):
                    for left in queue[number + 1 :]:
                        self.not_reached(left.name, host.name)
                break
        return result


class TogetherRunner:
    """All hosts at the same time, whatever the number of workers.

    The first members of a cluster wait for each other: were one of them held back for want of a worker, none would
    become ready.
    """

    def run(self, task: Task, hosts: list[Host]) -> AggregatedResult:
        """Nornir's interface of a runner."""
        result = AggregatedResult(task.name)
        with ThreadPoolExecutor(max(1, len(hosts))) as pool:
            for host, done in zip(hosts, pool.map(lambda host: task.copy().start(host), hosts), strict=True):
                result[host.name] = done
        return result
