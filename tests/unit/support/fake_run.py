"""Runs in memory: hosts that do not exist, and tasks that do as the test says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import jsonschema
import pytest
from nornir.core import Nornir
from nornir.core.inventory import Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups
from nornir.core.state import GlobalState
from nornir.core.task import Result, Task
from nornir.plugins.runners import SerialRunner, ThreadedRunner

from etcdfleet.errors import UsageError
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.options import Options
from etcdfleet.program.run import Program, Run
from etcdfleet.report.record.model import HostRecord, Step
from etcdfleet.report.record.recorder import RunRecorder
from etcdfleet.report.record.secrets import Redactor
from tests.unit.support.paths import ROOT


@dataclass(frozen=True)
class NoOptions:
    """The options of a runbook that has none."""


STEPS = (Step("preflight", "Preflight"), Step("install", "Install"), Step("verify", "Verify"))
FLEET = {"az-1": "home", "az-2": "home", "edge-1": "edge"}
SCHEMA: dict[str, Any] = json.loads((ROOT / "docs" / "report.schema.json").read_text())

Does = Callable[[Task], Any]


def nornir_of(fleet: Mapping[str, str] = FLEET, *, threads: int = 0, check: bool = False) -> Nornir:
    """A Nornir whose hosts are the keys of ``fleet`` and whose groups are its values."""
    groups = Groups({name: Group(name) for name in {*fleet.values(), "pis"}})
    hosts = Hosts(
        {
            name: Host(name, hostname="192.0.2.1", groups=ParentGroups([groups[group], groups["pis"]]))
            for name, group in fleet.items()
        }
    )
    return Nornir(
        Inventory(hosts, groups, Defaults()),
        runner=ThreadedRunner(threads) if threads else SerialRunner(),
        data=GlobalState(dry_run=check),
    )


def fleet_of(fleet: Mapping[str, str] = FLEET, warnings: Sequence[object] = ()) -> SimpleNamespace:
    """What the command line needs of a Fleet."""
    hosts = {
        name: SimpleNamespace(
            cluster=SimpleNamespace(name=cluster),
            hostname="192.0.2.1",
            member=SimpleNamespace(fqdn=f"{name}.home.test", address="192.0.2.1"),
        )
        for name, cluster in fleet.items()
    }
    return SimpleNamespace(hosts=hosts, warnings=tuple(warnings))


def recorder_of(fleet: Mapping[str, str] = FLEET, steps: Sequence[Step] = STEPS, **options: Any) -> RunRecorder:
    """A recorder of runbook "deploy" for these hosts."""
    hosts = [HostRecord(name, cluster, "192.0.2.1") for name, cluster in fleet.items()]
    return RunRecorder("deploy", steps, hosts, **options)


def step(does: Mapping[str, Does] | Does | None = None, **outcome: Any) -> Does:
    """A task that returns ``StepOutcome(**outcome)``, or on hosts named in ``does`` (or on all) does something else."""

    def task(task: Task) -> Any:
        special = does.get(task.host.name) if isinstance(does, Mapping) else does
        found = special(task) if special else None
        return found if found is not None else Result(task.host, result=StepOutcome(**outcome))

    return task


def raises(error: BaseException) -> Does:
    """A task that fails with ``error``."""

    def task(_: Task) -> Any:
        raise error

    return task


def validated(document: Any) -> dict[str, Any]:
    """``document`` as it comes back from a file, checked against the schema, with no field that is not documented."""
    found: dict[str, Any] = json.loads(json.dumps(document))
    jsonschema.Draft202012Validator(_closed(SCHEMA)).validate(found)
    return found


def _closed(schema: Any) -> Any:
    """The schema without room for undocumented fields (facts and options stay open, as documented)."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "required" in schema:
        closed.setdefault("additionalProperties", False)
    return closed


class Person:
    """Sits at the terminal: what was asked and said is noted; with ``answer`` None there is no terminal."""

    def __init__(self, answer: bool | None = None) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.said: list[str] = []

    def ask(self, question: str) -> bool:
        self.asked.append(question)
        if self.answer is None:
            raise UsageError("no terminal")
        return self.answer

    def say(self, text: str) -> None:
        self.said.append(text)


def program_of(
    own: Any = None,
    *,
    fleet: Mapping[str, str] = FLEET,
    left_out: Mapping[str, str] | None = None,
    member: Callable[[str], Any] | None = None,
    steps: Sequence[str] = (),
    answer: bool | None = None,
    check: bool = False,
    yes: bool = False,
) -> Program[Any]:
    """A program whose hosts are the keys of ``fleet``; hosts of ``left_out`` are in the inventory and not chosen.

    ``member`` gives the settings of a host, by its name. Its recorder is a real one: what plays say can be read there.
    """
    everywhere = {**fleet, **(left_out or {})}
    members = {
        host: member(host) if member else SimpleNamespace(name=host, cluster=SimpleNamespace(name=cluster))
        for host, cluster in everywhere.items()
    }
    clusters: dict[str, tuple[Any, ...]] = {}
    for host, cluster in everywhere.items():
        clusters[cluster] = (*clusters.get(cluster, ()), members[host])
    everything = nornir_of(everywhere, threads=20, check=check)
    recorder = recorder_of(fleet, [Step(name, name) for name in steps] or STEPS, check=check)
    chosen = everything.filter(filter_func=lambda host: host.name in fleet).with_processors([recorder])
    return Program(
        "deploy",
        Options(check=check, yes=yes),
        own,
        chosen,
        cast(Any, SimpleNamespace(hosts=members, clusters=clusters, warnings=())),
        recorder,
        Redactor(),
        cast(Any, Person(answer)),
        everything,
    )


def run_of(program: Program[Any], cluster: str = "home") -> Run[Any]:
    """The part of the program that is about one cluster."""
    return Run(program, cluster, program.clusters[cluster])


class Stage:
    """Puts stand-ins in the place of the tasks of plays: each notes on which host it ran, and with what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.ran: list[tuple[str, str]] = []
        self.given: dict[str, Mapping[str, Any]] = {}

    def put(self, module: ModuleType, name: str, does: Any = None) -> None:
        """Have ``name`` in ``module`` give ``does``, which may be a function of the host's name.

        An exception is raised; None is an outcome without changes.
        """

        def task(task: Task, **given: Any) -> Result:
            self.ran.append((name, task.host.name))
            self.given[name] = given
            found = does(task.host.name) if callable(does) else does
            if isinstance(found, BaseException):
                raise found
            return Result(task.host, result=StepOutcome("done") if found is None else found)

        task.__name__ = name
        self._monkeypatch.setattr(module, name, task)

    def hosts(self, name: str) -> list[str]:
        """On which hosts a task ran, in order."""
        return [host for ran, host in self.ran if ran == name]

    @property
    def names(self) -> list[str]:
        """The tasks that ran, each once for all hosts on which it ran at a time."""
        found: list[str] = []
        for name, _ in self.ran:
            if not found or found[-1] != name:
                found.append(name)
        return found


def statuses(program: Program[Any], host: str) -> dict[str, str]:
    """How each step ended on a host."""
    steps = program.record.record.hosts[host].steps
    return {name: str(step.status) if step.status else "" for name, step in steps.items()}
