"""What people who know Nornir expect: other inventory plug-ins, its environment variables, processors of their own."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nornir.core.inventory import Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups
from nornir.core.plugins.inventory import InventoryPluginRegister, TransformFunctionRegister
from nornir.core.task import Task

from etcdfleet.errors import RemoteError, UsageError
from etcdfleet.program import main as cli
from etcdfleet.settings.load import open_nornir
from etcdfleet.settings.problems import SettingsError
from tests.unit.support.fake_run import NoOptions, raises, step
from tests.unit.support.paths import ROOT
from tests.unit.support.settings_files import DEFAULTS, GROUPS, HOSTS, write_inventory

OWN = '''
from nornir.core.inventory import Host

SEEN = []

class Notify:
    """Has only the methods that it needs."""

    def __init__(self, prefix=""):
        self.prefix = prefix

    def task_started(self, task):
        SEEN.append(f"{self.prefix}{task.name}")

    def task_instance_completed(self, task, host, result):
        SEEN.append(f"{self.prefix}{task.name} {host.name} {'failed' if result.failed else 'ok'}")

class Broken:
    def task_started(self, task):
        raise RuntimeError("no network")

    def task_instance_started(self, task, host):
        raise SystemExit(3)

    def task_instance_completed(self, task, host, result):
        raise RuntimeError("no network")

class Picky:
    def __init__(self):
        raise ValueError("no address")

NOTHING = 3
'''


class Registry:
    """An inventory out of a database, say. Its groups have data of their own."""

    def __init__(self, site: str = "") -> None:
        self.site = site

    def load(self) -> Inventory:
        groups = Groups({name: Group(name, data=content["data"]) for name, content in GROUPS.items()})
        defaults = Defaults(data=DEFAULTS["data"])
        hosts = Hosts()
        for name, content in HOSTS.items():
            parents = ParentGroups([groups[group] for group in content["groups"]])
            data = {**content["data"], **({"member": {"fqdn": 3}} if self.site == "wrong" else {})}
            hosts[f"{self.site}{name}"] = Host(
                f"{self.site}{name}", hostname=content["hostname"], groups=parents, data=data, defaults=defaults
            )
        return Inventory(hosts, groups, defaults)


def slower(host: Host, **kwargs: Any) -> None:
    """A transform function: changes the data of every host."""
    host.data["cluster"] = {"heartbeat_ms": kwargs.get("milliseconds", 200)}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("INVENTORY_OPTIONS", "INVENTORY_PLUGIN", "RUNNER_PLUGIN", "RUNNER_OPTIONS"):
        monkeypatch.delenv(f"NORNIR_{name}", raising=False)
    TransformFunctionRegister.register("slower", slower)
    yield
    TransformFunctionRegister.deregister("slower")
    InventoryPluginRegister.deregister_all()


@pytest.fixture(name="own")
def _own(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "own_notify.py").write_text(OWN)
    yield tmp_path
    sys.modules.pop("own_notify", None)
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


def config_of(folder: Path, text: str) -> Path:
    (folder / "config.yaml").write_text(text)
    return folder / "config.yaml"


def test_another_inventory_plugin(tmp_path: Path) -> None:
    InventoryPluginRegister.register("Registry", Registry)
    text = "inventory: {plugin: Registry, options: {site: x-}, transform_function: slower}"
    nornir, fleet = open_nornir(config_of(tmp_path, text))
    assert list(fleet.hosts) == ["x-a", "x-b", "x-c"]
    assert list(fleet.clusters) == ["home"]
    assert {host.cluster.heartbeat_ms for host in fleet.hosts.values()} == {200}
    assert list(nornir.inventory.hosts) == ["x-a", "x-b", "x-c"]


def test_one_that_an_installed_package_brings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As nornir-netbox and nornir-ansible do: by an entry point.
    info = tmp_path / "registry-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: registry\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[nornir.plugins.inventory]\nFromEntryPoint = tests.unit.program.test_nornir_habits:Registry\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert "FromEntryPoint" in importlib.metadata.entry_points(group="nornir.plugins.inventory").names
    _, fleet = open_nornir(config_of(tmp_path, "inventory: {plugin: FromEntryPoint}"))
    assert list(fleet.hosts) == ["a", "b", "c"]


def test_mistakes_without_files_name_host_and_key(tmp_path: Path) -> None:
    InventoryPluginRegister.register("Registry", Registry)
    with pytest.raises(SettingsError) as caught:
        open_nornir(config_of(tmp_path, "inventory: {plugin: Registry, options: {site: wrong}}"))
    places = [problem.where for problem in caught.value.problems]
    assert "host wronga, member.fqdn" in places
    assert not any("yaml" in place or place.startswith((":", ",")) for place in places)


def test_a_plugin_that_fails_is_said_with_the_variables_that_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    InventoryPluginRegister.register("Registry", Registry)
    monkeypatch.setenv("NORNIR_INVENTORY_OPTIONS", "{'sight': 1}")
    with pytest.raises(UsageError, match="unexpected keyword argument 'sight'") as caught:
        open_nornir(config_of(tmp_path, "inventory: {plugin: Registry}"))
    assert "NORNIR_INVENTORY_OPTIONS" in caught.value.remedy


def test_variables_count_where_the_file_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    InventoryPluginRegister.register("Registry", Registry)
    (tmp_path / "ssh_config").write_text("")
    for name, value in {
        "INVENTORY_PLUGIN": "Registry",
        "INVENTORY_OPTIONS": "{'site': 'env-'}",
        "INVENTORY_TRANSFORM_FUNCTION": "slower",
        "INVENTORY_TRANSFORM_FUNCTION_OPTIONS": "{'milliseconds': 250}",
        "RUNNER_PLUGIN": "serial",
        "SSH_CONFIG_FILE": str(tmp_path / "ssh_config"),
        "CORE_RAISE_ON_ERROR": "1",
        "LOGGING_ENABLED": "1",
        "LOGGING_LOG_FILE": str(tmp_path / "nornir.log"),
    }.items():
        monkeypatch.setenv(f"NORNIR_{name}", value)
    nornir, fleet = open_nornir(config_of(tmp_path, ""))
    assert list(fleet.hosts) == ["env-a", "env-b", "env-c"]
    assert fleet.hosts["env-a"].cluster.heartbeat_ms == 250
    assert type(nornir.runner).__name__ == "SerialRunner"
    assert nornir.config.ssh.config_file == str(tmp_path / "ssh_config")
    # What a run depends on stays as it is.
    assert nornir.config.core.raise_on_error is False
    assert not (tmp_path / "nornir.log").exists()

    _, fleet = open_nornir(config_of(tmp_path, "inventory: {options: {site: file-}}"))
    assert list(fleet.hosts) == ["file-a", "file-b", "file-c"]


@pytest.mark.parametrize("variable", ["RUNNER_OPTIONS", "INVENTORY_OPTIONS", "INVENTORY_TRANSFORM_FUNCTION_OPTIONS"])
def test_a_variable_that_is_no_mapping(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_inventory(tmp_path)
    config.write_text("")
    monkeypatch.setenv(f"NORNIR_{variable}", "20")
    with pytest.raises(UsageError, match="is not a mapping") as caught:
        open_nornir(config)
    assert caught.value.where == f"NORNIR_{variable}"


@pytest.mark.parametrize(
    ("text", "workers"),
    [
        ("runner: {plugin: serial}", 1),
        ("runner: {plugin: threaded, options: {num_workers: 3}}", 3),
        ("", 20),
    ],
)
def test_runners(text: str, workers: int, tmp_path: Path) -> None:
    config = write_inventory(tmp_path)
    config.write_text(text)
    counts: list[Any] = []

    def body(run: cli.Program[NoOptions]) -> None:
        run.step("preflight", step())
        counts.append(run.workers)

    assert ran(config, body) == 0
    assert counts == [workers]


def ran(config: Path, body: cli.Body[NoOptions], *argv: str, rows: cli.Rows = "hosts") -> int:
    reports = config.parent / "reports"
    arguments = ["--config", str(config), "--report-dir", str(reports), *argv]
    return cli.run_runbook(
        "deploy", body, description="", own=NoOptions, steps=[("preflight", "P")], argv=arguments, rows=rows
    )


PROCESSORS = """
user_defined:
  processors:
    - own_notify.Notify
    - {plugin: "own_notify:Notify", options: {prefix: "> "}}
