"""Judgement of what a restart of etcd or of the host would meet: files, modes, space, clock; and of etcd's log."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from etcdfleet.checks.findings import Finding, failed, skipped, warned
from etcdfleet.checks.log import Sighting, message
from etcdfleet.drivers.init import ServiceState
from etcdfleet.host.facts import DataFacts
from etcdfleet.host.paths import CERTIFICATES, HostPaths
from etcdfleet.host.preflight import Trouble
from etcdfleet.host.preflight_storage import place_problems
from etcdfleet.host.storage import SEGMENT_BYTES, UNKNOWN, DataPlace
from etcdfleet.roles import RoleName
from etcdfleet.settings.models import HostSettings
from etcdfleet.text import counted, mib

RECENT = timedelta(minutes=10)
"""A known line that is older, of an etcd that runs, is told and is no failure."""
_ENTRY = re.compile(r"^(\d+)\|(\w+)\|([^|]+)\|(.+)$", re.MULTILINE)
_LINK = re.compile(r"^link\|([^|]+)\|(.*)$", re.MULTILINE)
_SECRET = re.compile(r"^secret\|(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """A file or folder: mode in octal, owner."""

    mode: int
    owner: str
    kind: str


@dataclass(frozen=True)
class Listing:
    """What lies below ``/etc/etcd``: entries and links by path, and the files that hold a private key."""

    entries: Mapping[str, Entry]
    links: Mapping[str, str]
    secrets: tuple[str, ...]


def read_listing(text: str) -> Listing:
    """Read the host's listing: lines ``mode|owner|kind|path``, ``link|path|target`` and ``secret|path``."""
    entries = {path: Entry(int(mode, 8), owner, kind) for mode, owner, kind, path in _ENTRY.findall(text)}
    return Listing(entries, dict(_LINK.findall(text)), tuple(_SECRET.findall(text)))


def key_mode_finding(listing: Listing) -> Finding:
    """Private keys, wherever they lie below /etc/etcd, can be read by etcd's user alone; so can their folders."""
    check = "private keys are private"
    bad = []
    for path in listing.secrets:
        entry = listing.entries.get(path)
        if entry is None:
            continue
        if entry.mode & 0o077:
            who = "everybody" if entry.mode & 0o007 else "its group"
            bad.append(f"{path} is {entry.mode:04o} {entry.owner}: {who} can use it")
        elif entry.owner not in ("etcd", "root"):
            bad.append(f"{path} belongs to {entry.owner}")
    if bad:
        return failed(
            check,
            "; ".join(bad),
            "modes or owner were changed by hand, or a key was put there",
            "run deploy, which sets modes and owner of the pairs in use; remove other keys; replace a key that others "
            "could read: rotate_certs --force",
        )
    return Finding(check, True, f"{len(listing.secrets)} keys below /etc/etcd, of etcd or root alone")


def set_findings(settings: HostSettings, roles: Sequence[RoleName], listing: Listing) -> list[Finding]:
    """Judge that the well-known folders are links, and lead to complete sets of mode 0700."""
    findings, fqdn = [], settings.member.fqdn
    paths = HostPaths.of(settings)
    for role in roles:
        folder, check = paths.folder(role), f"{role} pair is in place"
        target = listing.links.get(folder, "")
        real = target if target.startswith("/") else f"{CERTIFICATES}/{target}"
        remedy = "run deploy, which places a new pair"
        if not target:
            findings.append(failed(check, f"{folder} is no link to a set", "it was made by hand", remedy))
            continue
        missing = [
            name for name in (f"{fqdn}.pem", f"{fqdn}.key", "note.json") if f"{real}/{name}" not in listing.entries
        ]
        entry, key = listing.entries.get(real), listing.entries.get(f"{real}/{fqdn}.key")
        if entry is None or missing:
            what = f"{folder} leads to {target}, " + ("which is not there" if entry is None else "")
            what += f"which lacks {', '.join(missing)}" if entry else ""
            findings.append(failed(check, what, "the set was removed or is incomplete", remedy))
        elif (entry.mode, entry.owner) != (0o700, "etcd"):
            what = f"{real} is {entry.mode:04o} {entry.owner}, not 0700 etcd"
            findings.append(failed(check, what, "it was changed by hand", "run deploy"))
        elif key and (key.mode, key.owner) != (0o600, "etcd"):
            what = f"{real}/{fqdn}.key is {key.mode:04o} {key.owner}, not 0600 etcd"
            findings.append(failed(check, what, "it was changed by hand", "run deploy, which sets mode and owner"))
        else:
            findings.append(Finding(check, True, f"{folder} -> {target}, complete"))
    return findings


def service_finding(service: ServiceState, name: str) -> Finding:
    """Judge that the service of the member of this name runs and starts at boot."""
    running = "running" if service.running else "not running"
    state = f"{running}, {'enabled' if service.enabled else 'not enabled'} at boot"
    evidence = f"{state} ({service.detail})"
    if service.running and service.enabled:
        return Finding("service", True, evidence, about=(name,))
    cause = "it was stopped or has crashed" if not service.running else "it was disabled, or never enabled"
    return failed("service", evidence, cause, "run deploy", fault=state, about=(name,))


