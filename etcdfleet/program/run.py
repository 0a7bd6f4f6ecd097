"""What runbooks and plays work with: a `Program` is a whole run, a `Run` the part of it that is about one cluster.

A play is written for one cluster and knows no other. `Program.play` carries it out for all chosen clusters side by
side; whatever stops one of them stops no other.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Concatenate, Generic, NoReturn, ParamSpec, TypeVar

from etcdfleet import timeouts
from etcdfleet.errors import UsageError
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.options import Options

if TYPE_CHECKING:  # imported when needed, so that --help answers at once
    from nornir.core import Nornir
    from nornir.core.plugins.runners import RunnerPlugin
    from nornir.core.task import AggregatedResult

    from etcdfleet.program.terminal import Terminal
    from etcdfleet.report.record.recorder import RunRecorder
    from etcdfleet.report.record.secrets import Redactor
    from etcdfleet.settings.fleet import Fleet
    from etcdfleet.settings.models import HostSettings

log = logging.getLogger(__name__)
Own = TypeVar("Own")
P = ParamSpec("P")
T = TypeVar("T")
_WORKERS = 20  # with a runner that does not say how many


class LeftError(Exception):
    """Ends the play of one cluster; the reason is in the report already."""


@dataclass(frozen=True)
class Program(Generic[Own]):
    """A run of a runbook: what was asked for, the chosen hosts, and everybody who is told what happens.

    ``name`` is the runbook's, ``own`` are its own options. ``nornir`` holds only the chosen hosts and reports to
    ``record``; ``everything`` has all hosts of the inventory, and reports nothing. ``fleet`` knows the settings of all.
    """

    name: str
    options: Options
    own: Own
    nornir: Nornir
    fleet: Fleet
    record: RunRecorder
    redactor: Redactor
    terminal: Terminal
    everything: Nornir
    _questions: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the chosen hosts, in inventory order."""
        return tuple(self.nornir.inventory.hosts)

    @property
    def clusters(self) -> Mapping[str, tuple[str, ...]]:
        """The chosen hosts by cluster."""
        return {name: tuple(host.name for host in hosts) for name, hosts in self.record.record.clusters.items()}

    @property
    def good_hosts(self) -> tuple[str, ...]:
        """The chosen hosts on which nothing has failed."""
        return tuple(name for name in self.hosts if name not in self.nornir.data.failed_hosts)

    @property
    def workers(self) -> int:
        """How many hosts are worked on at once: what the runner of the configuration says, one with a serial one."""
        from nornir.plugins.runners import SerialRunner

        runner = self.everything.runner
        return 1 if isinstance(runner, SerialRunner) else int(getattr(runner, "num_workers", _WORKERS))

    def play(
        self,
        play: Callable[Concatenate[Run[Own], P], T],
        *arguments: P.args,
        **parameters: P.kwargs,
    ) -> dict[str, T]:
        """Carry out a play for each chosen cluster; its results by cluster, without those that were left.

        As many clusters are worked on at the same time as `workers` has room for with all of their hosts, each through
        all steps of the play. An unexpected error ends the play of its own cluster; the first one is raised when the
        others have ended.
        """
        clusters = self.clusters
        largest = max((len(hosts) for hosts in clusters.values()), default=1)
        at_once = min(max(1, self.workers // largest), max(1, len(clusters)))
        ended: dict[str, T] = {}
        errors: dict[str, BaseException] = {}

        def carry_out(cluster: str) -> None:
            try:
                ended[cluster] = play(Run(self, cluster, clusters[cluster]), *arguments, **parameters)
            except LeftError:
                pass
            except (Exception, SystemExit) as error:
                errors[cluster] = error

        if at_once == 1:
            for cluster in clusters:
                carry_out(cluster)
        else:
            pool = ThreadPoolExecutor(at_once, thread_name_prefix="play")
            try:
                wait([pool.submit(carry_out, cluster) for cluster in clusters])
            finally:
                # After Ctrl-C the process ends without waiting for hosts.
                pool.shutdown(wait=False, cancel_futures=True)
        if errors:
            raise self._first(errors)
        return ended

    def _first(self, errors: Mapping[str, BaseException]) -> BaseException:
        """Return the error to be raised: a stop that was asked for only if there is no other. All others are noted."""
        from etcdfleet.report.record.recorder import RunInterruptedError

        failures = {name: error for name, error in errors.items() if not isinstance(error, RunInterruptedError)}
        if not failures:
            return next(iter(errors.values()))
        first, *others = failures
        for cluster in others:
            log.error("the run of cluster %s failed", cluster, exc_info=failures[cluster])
            self.record.warn(cluster, f"its run ended early: {failures[cluster]}")
        return failures[first]

    def step(
        self,
        name: str,
        task: Callable[..., Any],
        *,
        only: Iterable[str] | None = None,
        runner: RunnerPlugin | None = None,
        **params: Any,
    ) -> AggregatedResult:
        """Run ``task`` under the step's name on all chosen hosts that have not failed, or of those on ``only`` some.

        For work that is not about clusters one by one; a play has `Run.step`.
        """
        nornir = self.nornir.with_runner(runner) if runner else self.nornir
        if only is not None:
            names = frozenset(only)
            nornir = nornir.filter(filter_func=lambda host: host.name in names)
        return nornir.run(task, name=name, **params)

    def be_quick(self) -> None:
        """Wait for hosts to answer no longer than a look at a cluster is worth."""
        from etcdfleet.session import session_of

        patience = min(timeouts.STATUS_LOGIN, self.options.timeout or timeouts.STATUS_LOGIN)
        session_of(self.nornir.config).connect_timeout = patience

    def say(self, text: str) -> None:
        """Tell the person at the terminal something (not with --quiet, nor --json -)."""
        self.terminal.say(text)

    def confirm(self, question: str) -> bool:
        """Ask for a yes. Yes by itself with --yes or --check. Raises UsageError without a terminal.

        Clusters that have a question at the same time wait for each other.
        """
        if self.options.yes or self.options.check:
            return True
        with self._questions:
            return self.terminal.ask(question)

    def agreed(self, question: str) -> bool:
        """Ask as `confirm` does; without a terminal the answer is no."""
        try:
            return self.confirm(question)
        except UsageError:
            return False

    def named(self, question: str, name: str) -> bool:
        """Ask for a name in place of a yes, for what cannot be undone; --yes is no answer. No without a terminal."""
        with self._questions:
            try:
                return self.terminal.ask_name(question) == name
            except UsageError:
                return False

    def ask_secret(self, question: str) -> str:
        """Ask for a secret, which is not shown. The caller adds it to the redactor."""
        return self.terminal.ask_secret(question)


class Run(Generic[Own]):
    """The part of a run that is about one cluster: its chosen hosts, who of them goes on, and how to end it.

    Steps run on the hosts on which nothing has failed. `leave` and `protect` end the play of this cluster at once.
    """

    def __init__(self, program: Program[Own], cluster: str, hosts: Sequence[str]) -> None:
        self.program = program
        self.cluster = cluster
        self.hosts = tuple(hosts)
        self._nornir = program.nornir.filter(filter_func=self._among(hosts))
        self._steps: dict[str, dict[str, bool]] = {}

    @property
    def own(self) -> Own:
        """The runbook's own options."""
        return self.program.own

    @property
    def check(self) -> bool:
        """Whether nothing is to be changed."""
        return self.program.options.check

    @property
    def members(self) -> tuple[HostSettings, ...]:
        """The settings of all members of the cluster in the inventory, chosen or not."""
        return self.program.fleet.clusters[self.cluster]

    @property
    def left_out(self) -> tuple[str, ...]:
        """The members of the cluster that this run does not touch."""
        return tuple(member.name for member in self.members if member.name not in self.hosts)

    @property
    def good(self) -> tuple[str, ...]:
        """The hosts on which nothing has failed."""
        return tuple(host for host in self.hosts if host not in self._nornir.data.failed_hosts)

    @property
    def failed(self) -> tuple[str, ...]:
        """The hosts on which something has failed."""
        return tuple(host for host in self.hosts if host in self._nornir.data.failed_hosts)

    def about(self, *hosts: str) -> Run[Own]:
        """Return the same run about these of its hosts alone: the others count as left out, as with ``--limit``."""
        alone = Run(self.program, self.cluster, hosts)
        alone._steps = self._steps
        return alone

    def wanting(self, settings: Mapping[str, HostSettings]) -> Run[Own]:
        """Return a run about the same hosts, of which other settings are wanted from now on, for this run, too.

        Its steps begin anew: what was done or left out before does not count.
        """
        from etcdfleet.settings.fleet import Fleet
        from etcdfleet.settings.load import bind

        for name, one in settings.items():
            bind(self.program.everything.inventory.hosts[name], one)
        fleet = self.program.fleet
        program = replace(self.program, fleet=Fleet({**fleet.hosts, **settings}, fleet.warnings))
        return Run(program, self.cluster, self.hosts)

    # Work on hosts

    def step(
        self,
        name: str,
        task: Callable[..., Any],
        *,
        on: Iterable[str] | None = None,
        runner: RunnerPlugin | None = None,
        also_failed: bool = False,
        **params: Any,
    ) -> dict[str, Any]:
        """Run ``task`` under the step's name on the good hosts, or of those on ``on``: what it gave, by host.

        A host on which it failed takes part in nothing that follows. It is missing in what is returned, unless
        ``also_failed`` asks for what a task found that says of itself that it failed.
        """
        hosts = self.good if on is None else [host for host in on if host in self.good]
        if not hosts:
            return {}
        nornir = self._nornir.with_runner(runner) if runner else self._nornir
        results = nornir.filter(filter_func=self._among(hosts)).run(task, name=name, **params)
        for host, result in results.items():
            before = self._steps.setdefault(name, {}).get(host, False)
            self._steps[name][host] = before or any(_changes(result))
        return {
            host: result[0].result
            for host, result in results.items()
            if not result.failed or (also_failed and isinstance(result[0].result, StepOutcome))
        }

    def ask(self, task: Callable[..., Any], *, on: Iterable[str] | None = None, **params: Any) -> dict[str, Any]:
        """Run a task that only reads, which is no step of the report: its answers by host. A failure counts as one."""
        return self.step(task.__name__.replace("_", " "), task, on=on, **params)

    def ask_members(self, task: Callable[..., Any], *, on: Iterable[str], **params: Any) -> dict[str, Any]:
        """Run a task on members of the cluster that may be left out of the run: its answers, without those that failed.

        The report is told nothing of it.
        """
        self.program.record.go_on()
        results = self.program.everything.filter(filter_func=self._among(on)).run(task, **params)
        return {host: result[0].result for host, result in results.items() if not result.failed}

    @staticmethod
    def _among(hosts: Iterable[str]) -> Callable[[Any], bool]:
        names = frozenset(hosts)
        return lambda host: host.name in names

    def pending(self, step: str) -> tuple[str, ...]:
        """Return the good hosts on which a step of this name has neither run nor been left out."""
        by_host = self._steps.get(step, {})
        return tuple(host for host in self.good if host not in by_host)

    def changed(self, *steps: str) -> frozenset[str]:
        """Return the hosts on which one of these steps (none given: any) changed something, or with --check would."""
        names = steps or tuple(self._steps)
        return frozenset(host for name in names for host, changed in self._steps.get(name, {}).items() if changed)

    # What is said

    def agreed(self, question: str) -> bool:
        """Ask for a yes about this cluster. Yes with --yes or --check; no without a terminal."""
        return self.program.agreed(f"{self.cluster}: {question}")

    def warn(self, text: str, place: str = "") -> None:
        """Add a warning about the cluster, or about one of its hosts, to the report."""
        self.program.record.warn(place or self.cluster, text)

    def skip(self, steps: str | Iterable[str], why: str, *, on: Iterable[str] | None = None) -> None:
        """Mark steps that have not begun as left out on these hosts, all by default, with the reason."""
        hosts = self.hosts if on is None else tuple(on)
        for step in (steps,) if isinstance(steps, str) else steps:
            by_host = self._steps.setdefault(step, {})
            by_host.update({host: False for host in hosts if host not in by_host})
        self.program.record.skip(hosts, steps, why)

    def leave(self, why: str) -> NoReturn:
        """End the play of this cluster: every step that has not begun is marked with the reason."""
        self.program.record.skip_rest(self.hosts, why)
        raise LeftError(why)

    def protect(self, what: str, remedy: str, *, where: str = "", why: str = "") -> NoReturn:
        """End the play of this cluster for its own good; the exit code becomes 3.

        In commands of the ``remedy``, ``--cluster NAME`` becomes this cluster.
        """
        remedy = remedy.replace("--cluster NAME", f"--cluster {self.cluster}")
        self.program.record.protect(self.cluster, what, remedy, where=where or self.cluster)
        self.leave(why or f"stopped to protect cluster {self.cluster}")


def restart_due(outcomes: Mapping[str, Any]) -> frozenset[str]:
    """Return the hosts on which a step has changed, or with --check would change, what etcd reads at its start."""
    return frozenset(host for host, outcome in outcomes.items() if isinstance(outcome, StepOutcome) and outcome.restart)


def _changes(result: Iterable[Any]) -> Iterator[bool]:
    for item in result:
        if isinstance(item, list):  # of a subtask with subtasks
            yield from _changes(item)
        elif isinstance(item.result, StepOutcome):
            yield bool(item.result.changes)
