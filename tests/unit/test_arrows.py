"""Imports point one way: runbooks → plays → tasks → etcdfleet, and within etcdfleet from a floor to those below it.

Imports within functions and under TYPE_CHECKING count, too.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.unit.support.paths import ROOT

FLOORS = (
    (
        "etcdfleet.alike",
        "etcdfleet.drivers.table",
        "etcdfleet.errors",
        "etcdfleet.compiled",
        "etcdfleet.files",
        "etcdfleet.outcome",
        "etcdfleet.roles",
        "etcdfleet.session",
        "etcdfleet.text",
        "etcdfleet.timeouts",
    ),
    ("etcdfleet.renewal",),
    ("etcdfleet.certs", "etcdfleet.settings"),
    ("etcdfleet.etcd", "etcdfleet.remote"),
    ("etcdfleet.backup", "etcdfleet.drivers.init", "etcdfleet.drivers.packages"),
    ("etcdfleet.host",),
    ("etcdfleet.build", "etcdfleet.client_files", "etcdfleet.rendering", "etcdfleet.vault"),
    ("etcdfleet.checks",),
    ("etcdfleet.report.record",),
    ("etcdfleet.report.show",),
    ("etcdfleet.report.export",),
    ("etcdfleet.drivers", "etcdfleet.drivers.certificates", "etcdfleet.report"),
    ("etcdfleet.program",),
    ("tasks",),
    ("plays",),
    ("runbooks",),
)
"""From the ground up. A room imports from the floors below its own, and nothing from its neighbours."""

ONLY_IN = {"paramiko": "etcdfleet.remote", "netmiko": "etcdfleet.remote", "hvac": "etcdfleet.vault"}
"""The one room that knows a library. (The lab, which stands apart, has a client of its own for its Vault.)"""

NOT_YET = {
    ("etcdfleet.drivers.packages.archive", "etcdfleet.host.proxies"): "what stands between here and a release",
    ("etcdfleet.etcd.contradictions", "etcdfleet.host.storage"): "a remedy that both name",
    ("etcdfleet.etcd.etcdctl", "etcdfleet.host.paths"): "etcdctl's command line names files of the host",
    ("etcdfleet.session", "etcdfleet.remote"): "a run holds its locks by their connections",
    ("etcdfleet.settings.checks", "etcdfleet.drivers.packages"): "a driver says itself which hosts it is for",
    ("etcdfleet.settings.places", "etcdfleet.drivers.init"): "a driver says itself where data cannot lie",
}
"""What points up today, and why. This only gets shorter: whoever mends one takes its line out."""

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("etcdfleet", "tasks", "plays", "runbooks", "lab")
    for path in (ROOT / folder).rglob("*.py")
}
IMPORTS = {
    (module, f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name)
    for module, path in MODULES.items()
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.Import | ast.ImportFrom)
    for alias in node.names
}


def floor(module: str) -> tuple[int, str]:
    """The floor and the room of a module, the smallest room there is for it; -1 for what is none of ours."""
    rooms = [(len(room), number, room) for number, rooms in enumerate(FLOORS) for room in rooms]
    found = max((one for one in rooms if f"{module}.".startswith(f"{one[2]}.")), default=(0, -1, ""))
    return found[1:]


def test_imports_point_down() -> None:
    up = set()
    for module, name in IMPORTS:
        (here, room), (there, target) = floor(module), floor(name)
        if room and target and room != target and there >= here:
            up.add((module, name if name in MODULES else name.rpartition(".")[0]))
    assert sorted(up - set(NOT_YET)) == [], "imports from the same floor or from one above"
    assert sorted(set(NOT_YET) - up) == [], "mended: take it out of NOT_YET"


def test_no_module_needs_itself() -> None:
    """Else it is chance which of them can be imported first. What functions import, and types alone, does not count."""
    needs: dict[str, set[str]] = {module: set() for module in MODULES}
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom):
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                needs[module] |= {name if name in MODULES else name.rpartition(".")[0] for name in names} & set(MODULES)
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' <- '.join(error.args[1])}", pytrace=False)


def test_every_module_has_a_floor() -> None:
    assert [name for name in MODULES if not floor(name)[1] and name.split(".")[0] not in (name, "lab")] == []


def test_one_room_knows_ssh_and_one_knows_vault() -> None:
    libraries = {(name.partition(".")[0], floor(module)[1]) for module, name in IMPORTS if floor(module)[1]}
    assert {one for one in libraries if one[0] in ONLY_IN} == set(ONLY_IN.items())


def test_the_lab_stands_apart() -> None:
    among = {(module.partition(".")[0], name.partition(".")[0]) for module, name in IMPORTS}
    ours = {"lab", "tasks", "plays", "runbooks", "etcdfleet"}
    assert {pair for pair in among if "lab" in pair and ours.issuperset(pair)} <= {("lab", "lab"), ("lab", "etcdfleet")}