def data_finding(settings: HostSettings, data: DataFacts, place: DataPlace = UNKNOWN) -> Finding:
    """Judge that the data directory is there and etcd's alone, and that its data can be read."""
    check, path = "data directory", settings.member.data_dir
    for trouble in place_problems(path, place, settings.init, running=data.ids is not None):
        cause = "such a place loses the data, or denies etcd access to them"
        if place.absent:
            cause = "the disk came late or has failed, or /etc/fstab does not say that it is mounted at boot"
        return failed(check, trouble.what, cause, trouble.remedy)
    if not data.exists:
        return failed(
            check, f"{path} is not there", "a disk is not mounted, or it was removed", "mount it; docs/hosts.md"
        )
    if data.unreadable:
        return failed(
            check,
            f"the data in {path} cannot be read: {data.unreadable}",
            "a damaged disk or card",
            "look at the disk (dmesg, fsck); remove the member from the cluster and add it anew if the data is lost",
        )
    if (data.mode, data.owner) != ("700", "etcd"):
        return failed(
            check,
            f"{path} is {data.mode} {data.owner}, not 700 etcd",
            "it was changed by hand",
            f"chown etcd:etcd {path}; chmod 0700 {path}",
        )
    if data.ids is None:
        return failed(
            check, f"there is no member data in {path}", "a disk is not mounted", "run deploy, which says more"
        )
    return Finding(check, True, f"{path} is 0700 etcd, with the data of this member")


def space_finding(settings: HostSettings, free: int | None, db_size: int) -> Finding:
    """There is room for the next segment of the log, and for the database up to its quota."""
    check, path = "disk space", settings.member.data_dir
    if free is None:
        return skipped(check, "df did not name it")
    text = f"{mib(free)} free for {path}"
    remedy = "free some space on the host (df -h), or lower cluster.quota_bytes"
    if free < SEGMENT_BYTES:
        return failed(
            check,
            f"{text}; the next segment of etcd's log needs 64 MiB at once",
            "other files fill the disk, or the disk is too small",
            remedy,
        )
    wanted = max(settings.cluster.quota_bytes - db_size, 0) + SEGMENT_BYTES
    if free < wanted:
        return warned(
            check,
            f"{text}, and the database may grow by {mib(wanted - SEGMENT_BYTES)} up to its quota",
            "the quota is larger than the disk",
            remedy,
        )
    return Finding(check, True, text)


def clock_findings(
    problems: Sequence[Trouble], warnings: Sequence[Trouble], offset: float, output: str
) -> list[Finding]:
    """Judge the host's clock against the controller's, and whether something keeps it right.

    ``problems`` and ``warnings`` are those of the preflight; ``output`` what the host printed: ``container``, or
    ``synchronized``, ``daemon NAME``, or nothing.
    """
    findings = [failed("clock", one.what, "nothing keeps it right, or it never was", one.remedy) for one in problems]
    findings += [warned("clock", one.what, "nothing keeps it right", one.remedy) for one in warnings]
    if not findings:
        findings.append(Finding("clock", True, f"within {abs(offset):.1f} s of the controller's"))
    check, words = "clock is kept right", output.split()
    if "container" in words:
        findings.append(skipped(check, "the host is a container: its clock is that of the machine below"))
    elif "synchronized" in words or "daemon" in words:
        findings.append(Finding(check, True, " ".join(words).replace("daemon ", "by ")))
    else:
        findings.append(
            warned(
                check,
                "no time daemon runs (chronyd, ntpd, systemd-timesyncd)",
                "none is installed, or it is off",
                "install and enable one: a Pi has no clock chip, and its clock drifts",
            )
        )
    return findings


def pending_finding(reasons: Sequence[str]) -> Finding:
    """etcd runs with the files and the program that are there; ``reasons`` say why not."""
    check = "no restart is due"
    if reasons:
        return failed(
            check,
            reasons[0],
            "a run was interrupted between a change of files and the restart, or the program was upgraded by hand",
            "run deploy, which restarts the members one at a time",
        )
    return Finding(check, True, "etcd was started with the files that are there")


def drift_finding(path: str, difference: str) -> Finding:
    """Judge that a file is there as deploy would write it; ``difference`` says in words how not."""
    if not difference:
        return Finding(f"file {path}", True, "as deploy would write it")
    cause = "it was changed by hand, or the inventory was changed since the last deploy"
    remedy = "verify --diff shows how; run deploy, or put the change into the inventory or the template"
    return failed(f"file {path}", difference, cause, remedy)


def log_findings(sightings: Sequence[Sighting], *, clock: datetime, running: bool) -> list[Finding]:
    """Return the known lines of etcd's log since its last start, explained.

    Notes are only told, and so is what an etcd that runs has said long ago, or is over by what it says since.
    """
    findings, told = [], []
    for sighting in sightings:
        symptom, age = sighting.symptom, clock - sighting.last if sighting.last else timedelta(0)
        text = f"{counted(sighting.count, 'line')}{_when(sighting.last, age)}: {message(sighting.line)[:200]}"
        if symptom.level == "note" or (running and (age > RECENT or sighting.over)):
            told.append(f"{symptom.name} ({text})")
            continue
        make = failed if symptom.level == "failed" else warned
        findings.append(make(f"log: {symptom.name}", text, symptom.meaning, symptom.remedy))
    if not findings:
        more = f"; {'; '.join(told)}" if told else ""
        findings.append(Finding("log", True, f"no known symptom in the last {RECENT.seconds // 60} minutes{more}"))
    return findings


def _when(last: datetime | None, age: timedelta) -> str:
    if last is None:
        return ""
    minutes = int(age.total_seconds() // 60)
    ago = f"{minutes // 60} h ago" if minutes >= 120 else f"{minutes} min ago" if minutes else "just now"
    return f", the last at {last:%H:%M:%S} UTC ({ago})"
