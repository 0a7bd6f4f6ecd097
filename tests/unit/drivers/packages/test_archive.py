"""Archives of one version, and of several of which one is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from etcdfleet.drivers.packages import Installed
from etcdfleet.drivers.packages.archive import Archive, ArchiveInstall
from etcdfleet.errors import FleetError

SUMS = {"3.5.33": "5" * 64, "3.6.14": "6" * 64}
SEVERAL: dict[str, Any] = {
    "version": "3.5.33",
    "releases": {version: {"amd64": {"file": f"{version}.tgz", "sha256": digest}} for version, digest in SUMS.items()},
}
ONE: dict[str, Any] = {"version": "3.5.33", "source": SEVERAL["releases"]["3.5.33"]}


@pytest.mark.parametrize("written", [ONE, SEVERAL])
def test_the_version_chooses_the_archive(written: dict[str, Any]) -> None:
    packages = Archive(ArchiveInstall.model_validate(written), "h1")
    assert packages.reason(Installed("3.5.33", SUMS["3.5.33"]), "amd64") == ""
    assert "3.5.33 is wanted" in packages.reason(Installed("3.6.14", SUMS["3.6.14"]), "amd64")


@pytest.mark.parametrize(("written", "place"), [(ONE, "install.source"), (SEVERAL, "install.releases.3.5.33")])
def test_a_host_without_an_archive_is_told_where_to_write_it(written: dict[str, Any], place: str) -> None:
    with pytest.raises(FleetError, match=f"^h1: {place} has no archive for the architecture arm\n") as refused:
        Archive(ArchiveInstall.model_validate(written), "h1").reason(Installed(None), "arm")
    assert f"add {place}.arm (url or file" in refused.value.remedy


def test_another_version_of_those_that_there_are() -> None:
    several, one = ArchiveInstall.model_validate(SEVERAL), ArchiveInstall.model_validate(ONE)
    assert several.at("3.6.14").archives["amd64"].sha256 == SUMS["3.6.14"]
    assert one.at("3.6.14") == one
    assert several.at("3.7.1") == several


def test_paths_of_all_releases_are_made_absolute() -> None:
    resolved = ArchiveInstall.model_validate(SEVERAL).resolved(lambda path: Path("/there") / path)
    files = {version: archives["amd64"].file for version, archives in resolved.by_version.items()}
    assert files == {"3.5.33": "/there/3.5.33.tgz", "3.6.14": "/there/3.6.14.tgz"}
