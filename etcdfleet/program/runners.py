"""Nornir runners for work on clusters: all members of a cluster together, or one after the other.

Different clusters proceed side by side in both; ``num_workers`` bounds how many hosts are worked on at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from nornir.core.inventory import Host
from nornir.core.task import AggregatedResult, MultiResult, Task

from etcdfleet.report.record.recorder import RunInterruptedError


class RollingRunner:
    """One host in flight per cluster, in the given order; a failure stops its cluster and no other.

    ``orders`` gives the names of the hosts of each cluster in the order to take them. Hosts that were not reached
    because of an earlier failure are missing from the result; ``not_reached`` is called with each of them and the host
    that failed. When the run was interrupted instead, nothing has failed, and it is not called.
    """

    def __init__(
        self,
        orders: Mapping[str, Sequence[str]],
        *,
        num_workers: int = 20,
        not_reached: Callable[[str, str], None] = lambda _host, _failed: None,
    ) -> None:
        self.orders = orders
        self.num_workers = num_workers
        self.not_reached = not_reached

    def run(self, task: Task, hosts: list[Host]) -> AggregatedResult:
        """Nornir's interface of a runner."""
        by_name = {host.name: host for host in hosts}
        queues = [[by_name[name] for name in order if name in by_name] for order in self.orders.values()]
        result = AggregatedResult(task.name)
        with ThreadPoolExecutor(max(1, self.num_workers)) as pool:
            for done in pool.map(lambda queue: self._one_cluster(task, queue), queues):
                result.update(done)
        return result

    def _one_cluster(self, task: Task, queue: Sequence[Host]) -> dict[str, MultiResult]:
        done: dict[str, MultiResult] = {}
        for number, host in enumerate(queue):
            done[host.name] = task.copy().start(host)
            if done[host.name].failed:
                if not isinstance(done[host.name].exception, RunInterruptedError):
                    for left in queue[number + 1 :]:
                        self.not_reached(left.name, host.name)
                break
        return done


class TogetherRunner:
    """All given hosts of a cluster at the same time, whatever the number of workers.

    The first members of a cluster wait for each other: were one of them held back for want of a worker, none would
    become ready. ``groups`` gives the names of the hosts of each cluster; clusters wait for each other when
    ``num_workers`` hosts are busy.
    """

    def __init__(self, groups: Mapping[str, Sequence[str]], *, num_workers: int = 20) -> None:
        self.groups = groups
        self.num_workers = num_workers

    def run(self, task: Task, hosts: list[Host]) -> AggregatedResult:
        """Nornir's interface of a runner."""
        by_name = {host.name: host for host in hosts}
        groups = [[by_name[name] for name in names if name in by_name] for names in self.groups.values()]
        groups = [group for group in groups if group]
        result = AggregatedResult(task.name)
        if not groups:
            return result
        at_once = max(1, self.num_workers // max(len(group) for group in groups))
        with ThreadPoolExecutor(at_once) as pool:
            for done in pool.map(lambda group: self._one_cluster(task, group), groups):
                result.update(done)
        return result

    def _one_cluster(self, task: Task, group: Sequence[Host]) -> dict[str, MultiResult]:
        with ThreadPoolExecutor(len(group)) as pool:
            return {
                host.name: done
                for host, done in zip(group, pool.map(lambda host: task.copy().start(host), group), strict=True)
            }
