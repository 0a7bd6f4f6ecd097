from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.support.paths import ROOT

START = ROOT / "runbooks" / "_start.py"


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Path:
    (tmp_path / "runbooks").mkdir()
    shutil.copy(START, tmp_path / "runbooks")
    (tmp_path / "runbooks" / "hello.py").write_text("import _start\nprint('hello')\n")
    return tmp_path


def hello(project: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    # -S leaves the installed packages out: a Python that lacks everything.
    command = [sys.executable, *flags, str(project / "runbooks" / "hello.py"), "--check"]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=20)


def test_where_all_is_there_nothing_happens(project: Path) -> None:
    assert hello(project).stdout == "hello\n"


def test_without_packages_the_set_up_is_named(project: Path) -> None:
    found = hello(project, "-S")
    assert found.returncode == 2
    assert "it lacks nornir" in found.stderr
    assert f"make -C {project} setup" in found.stderr


def test_the_projects_own_python_takes_over(project: Path) -> None:
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "own $*"\n')
    python.chmod(0o755)
    assert hello(project, "-S").stdout == f"own -S {project}/runbooks/hello.py --check\n"


def test_a_half_made_set_up_does_not_loop(project: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(project / ".venv")], check=True)
    found = hello(project, "-S")
    assert found.returncode == 2
    assert "setup" in found.stderr


def test_another_users_python_is_named(project: Path, tmp_path: Path) -> None:
    """The interpreter behind the link lies in a home that is closed to this user; root is stopped by nothing."""
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(tmp_path / "home" / "python3")
    hello_py = project / "runbooks" / "hello.py"
    refuse = "import pathlib\ndef stat(self):\n    raise PermissionError(13, 'no')\npathlib.Path.stat = stat\n"
    hello_py.write_text(refuse + hello_py.read_text())
    found = hello(project, "-S")
    assert (found.returncode, found.stdout) == (2, "")
    assert f"it leads to {tmp_path}/home/python3\n  remedy: " in found.stderr


def test_an_early_interrupt_says_nothing(project: Path) -> None:
    (project / "runbooks" / "hello.py").write_text("import _start\nraise KeyboardInterrupt\n")
    found = hello(project)
    assert (found.returncode, found.stdout, found.stderr) == (-2, "", "")


def test_a_fault_of_a_runbook_is_shown(project: Path) -> None:
    (project / "runbooks" / "hello.py").write_text("import _start\n1 / 0\n")
    assert "ZeroDivisionError" in hello(project).stderr
