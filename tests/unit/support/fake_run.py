"""Runs in memory: hosts that do not exist, and tasks that do as the test says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import jsonschema
from nornir.core import Nornir
from nornir.core.inventory import Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups
from nornir.core.state import GlobalState
from nornir.core.task import Result, Task
from nornir.plugins.runners import SerialRunner, ThreadedRunner

from etcdfleet.outcome import StepOutcome
from etcdfleet.report.record.model import HostInfo, Step
from etcdfleet.report.record.recorder import RunRecorder
from tests.unit.support.paths import ROOT

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
    hosts = [HostInfo(name, cluster, "192.0.2.1") for name, cluster in fleet.items()]
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
