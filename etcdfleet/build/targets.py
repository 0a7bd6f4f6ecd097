"""For which machines etcd is built, and what of that an inventory is told."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from etcdfleet.errors import UsageError
from etcdfleet.text import listed


@dataclass(frozen=True)
class Target:
    """A kind of machine: ``name`` in the archive's name, ``key`` below ``install.releases.VERSION``.

    ``level`` is the variable that tells ``go`` the oldest processor that must run the programs, and its value. The
    lowest is chosen, whatever this machine's Go would take: an archive must not depend on where it was made.
    """

    name: str
    goarch: str
    level: tuple[str, str]
    key: str
    runs_on: str
    bits: int
    machine: int
    """The machine's number in the head of an ELF file."""


TARGETS = {
    target.name: target
    for target in (
        Target("amd64", "amd64", ("GOAMD64", "v1"), "amd64", "any 64-bit PC", 64, 62),
        Target("arm64", "arm64", ("GOARM64", "v8.0"), "arm64", "64-bit ARM: Raspberry Pi 3 and newer", 64, 183),
        Target("arm", "arm", ("GOARM", "6"), "arm", "32-bit ARM from ARMv6: every Raspberry Pi", 32, 40),
        Target("armv7", "arm", ("GOARM", "7"), "arm", "32-bit ARM from ARMv7: Raspberry Pi 2 and newer", 32, 40),
    )
}
ALIASES = {"armv6": "arm"}


def chosen(words: Iterable[str]) -> tuple[Target, ...]:
    """Return what the words of ``--arch`` mean, each once, in their order. Raises UsageError for others."""
    names = [ALIASES.get(word, word) for word in words]
    if unknown := [name for name in names if name not in TARGETS]:
        raise UsageError(
            f"etcd is not built for {listed(unknown)}", where="--arch", remedy=f"choose of {', '.join(all_names())}"
        )
    return tuple(TARGETS[name] for name in dict.fromkeys(names))


def all_names() -> tuple[str, ...]:
    """Return all words that ``--arch`` takes."""
    return (*TARGETS, *ALIASES)


def folder_name(version: str, target: Target) -> str:
    """Return the name of the folder in the archive, as etcd names it."""
    return f"etcd-v{version}-linux-{target.name}"


def unlike(head: bytes, target: Target) -> str:
    """Return what a program's first 20 bytes say that is not so on the target; empty when it fits."""
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return "it is no program for Linux"
    bits = {1: 32, 2: 64}.get(head[4], 0)
    (machine,) = struct.unpack("<H" if head[5] == 1 else ">H", head[18:20])
    if (bits, machine) != (target.bits, target.machine):
        return f"it is for another machine: {bits} bits, ELF machine {machine}, not {target.bits} and {target.machine}"
    return ""


@dataclass(frozen=True)
class Archive:
    """What an inventory says of one archive: ``file`` as it is to be written there."""

    target: Target
    file: str
    sha256: str


def inventory_lines(version: str, archives: Sequence[Archive]) -> str:
    """Return the section ``install`` for these archives, as YAML; a release fits beside others.

    An architecture of a release has one archive. Where there are two, the one that runs on more machines is taken,
    and the other follows as a comment, for a group of hosts that can have it.
    """
    lines = ["install:", "  method: archive", f"  version: {version}", "  releases:", f"    {version}:"]
    ordered = sorted(archives, key=lambda one: list(TARGETS).index(one.target.name))
    first = {archive.target.key: archive for archive in reversed(ordered)}
    lines += [f"      {_line(archive)}" for archive in ordered if first[archive.target.key] is archive]
    for archive in (one for one in ordered if first[one.target.key] is not one):
        only = f"for a group with only such hosts ({archive.target.runs_on})"
        lines.append(f"      # {only}, in place of the line above:")
        lines.append(f"      # {_line(archive)}")
    return "\n".join(lines) + "\n"


def _line(archive: Archive) -> str:
    return f"{archive.target.key}: {{file: {_yaml(archive.file)}, sha256: {_yaml(archive.sha256)}}}"


def _yaml(text: str) -> str:
    """Return a text as YAML within braces: a path may hold what means something there, a sum only digits."""
    plain = all(letter.isalnum() or letter in "/._-" for letter in text) and not text.startswith("-")
    number = text.replace("e", "").isdigit()
    return text if plain and not number else "'" + text.replace("'", "''") + "'"
