"""Settings of the kernel that labs share: changed for the first one, and put back after the last."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from lab import life, machine
from lab.errors import LabError
from lab.state import Lab


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in (("FORWARD", "0\n"), ("INOTIFY", "128\n")):
        (tmp_path / name).write_text(value)
        monkeypatch.setattr(machine, name, tmp_path / name)
    monkeypatch.setattr(machine, "NOTES", tmp_path)
    monkeypatch.setattr(machine, "BINFMT", tmp_path / "nothing")
    return tmp_path


def lab(folder: Path, name: str) -> Lab:
    (folder / name).mkdir()
    return Lab(name, folder / name, IPv4Network("198.51.100.0/27"), "198.51.100.1")


def values(kernel: Path) -> list[int]:
    return [int((kernel / name).read_text()) for name in ("FORWARD", "INOTIFY")]


def test_settings_are_put_back_when_the_last_lab_goes(kernel: Path) -> None:
    """Fifteen hosts with systemd take more inotify instances than Debian allows; systemd ends without."""
    one, other = lab(kernel, "one"), lab(kernel, "other")
    machine.register(one)
    machine.register(other)
    assert values(kernel) == [1, machine.INOTIFY_INSTANCES]
    machine.release(one.id)
    assert values(kernel) == [1, machine.INOTIFY_INSTANCES], "the other one needs them"
    machine.release(other.id)
    assert values(kernel) == [0, 128]


def test_what_is_enough_already_is_left_alone(kernel: Path) -> None:
    (kernel / "INOTIFY").write_text("8192\n")
    one = lab(kernel, "one")
    machine.register(one)
    assert values(kernel) == [1, 8192]
    (kernel / "INOTIFY").write_text("9000\n")  # by another program, meanwhile
    machine.release(one.id)
    assert values(kernel) == [0, 9000]


def test_commands_about_single_hosts_wait_for_each_other(kernel: Path) -> None:  # noqa: ARG001
    """Two threads of a test cut two hosts off; `down` while `up` works is refused at once."""
    with ThreadPoolExecutor() as pool:
        with life.lock("one"):
            waiting = pool.submit(held, 30.0)
            with pytest.raises(LabError, match="another command is working"), life.lock("one"):
                pass
            with pytest.raises(LabError, match="another command is working"), life.lock("one", 0.1):
                pass
            assert not waiting.done()
        assert waiting.result(timeout=20)


def held(seconds: float) -> bool:
    with life.lock("one", seconds):
        return True
