"""For which machines etcd is built, and what an inventory is told of it."""

from __future__ import annotations

import struct

import pytest
import yaml

from etcdfleet.build.targets import TARGETS, Archive, all_names, chosen, folder_name, inventory_lines, unlike
from etcdfleet.drivers.packages.archive import ArchiveInstall
from etcdfleet.errors import UsageError

SUM = "0123456789abcdef" * 4


def head(bits: int, machine: int, order: int = 1) -> bytes:
    """The first 20 bytes of an ELF file."""
    return (
        b"\x7fELF"
        + bytes([{32: 1, 64: 2}[bits], order])
        + bytes(12)
        + struct.pack("<H" if order == 1 else ">H", machine)
    )


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["arm"], ["arm"]),
        (["armv6"], ["arm"]),
        (["arm", "armv6", "amd64", "arm"], ["arm", "amd64"]),
        (["armv7", "arm64"], ["armv7", "arm64"]),
        ([], []),
    ],
)
def test_words_of_arch(words: list[str], names: list[str]) -> None:
    assert [target.name for target in chosen(words)] == names


@pytest.mark.parametrize("word", ["mips", "armhf", "ARM", ""])
def test_other_machines_are_refused_with_those_that_there_are(word: str) -> None:
    with pytest.raises(UsageError) as refused:
        chosen(["amd64", word])
    assert all(name in refused.value.remedy for name in all_names())


def test_every_key_is_an_architecture_of_inventories_and_each_has_an_archive() -> None:
    sources = {target.key: {"file": "x", "sha256": SUM} for target in TARGETS.values()}
    install = ArchiveInstall.model_validate({"method": "archive", "version": "3.6.14", "source": sources})
    assert set(install.source) == {"amd64", "arm64", "arm"}


def test_archives_are_named_as_etcd_names_them() -> None:
    assert folder_name("3.6.14", TARGETS["arm64"]) == "etcd-v3.6.14-linux-arm64"


@pytest.mark.parametrize(
    ("found", "name", "said"),
    [
        (head(64, 62), "amd64", ""),
        (head(64, 183), "arm64", ""),
        (head(32, 40), "arm", ""),
        (head(32, 40), "armv7", ""),
        (head(64, 62), "arm", "64 bits, ELF machine 62"),
        (head(32, 40), "arm64", "32 bits, ELF machine 40"),
        (head(64, 183, order=2), "arm64", ""),
        (b"#!/bin/sh\nexit 0\n# and more", "amd64", "no program for Linux"),
        (b"\x7fELF", "amd64", "no program for Linux"),
        (b"", "amd64", "no program for Linux"),
    ],
)
def test_what_machine_a_program_is_for(found: bytes, name: str, said: str) -> None:
    told = unlike(found, TARGETS[name])
    assert (said in told) if said else told == ""


def archives(*names: str, file: str = "builds/{}.tar.gz") -> list[Archive]:
    return [Archive(TARGETS[name], file.format(name), SUM) for name in names]


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["arm"], {"arm": "arm"}),
        (["armv7"], {"arm": "armv7"}),
        (["arm", "arm64", "amd64"], {"amd64": "amd64", "arm64": "arm64", "arm": "arm"}),
        (["armv7", "arm"], {"arm": "arm"}),
    ],
)
def test_the_lines_are_what_an_inventory_takes(names: list[str], taken: dict[str, str]) -> None:
    section = yaml.safe_load(inventory_lines("3.6.14", archives(*names)))["install"]
    install = ArchiveInstall.model_validate(section)
    assert install.version == "3.6.14"
    assert {key: one.file for key, one in install.archives.items()} == {
        key: f"builds/{name}.tar.gz" for key, name in taken.items()
    }
    assert {one.sha256 for one in install.archives.values()} == {SUM}


def test_of_two_for_one_architecture_the_other_is_a_comment() -> None:
    text = inventory_lines("3.6.14", archives("armv7", "arm"))
    assert f"      # arm: {{file: builds/armv7.tar.gz, sha256: {SUM}}}\n" in text
    assert "ARMv7" in text


@pytest.mark.parametrize("file", ["a b/{}", "it's/{}", "x{{y}}, z: {}", "#{}", "-{}", "ä/{}"])
def test_any_path_survives_yaml(file: str) -> None:
    (one,) = archives("arm", file=file)
    section = yaml.safe_load(inventory_lines("3.6.14", [one]))["install"]
    assert section["releases"]["3.6.14"]["arm"] == {"file": one.file, "sha256": SUM}


@pytest.mark.parametrize("digest", ["1" * 64, "1e" + "2" * 62, "0" * 64])
def test_a_sum_of_digits_stays_a_text(digest: str) -> None:
    text = inventory_lines("3.6.14", [Archive(TARGETS["arm"], "x", digest)])
    assert yaml.safe_load(text)["install"]["releases"]["3.6.14"]["arm"]["sha256"] == digest
