"""docs/settings.md names every key there is, and no other, each with its real default."""

from __future__ import annotations

import re
from collections import abc
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, get_args, get_origin

import pytest
from pydantic_core import PydanticUndefined

from etcdfleet.drivers.packages import driver_of
from etcdfleet.renewal import RenewBefore
from etcdfleet.settings.auth import AuthSettings
from etcdfleet.settings.backup import BackupSettings
from etcdfleet.settings.base import Section
from etcdfleet.settings.choices import CHOICES
from etcdfleet.settings.models import (
    DERIVED,
    ClusterSettings,
    MemberSettings,
    PlatformSettings,
    PreflightSettings,
    RepairSettings,
)
from etcdfleet.text import exact_size, go_duration
from tests.unit.support.paths import ROOT

DOCUMENT = (ROOT / "docs" / "settings.md").read_text()
SECTIONS: Mapping[str, type[Section]] = {
    "member": MemberSettings,
    "cluster": ClusterSettings,
    "auth": AuthSettings,
    "platform": PlatformSettings,
    "preflight": PreflightSettings,
    "backup": BackupSettings,
    "repair": RepairSettings,
}
BELOW = {
    "auth.users": "USER",
    "install.releases": "VERSION.ARCHITECTURE",
}
"""What stands in place of the names that a person chooses."""
METHODS, SOURCES = CHOICES["install"], CHOICES["pki"]


def rows(text: str) -> dict[str, str]:
    """Key and default of each row of the document's tables."""
    return dict(re.findall(r"^\| `([a-z]+\.[\w.]+)` \|[^|]*\| ([^|]*) \|", text, re.MULTILINE))


def below(annotation: Any) -> tuple[type[Section] | None, bool]:
    """The section that a field holds, and whether it is a mapping of them."""
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, Section):
            return part, isinstance(get_origin(annotation), type) and issubclass(get_origin(annotation), Mapping)
    deeper = (below(part) for part in get_args(annotation) if get_origin(part) is abc.Mapping)
    return next(deeper, (None, False))


def fields(model: type[Section], prefix: str, instance: Section | None) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        key = f"{prefix}.{name}"
        default = field.get_default(call_default_factory=True)
        if instance is not None:
            default = getattr(instance, name)
        inner, many = below(field.annotation)
        if inner is not None and not many:
            yield from fields(inner, key, default if isinstance(default, Section) else None)
            continue
        yield key, shown(key, default)
        if inner is not None:
            yield from fields(inner, f"{key}.{BELOW.get(key, 'ARCHITECTURE')}", None)


def shown(key: str, default: Any) -> str:
    if key in DERIVED:
        return DERIVED[key]
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "none"
    if default == {}:
        return "`{}`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, timedelta):
        return f"`{go_duration(default)}`"
    if isinstance(default, tuple):
        return f"`[{', '.join(default)}]`"
    if key.endswith("_bytes"):
        return f"`{exact_size(default)}`"
    assert isinstance(default, str | int | RenewBefore)
    return f"`{default}`"


@pytest.mark.parametrize("section", SECTIONS)
def test_section(section: str) -> None:
    documented = {key: default for key, default in rows(DOCUMENT).items() if key.startswith(f"{section}.")}

    assert dict(fields(SECTIONS[section], section, None)) == documented


@pytest.mark.parametrize("source", SOURCES.rows)
def test_certificate_source(source: str) -> None:
    """What all sources have in common is in the first table, what only one has in its own."""
    common, *_ = DOCUMENT.split("## `pki`")[1].split("Source `")
    own = DOCUMENT.split(f"Source `{source}`:")[1].split("Source `")[0].split("## ")[0]
    expected = dict(fields(SOURCES.model(source), "pki", None))

    assert {**rows(common), **rows(own)} == expected | {"pki.source": f"`{SOURCES.default}`"}
    assert not rows(common).keys() & rows(own).keys()


@pytest.mark.parametrize("method", METHODS.rows)
def test_install_method(method: str) -> None:
    part = DOCUMENT.split(f"Method `{method}`:")[1].split("Method `")[0].split("## ")[0]
    expected = dict(fields(METHODS.model(method), "install", None))
    del expected["install.method"]

    assert rows(part) == expected


def test_method_itself_is_documented_as_required() -> None:
    head = DOCUMENT.split("## `install`")[1].split("Method `")[0]

    assert rows(head) == {"install.method": "required"}
    homes = {method: driver_of(method).inits for method in METHODS.rows}
    said = (f"`{method}`" + (f" (only with `{inits[0]}`)" if inits else "") for method, inits in homes.items())
    assert f"| {', '.join(said)} |" in head
