"""All runbooks alike: the same options in the same words, examples that work, help at once, and a place in the docs."""

from __future__ import annotations

import argparse
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.program import main as cli
from etcdfleet.program.arguments import COMMON_HELP, build_parser
from plays import build_etcd, report
from tests.unit.support.paths import ROOT

RUNBOOKS = sorted((ROOT / "runbooks").glob("[a-z]*.py"))
COMMON = {option: action.help for option, action in build_parser("x", "d")._option_string_actions.items()}
WITHOUT_HOSTS = {"report": report, "build_etcd": build_etcd}
"""Those that touch no host, and have of the shared options only what makes sense for them."""
each = pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
HEAVY = ("nornir", "netmiko", "paramiko", "hvac", "requests", "pydantic", "rich", "jinja2", "yaml", "cryptography")


def asked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the runbook hands to ``run_runbook``."""
    given: dict[str, Any] = {}

    def run_runbook(name: str, body: cli.Body[Any], **more: Any) -> int:
        given.update(more, name=name, body=body)
        return 0

    def main(description: str, examples: str) -> int:
        given.update(name=path.stem, description=description, examples=examples)
        return 0

    monkeypatch.setattr(cli, "run_runbook", run_runbook)
    for play in WITHOUT_HOSTS.values():
        monkeypatch.setattr(play, "main", main)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "argv", [str(path)])
    monkeypatch.syspath_prepend(path.parent)
    with pytest.raises(SystemExit):
        runpy.run_path(str(path), run_name="__main__")
    return given


def parser_of(given: dict[str, Any]) -> argparse.ArgumentParser:
    if play := WITHOUT_HOSTS.get(given["name"]):
        parser: argparse.ArgumentParser = play._parser(given["description"], given["examples"])
        return parser
    return build_parser(given["name"], given["description"], given.get("examples", ""), given.get("add_arguments"))


def test_there_are_runbooks() -> None:
    assert {"deploy", "status", "verify", "preflight", "rotate_certs"} <= {path.stem for path in RUNBOOKS}


@each
def test_the_shared_base(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = asked_for(path, monkeypatch)
    assert given["name"] == path.stem
    parser = parser_of(given)
    found = {option: action.help for option, action in parser._option_string_actions.items()}
    if path.stem in WITHOUT_HOSTS:
        assert not {"--limit", "--cluster", "--forks", "--timeout"} & set(found)
        assert {"--json", "--check", "--debug", "--help", "--version"} <= set(found)
        assert ("--report-dir" in found) is (path.stem == "report")
        return
    assert {option: found.get(option) for option in COMMON} == COMMON
    own = [action for action in parser._actions if action.option_strings and action.option_strings[0] not in COMMON]
    assert [action.dest for action in own if not action.help] == []
    assert [action.dest for action in own if any(len(option) == 2 for option in action.option_strings)] == []
    names = [name for name, _ in given["steps"]]
    assert len(names) == len(set(names))


@each
def test_examples_can_be_typed_as_they_are(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = asked_for(path, monkeypatch)
    commands = [line.strip() for line in given["examples"].splitlines() if line.strip().startswith("python")]
    assert commands
    for line in commands:
        # The words about it stand after two spaces or more.
        python, script, *argv = shlex.split(re.split(r" {2,}", line)[0])
        assert (python, script) == ("python", f"runbooks/{path.name}")
        parser_of(given).parse_args(argv)
    assert capsys.readouterr().err == ""


@each
def test_it_is_a_program_that_shells_complete(path: Path) -> None:
    first, second, third = path.read_text().splitlines()[:3]
    assert first == "#!/usr/bin/env python3"
    assert second == "# PYTHON_ARGCOMPLETE_OK"
    assert third.startswith('"""')
    assert os.access(path, os.X_OK)


@each
def test_help_is_there_at_once(path: Path) -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = [sys.argv[1], '--help']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally:\n"
        f"    print('loaded', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(path.parent), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.endswith("loaded []\n")
    assert f"usage: runbooks/{path.name}" in found.stdout
    assert "\nexamples:\n" in found.stdout
    assert "\nexit codes:\n" in found.stdout
    assert (COMMON_HELP in found.stdout) is (path.stem not in WITHOUT_HOSTS)
    assert max(len(line) for line in found.stdout.splitlines()) <= 120


def test_the_documentation_has_all_of_them() -> None:
    text = (ROOT / "docs" / "commandline.md").read_text()
    assert [path.name for path in RUNBOOKS if f"`{path.name}`" not in text] == []
    assert [option for option in COMMON if option.startswith("--") and f"`{option}" not in text] == []
    for path in RUNBOOKS:
        (own,) = re.findall(rf"^\| `{path.name}` .*\|(.*)\|$", text, re.MULTILINE)
        options = re.findall(r'^ +"(--[a-z-]+)",?$|add_argument\("(--[a-z-]+)"', path.read_text(), re.MULTILINE)
        assert [one for pair in options for one in pair if one and f"`{one}" not in own] == []
