"""Compiled templates are kept, follow their source, and are never a reason to fail."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from etcdfleet.compiled import CompiledTemplates


def rendered(templates: Path, kept: Path) -> str:
    """What ``page`` says, by an environment of its own, as each run has."""
    loader = jinja2.FileSystemLoader(templates)
    environment = jinja2.Environment(loader=loader, autoescape=True, bytecode_cache=CompiledTemplates(kept))
    return environment.get_template("page").render(n=2)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The folder of the templates, and that of what is kept."""
    templates, kept = tmp_path / "templates", tmp_path / "kept"
    templates.mkdir()
    kept.mkdir()
    (templates / "page").write_text("{{ n }} hosts")
    return templates, kept


def test_a_template_is_compiled_once(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert rendered(*folders) == "2 hosts"
    monkeypatch.setattr(jinja2.Environment, "compile", lambda *_, **__: pytest.fail("compiled again"))
    assert rendered(*folders) == "2 hosts"


def test_a_changed_template_is_compiled_again(folders: tuple[Path, Path]) -> None:
    rendered(*folders)
    (folders[0] / "page").write_text("{{ n }} members")
    assert rendered(*folders) == "2 members"


@pytest.mark.parametrize("content", [b"", b"what is this", b"j2\x00"])
def test_a_damaged_file_is_compiled_again(folders: tuple[Path, Path], content: bytes) -> None:
    rendered(*folders)
    (kept,) = folders[1].iterdir()
    kept.write_bytes(kept.read_bytes()[:40] if content.startswith(b"j2") else content)
    assert rendered(*folders) == "2 hosts"


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(folders: tuple[Path, Path]) -> None:
    (folders[1]).rmdir()
    folders[1].write_text("no folder")
    assert rendered(*folders) == "2 hosts"
