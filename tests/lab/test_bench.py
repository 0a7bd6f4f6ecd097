"""The benchmarks in a short form, one round on few hosts: they still work. No time and no ratio is asserted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

from lab.state import PROJECT
from tests.lab.conftest import LabHandle


def short(sight: LabHandle, benchmark: str, how: Sequence[str], *hosts: str) -> str:
    command = [sys.executable, "-m", f"tests.bench.{benchmark}", "--lab", sight.name, *how]
    done = subprocess.run(
        [*command, "--limit", ",".join(hosts)], cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("tool", ["ours", "pyinfra", "ansible"])
def test_the_noop_finds_nothing_to_do(noop: str, tool: str) -> None:
    """Before, it stopped at the first template: the copy that the other tools render knew nothing of ``settings.pki``.

    The benchmark itself fails unless each tool has found all as wanted.
    """
    _, _, table = noop.partition("all hosts (2), 1 rounds")
    assert [line.split()[2] for line in table.splitlines() if line.startswith(tool)] == ["s"]


def test_the_look_at_clusters_is_compared(sight: LabHandle) -> None:
    said = short(sight, "status", ["--rounds", "1"], "s-sd-1")
    assert "1 hosts, 1 rounds" in said
    for tool in ("status.py ", "ansible ping ", "ansible ping, tuned "):
        assert any(line.startswith(tool) for line in said.splitlines())


@pytest.fixture(scope="module")
def noop(sight: LabHandle) -> str:
    return short(sight, "noop", ["--once"], "s-sd-1", "s-rc-1")