"""


def test_processors_of_the_user(own: Path) -> None:
    config = write_inventory(own)
    config.write_text(config.read_text() + PROCESSORS)

    def body(run: cli.Program[NoOptions]) -> None:
        run.everything.run(step(), name="not of the run")
        run.step("preflight", step({"b": raises(RemoteError("no answer"))}))

    assert ran(config, body, "--limit", "!c", "--forks", "1") == 1
    lines = sys.modules["own_notify"].SEEN
    assert sorted(lines) == sorted(
        mark + text for mark in ("", "> ") for text in ("preflight", "preflight a ok", "preflight b failed")
    )
    lines.clear()

    def by_cluster(run: cli.Program[NoOptions]) -> None:
        run.step("preflight", step())

    assert ran(config, by_cluster, rows="clusters") == 0
    assert "preflight home ok" in lines


def test_a_broken_processor_ends_nothing(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_inventory(own)
    config.write_text(config.read_text() + PROCESSORS.replace("- own_notify.Notify", "- own_notify.Broken"))

    def body(run: cli.Program[NoOptions]) -> None:
        run.step("preflight", step(summary="all well"))

    assert ran(config, body) == 0
    (folder,) = (own / "reports").iterdir()
    report = json.loads((folder / "report.json").read_text())
    assert [one["steps"][0]["status"] for one in report["hosts"].values()] == ["ok"] * 3
    warnings = {(one["place"], one["text"].partition(" ")[0]) for one in report["warnings"]}
    hooks = {"task_started", "task_instance_started", "task_instance_completed"}
    assert warnings == {("own_notify.Broken", hook) for hook in hooks}
    assert "warning  own_notify.Broken: task_started failed, and the run went on" in capsys.readouterr().out
    assert "Traceback" in (folder / "deploy.log").read_text()
    assert "> preflight a ok" in sys.modules["own_notify"].SEEN


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ("own_notify.Notify", "must be a list"),
        ("[Notify]", "is not in a module"),
        ("[own_notifi.Notify]", "there is no module own_notifi"),
        ("[own_notify.Notfy]", "has no class Notfy (did you mean Notify?)"),
        ("[own_notify.NOTHING]", "has no class NOTHING"),
        ("[own_notify.Picky]", "could not be made: ValueError: no address"),
        ("[{plugin: own_notify.Notify, options: {colour: red}}]", "unexpected keyword argument 'colour'"),
        ("[{plugin: own_notify.Notify, option: {}}]", "unknown key option"),
        ("[{plugin: own_notify.Notify, options: 3}]", "options must be a mapping"),
        ("[own_notify.Host]", "could not be made"),
        ("[collections.OrderedDict]", "is no processor"),
        ("[3]", "names no class"),
    ],
)
def test_mistakes_in_processors(entries: str, what: str, own: Path) -> None:
    config = write_inventory(own)
    config.write_text(config.read_text() + f"user_defined: {{processors: {entries}}}\n")
    with pytest.raises(SettingsError) as caught:
        open_nornir(config)
    (problem,) = caught.value.problems
    assert what in problem.what
    assert problem.key.startswith("user_defined.processors")
    assert problem.remedy


def test_a_processor_sees_tasks_of_a_script_too(own: Path) -> None:
    config = write_inventory(own)
    config.write_text(config.read_text() + PROCESSORS)
    nornir, _ = open_nornir(config)

    def look(task: Task) -> str:
        return task.host.name

    nornir.run(look)
    assert "look a ok" in sys.modules["own_notify"].SEEN


LATE = """
    import sys
    from pathlib import Path
    from nornir.core.plugins.connections import ConnectionPluginRegister
    from etcdfleet.settings.load import open_nornir

    open_nornir(Path({config!r}))
    print("netmiko" in sys.modules)
    ConnectionPluginRegister.auto_register()
    print(type(ConnectionPluginRegister.get_plugin("netmiko")()).__name__)
"""


def test_connection_plugins_are_loaded_when_they_are_used(tmp_path: Path) -> None:
    """What a program's own InitNornir does about them does not clash with that."""
    code = textwrap.dedent(LATE).format(config=str(write_inventory(tmp_path)))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["False", "Netmiko"], "")


@pytest.mark.parametrize(("content", "variable"), [("ssh: {config_file: no/such}", None), ("", "no/such")])
def test_a_named_ssh_configuration_that_is_not_there_is_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, variable: str | None
) -> None:
    if variable:
        monkeypatch.setenv("NORNIR_SSH_CONFIG_FILE", variable)
        monkeypatch.chdir(tmp_path)
    InventoryPluginRegister.register("Registry", Registry)
    with pytest.raises(SettingsError, match="there is no file") as caught:
        open_nornir(config_of(tmp_path, f"inventory: {{plugin: Registry}}\n{content}"))
    assert str(tmp_path / "no" / "such") in str(caught.value)
    assert ("NORNIR_SSH_CONFIG_FILE" if variable else "ssh.config_file") in str(caught.value)
