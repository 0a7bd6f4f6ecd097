"""Rules that need more than one value, section or host. Every check notes all that it finds and goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from operator import attrgetter
from typing import Any

from etcdfleet.drivers.packages import driver_of, fits
from etcdfleet.drivers.table import PACKAGE_MANAGERS
from etcdfleet.settings.backup import BackupSettings
from etcdfleet.settings.checks_auth import check_auth
from etcdfleet.settings.checks_pki import check_pki
from etcdfleet.settings.ciphers import WEAK, without_fit
from etcdfleet.settings.inventory_files import Sources
from etcdfleet.settings.models import ClusterSettings
from etcdfleet.settings.notes import Notes, key_path
from etcdfleet.settings.partial import Draft
from etcdfleet.settings.places import REMEDY, unfit
from etcdfleet.settings.problems import Problem
from etcdfleet.text import exact_size, go_duration

_GIB = 2**30


def check_all(
    drafts: Sequence[Draft],
    sources: Sources,
    mistakes: list[Problem],
    warnings: list[Problem],
    environ: Mapping[str, str],
) -> None:
    """Run every check over all hosts; add to ``mistakes`` and ``warnings``."""
    notes = Notes(sources, mistakes, warnings)
    for draft in drafts:
        for check in (_data_dir, _timing, _ports, _tls, _cipher_suites, _install, _quota):
            check(draft, notes)
        check_pki(draft, notes, environ)
        check_auth(draft, notes)
        draft.backup.check(draft, notes)
    _unique_in_fleet(drafts, notes)
    clusters = clusters_of(drafts)
    for name, members in clusters.items():
        _unique_names(name, members, notes)
        _same_in_cluster(name, members, notes)
        _families(name, members, notes)
        if not sources.broken:
            _size(name, members, notes)
    _between_clusters(clusters, notes)


def clusters_of(drafts: Iterable[Draft]) -> dict[str, list[Draft]]:
    """Return the drafts of each cluster group."""
    clusters: dict[str, list[Draft]] = {}
    for draft in drafts:
        if draft.cluster_group:
            clusters.setdefault(draft.cluster_group, []).append(draft)
    return clusters


def _data_dir(draft: Draft, notes: Notes) -> None:
    key, folder = "member.data_dir", draft.member.data_dir
    if draft.sound(key) and (why := unfit(folder, draft.init)):
        notes.mistake(draft, key, f"{folder} {why}", REMEDY)


def _timing(draft: Draft, notes: Notes) -> None:
    if not draft.sound("cluster.heartbeat_ms", "cluster.election_ms"):
        return
    beat, election = draft.cluster.heartbeat_ms, draft.cluster.election_ms
    if election < 5 * beat:
        what = f"the election time-out of {election} ms is less than 5 heartbeats of {beat} ms; etcd refuses to start"
        remedy = f"set election_ms to {min(10 * beat, 50_000)} (10 heartbeats), or lower heartbeat_ms"
        notes.mistake(draft, "cluster.election_ms", what, remedy)
    elif election < 10 * beat:
        what = f"the election time-out of {election} ms is less than 10 heartbeats of {beat} ms"
        remedy = f"{min(10 * beat, 50_000)} or more spares slow hosts needless elections"
        notes.warning(draft, "cluster.election_ms", what, remedy)


def _ports(draft: Draft, notes: Notes) -> None:
    port = draft.cluster.peer_port
    if draft.sound("cluster.peer_port", "cluster.client_port") and port == draft.cluster.client_port:
        what = f"peer_port and client_port are both {port}; etcd needs two"
        written = "client_port" if draft.merged.written(("cluster", "client_port")) else "peer_port"
        notes.mistake(draft, f"cluster.{written}", what, "etcd's own are 2380 for peers and 2379 for clients")


def _tls(draft: Draft, notes: Notes) -> None:
    if draft.cluster.client_tls and not draft.cluster.peer_tls:
        what = "client_tls is on while peer_tls is off: the same data then travels between the members in the clear"
        notes.warning(draft, "cluster.peer_tls", what, "set peer_tls: true")


def _cipher_suites(draft: Draft, notes: Notes) -> None:
    cluster, key = draft.cluster, "cluster.cipher_suites"
    if cluster.cipher_suites is None or not draft.sound(key):
        return
    if cluster.tls_min_version == "TLS1.3":
        what = "has no effect with tls_min_version: TLS1.3, whose suites cannot be chosen; etcd refuses to have both"
        notes.mistake(draft, key, what, "remove one of the two lines")
        return
    key_type = draft.pki.known_key_type if draft.sound("pki.key_type") else None
    if key_type and without_fit(cluster.cipher_suites, key_type):
        kind = "ECDSA" if key_type.startswith("ec") else "RSA"
        what = (
            f"none of these suites works with the keys of this cluster (pki.key_type: {key_type}): by TLS 1.2 "
            "no client could connect, nor could the members connect to each other"
        )
        notes.mistake(draft, key, what, f"add TLS_ECDHE_{kind}_WITH_AES_128_GCM_SHA256, or remove the line")
    if weak := [name for name in cluster.cipher_suites if name in WEAK]:
        what = f"weak suites are offered: {', '.join(weak)} (no forward secrecy, CBC, 3DES or RC4)"
        notes.warning(draft, key, what, "leave them out unless a client needs them; remove the line for the good ones")


def _install(draft: Draft, notes: Notes) -> None:
    install, init = draft.install, draft.init
    if not draft.sound("install.method"):
        return
    groups = " or ".join(driver_of(install.method).inits)
    if init and not fits(install.method, init):
        what = f"method {install.method} is for hosts of group {groups}, but it is set for hosts of group {init}"
        others = " or ".join(method for method in PACKAGE_MANAGERS if fits(method, init))
        notes.mistake(draft, "install.method", what, f"use {others} there, or move the hosts to group {groups}")
    install.check(draft, notes)


def _quota(draft: Draft, notes: Notes) -> None:
    quota, arm = draft.cluster.quota_bytes, draft.platform.architecture == "arm"
    if arm and quota > _GIB:
        what = (
            f"the quota is {exact_size(quota)}, and {draft.name} is 32-bit ARM: a process there addresses 3 GiB at most"
        )
        notes.warning(draft, "cluster.quota_bytes", what, "1GiB or less is safe on 32 bits")
    elif quota > 2 * _GIB:
        what = f"the quota is {exact_size(quota)}: such a database is slow to load and to send on a small host"
        notes.warning(draft, "cluster.quota_bytes", what, "2GiB, etcd's own default, or less is usual")


def _twice(
    drafts: Iterable[Draft],
    key: str,
    noun: str,
    remedy: str,
    notes: Notes,
    value: Callable[[Draft], str] | None = None,
) -> None:
    first: dict[str, Draft] = {}
    for draft in drafts:
        if not draft.sound(key):
            continue
        text = (value or attrgetter(key))(draft)
        other = first.setdefault(text, draft)
        if other is not draft:
            what = f"{noun} {text} is that of {other.name} too ({notes.place(other, key)})"
            notes.mistake(draft, key, what, remedy)


def _unique_in_fleet(drafts: Sequence[Draft], notes: Notes) -> None:
    remedy = "give each host its own address: one etcd runs on a host"
    _twice(drafts, "member.address", "address", remedy, notes)
    remedy = "give each host its own name; one that all members share belongs in cluster.service_name"
    _twice(drafts, "member.fqdn", "FQDN", remedy, notes)
    remedy = "two hosts of the inventory would be one machine: correct hostname (or port) of one of them"
    _twice(drafts, "hostname", "the SSH address", remedy, notes, lambda draft: f"{draft.hostname}:{draft.port}")


def _unique_names(cluster: str, members: Sequence[Draft], notes: Notes) -> None:
    remedy = f"give each member of {cluster} a name of its own, or leave it out to have the inventory's name"
    _twice(members, "member.name", "member name", remedy, notes)
    for draft in members:
        if draft.cluster.service_name == draft.member.fqdn:
            what = f"the service name {draft.member.fqdn} is the FQDN of {draft.name}: it must mean all members"
            notes.mistake(draft, "cluster.service_name", what, "give the cluster a name that resolves to every member")


def _same_in_cluster(cluster: str, members: Sequence[Draft], notes: Notes) -> None:
    for key in ClusterSettings.model_fields:
        if key == "token" and not any(draft.merged.written(("cluster", "token")) for draft in members):
            continue
        _same(cluster, members, f"cluster.{key}", attrgetter(f"cluster.{key}"), notes)
    for key in dict.fromkeys(key for draft in members for key in draft.pki.same_in_cluster):
        # A key that only some sources have is none in which the others differ: the sources do.
        having = [draft for draft in members if key in draft.pki.same_in_cluster]
        _same(cluster, having, f"pki.{key}", attrgetter(f"pki.{key}"), notes)
    # By its text: a mapping is no key of a mapping.
    _same(cluster, members, "auth", lambda draft: draft.auth.model_dump_json(), notes)
    for key in BackupSettings.model_fields:
        _same(cluster, members, f"backup.{key}", attrgetter(f"backup.{key}"), notes)


def _same(cluster: str, members: Sequence[Draft], key: str, value: Callable[[Draft], Any], notes: Notes) -> None:
    groups: dict[Any, list[Draft]] = {}
    for draft in members:
        if draft.sound(key):
            groups.setdefault(value(draft), []).append(draft)
    if len(groups) < 2:
        return

    def own(draft: Draft) -> bool:
        return draft.merged.origin(key_path(key)).kind == "host"

    # The value that most members have is taken for the one that was meant, and of two equals the one from a group.
    common = max(groups, key=lambda each: (len(groups[each]), not own(groups[each][0])))
    model = groups[common][0]
    for other, drafts in groups.items():
        if other == common:
            continue
        for draft in drafts:
            what = (
                f"members of cluster {cluster} differ: {_shown(other)} for {draft.name} ({notes.place(draft, key)}), "
                f"{_shown(common)} for {model.name} ({notes.place(model, key)})"
            )
            if key == "cluster.token":
                what += "; members with different tokens form clusters of their own"
            remedy = f"set {key} once, in group {cluster}, and remove it from the hosts"
            notes.mistake(draft, key, what, remedy)


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        return go_duration(value)
    return repr(value) if isinstance(value, str) else str(value)


def _size(cluster: str, members: Sequence[Draft], notes: Notes) -> None:
    count = len(members)
    first = members[0]
    if count == 1:
        what = (
            f"cluster {cluster} has a single member: when its host is off so is the cluster, and no other has its data"
        )
        notes.warning(first, "cluster", what, "three members keep working when one of them fails")
    elif count % 2 == 0:
        quorum = count // 2 + 1
        what = (
            f"cluster {cluster} has {count} members: its quorum is {quorum}, so it survives the loss of "
            f"{count - quorum}; {count - 1} would survive as many, with one host fewer that can fail"
        )
        notes.warning(first, "cluster", what, f"have {count - 1} or {count + 1} members")


def _families(cluster: str, members: Sequence[Draft], notes: Notes) -> None:
    addressed = [draft for draft in members if draft.sound("member.address")]
    six = [draft for draft in addressed if ":" in draft.member.address]
    if not 0 < len(six) < len(addressed):
        return
    fewer = min(six, [draft for draft in addressed if draft not in six], key=len)
    names = ", ".join(draft.name for draft in fewer)
    what = (
        f"members of cluster {cluster} have addresses of both families: {names} "
        f"IPv{6 if fewer is six else 4}, the others IPv{4 if fewer is six else 6}; each needs "
        "addresses of both, and its name must lead to both"
    )
    notes.warning(fewer[0], "member.address", what, "give all of them addresses of one family")


def _between_clusters(clusters: Mapping[str, Sequence[Draft]], notes: Notes) -> None:
    first: dict[tuple[str, str], tuple[str, Draft]] = {}
    for group, members in clusters.items():
        for key in ("name", "token", "service_name"):
            having = (each for each in members if each.sound(f"cluster.{key}") and getattr(each.cluster, key))
            if (draft := next(having, None)) is None:
                continue
            value = getattr(draft.cluster, key)
            other_group, other = first.setdefault((key, value), (group, draft))
            if other is draft:
                continue
            place = notes.place(other, f"cluster.{key}")
            if key == "name":
                what = f"two clusters are named {value}: groups {other_group} ({place}) and {group}"
                notes.mistake(draft, "cluster.name", what, "give each cluster its own name, or leave it out")
            elif key == "token":
                what = f"clusters {other_group} and {group} have one token, {value!r} ({place})"
                remedy = "give each its own: it keeps members from joining a wrong cluster, and cluster ids apart"
                notes.warning(draft, "cluster.token", what, remedy)
            else:
                what = f"clusters {other_group} and {group} have one service name, {value} ({place})"
                notes.warning(draft, "cluster.service_name", what, "clients would reach either: give each its own")
