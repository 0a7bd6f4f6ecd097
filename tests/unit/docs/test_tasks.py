"""Tasks in scripts: every task is listed with its parameters, and the script in the README is one that works."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.unit.support.paths import ROOT
from tests.unit.support.settings_files import write_inventory

TEXT = (ROOT / "docs" / "tasks.md").read_text()
ROWS = {row[0]: row[1] for row in re.findall(r"^\| `(tasks\.[\w.]+)` \|([^|]*)\|", TEXT, re.MULTILINE)}


def tasks() -> dict[str, list[str]]:
    """Parameters of each public task in ``tasks/``, by its dotted name; those of ``vault/`` have no host."""
    found = {}
    for path in sorted((ROOT / "tasks").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if module.startswith("tasks.vault."):
            continue
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_") or not node.args.args:
                continue
            first, *more = node.args.args
            if (getattr(first.annotation, "id", ""), getattr(node.returns, "id", "")) == ("Task", "Result"):
                names = [one.arg for one in (*more, *node.args.kwonlyargs)]
                found[f"{module}.{node.name}"] = names
    return found


def test_every_task_is_listed_with_its_parameters() -> None:
    found = tasks()
    assert len(found) > 20
    assert set(ROWS) == set(found)
    assert {name: re.findall(r"`(\w+)`", cell) for name, cell in ROWS.items()} == found


def readme_script() -> str:
    """The script of the README, as it stands there."""
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(script.splitlines()) <= 12
    return str(script)


def test_the_script_in_the_readme_runs(tmp_path: Path) -> None:
    edits = {
        "groups/k8s-home": {"data": {"cluster": {}}},
        "defaults/connection_options": {"netmiko": {"extras": {"key_file": "/no/such/key"}}},
        **{f"hosts/{name}/groups": ["k8s-home", "systemd"] for name in "ab"},
    }
    write_inventory(tmp_path, edits)
    found = subprocess.run(
        [sys.executable, "-c", readme_script()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "VAULT_ADDR": "https://vault.test:8200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    # Hosts that cannot be logged in to: the task says so for each of the chosen ones, by itself.
    assert found.stdout.count("the SSH key file /no/such/key does not exist") >= 2
    assert re.findall(r"^(\w+): ", found.stdout, re.MULTILINE) == ["a", "b"]
    assert len(found.stdout.splitlines()) <= 20, "a page, not tracebacks"


def test_the_processor_in_the_documentation_is_one() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, type] = {}
    exec(code, names)  # noqa: S102  our own documentation
    assert callable(names["Notify"](topic="x").task_instance_completed)
