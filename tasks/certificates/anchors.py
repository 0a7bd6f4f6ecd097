"""The files of trust anchors on a host: which there should be, and what may be in them while a CA is being changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from etcdfleet.certs import (
    Certificate,
    MemberTrust,
    besides,
    merge_pem,
    parse_or_empty,
    parse_pem_bundle,
    same_certificates,
)
from etcdfleet.drivers.certificates import Source, needed_sides
from etcdfleet.etcd.configuration import anchors_in
from etcdfleet.host.paths import ANCHORS, CONFIG, ROOT_ANCHOR, SIDE_ANCHORS, HostPaths, mark_restart_pending
from etcdfleet.remote import RemoteFile
from etcdfleet.roles import ROLE_NAMES, SIDES, Side, side_of
from etcdfleet.settings.models import HostSettings
from tasks.observe import Observed, Site


@dataclass(frozen=True)
class AnchorChange:
    """A file of trust anchors that is to get other contents.

    ``text`` says what becomes of it, ``lacks`` which CAs it does not hold now and will.
    """

    path: str
    pem: str
    text: str
    lacks: tuple[str, ...] = ()


def named_anchors(observed: Observed) -> dict[Side, str]:
    """Return the files of trust anchors that etcd's configuration on the host names, by side.

    Where the configuration tells nothing, those that etcd may have been started with: what lies on the host.
    """
    named = _named(observed)
    if named is not None:
        return dict(named)
    return {side: paths[0] for side in SIDES if (paths := _possible(observed, side))}


def trusted_text(observed: Observed, side: Side) -> str | None:
    """Return what the file that etcd reads on a side holds; None when there is none.

    Where the configuration tells nothing, what all files hold that etcd may have been started with.
    """
    named, there = _named(observed), observed.facts.anchors
    paths = _possible(observed, side) if named is None else [named.get(side, "")]
    texts = [there[path].content.decode("utf-8", "replace") for path in paths if path in there]
    return "\n".join(texts) if texts else None


def _named(observed: Observed) -> Mapping[Side, str] | None:
    file = observed.facts.files.get(CONFIG)
    return anchors_in(file.content if file else None)


def _possible(observed: Observed, side: Side) -> list[str]:
    return [path for path in (SIDE_ANCHORS[side], ROOT_ANCHOR) if path in observed.facts.anchors]


def is_live(observed: Observed, side: Side) -> bool:
    """Return whether others depend on what this host trusts and shows on that side."""
    return side in named_anchors(observed) and (observed.service.running or observed.facts.established is not None)


def member_trust(site: Site, observed: Observed, side: Side) -> MemberTrust:
    """Return what the host trusts and shows on a side, for `etcdfleet.certs.trust`."""
    pairs = {role: observed.facts.pairs.get(role) for role in ROLE_NAMES if side_of(role) == side}
    bundles = {role: parse_or_empty(pair.pem) for role, pair in pairs.items() if pair}
    return MemberTrust(
        site.settings.name,
        live=is_live(observed, side),
        restart_due=observed.service.running and (bool(observed.facts.restart_pending) or _named(observed) is None),
        trusted=parse_or_empty(trusted_text(observed, side)),
        leaves=tuple(bundle for bundle in bundles.values() if bundle),
        shown=bundles.get("server", ()),
    )


def trusted_besides(site: Site, observed: Observed) -> dict[Side, tuple[Certificate, ...]]:
    """By side, the CAs that the host trusts although nothing leads to them that it shows; nothing where there are none.

    Needs no Vault: only those that a file of the inventory's names are known to be meant.
    """
    surplus = {}
    for side in needed_sides(site.settings):
        more = besides(member_trust(site, observed, side), at=observed.facts.clock_now)
        meant = _in_files(site.settings, side) if more else ()
        if left := tuple(anchor for anchor in more if anchor not in meant):
            surplus[side] = left
    return surplus


def _in_files(settings: HostSettings, side: Side) -> tuple[Certificate, ...]:
    """Return the CAs that are to be trusted on a side, as far as files on this machine tell."""
    path = settings.pki.anchor_file(side)
    if path is None:
        return ()
    try:
        return parse_or_empty(path.read_text())
    except (OSError, ValueError):
        return ()


def anchor_changes(
    site: Site, observed: Observed, source: Source, final: frozenset[Side] = frozenset()
) -> list[AnchorChange]:
    """Return the files to be written now. On a side that is not ``final``, a live member goes on trusting what it
    trusts.

    Raises `FleetError`.
    """
    paths, sides = HostPaths.of(site.settings), needed_sides(site.settings)
    wanted = {paths.anchor(side): source.anchors(side) for side in sides}
    files = dict(wanted)
    for side in sides:
        if side not in final and is_live(observed, side):
            files[paths.anchor(side)] = merge_pem(trusted_text(observed, side), files[paths.anchor(side)])
    return [change for path, pem in files.items() for change in _change(observed, path, pem, wanted[path])]


def widened(site: Site, observed: Observed, source: Source) -> list[AnchorChange]:
    """Return the files that etcd reads now, with the wanted anchors added to what they hold."""
    files: dict[str, str] = {}
    for side, path in named_anchors(observed).items():
        if side in needed_sides(site.settings):
            there = files.get(path) or trusted_text(observed, side)
            files[path] = merge_pem(there, source.anchors(side))
    return [change for path, pem in files.items() for change in _change(observed, path, pem, "")]


def stale_anchors(site: Site, observed: Observed) -> list[str]:
    """Return files of trust anchors that nothing names any more."""
    paths = HostPaths.of(site.settings)
    wanted = {paths.anchor(side) for side in needed_sides(site.settings)}
    return [path for path in ANCHORS if path in observed.facts.anchors and path not in wanted]


def mark_if_read(site: Site, changes: Sequence[AnchorChange]) -> list[str]:
    """Return shell lines that note the restart which is due when etcd runs and reads one of the changed files."""
    observed = site.observe()
    read = [change.path for change in changes if change.path in named_anchors(observed).values()]
    return [mark_restart_pending("changed: " + " ".join(read))] if read and observed.service.running else []


def anchor_files(changes: Sequence[AnchorChange]) -> list[RemoteFile]:
    """Return the files to be placed for these changes."""
    return [RemoteFile(change.path, change.pem.encode()) for change in changes]


def _change(observed: Observed, path: str, pem: str, wanted: str) -> list[AnchorChange]:
    file = observed.facts.anchors.get(path)
    there = file.content.decode("utf-8", "replace") if file else None
    if same_certificates(there, pem):
        return []
    before, new = parse_or_empty(there), parse_pem_bundle(pem)
    more = tuple(anchor.title for anchor in new if anchor not in before)
    if there is None:
        text = f"{path} is placed"
    else:
        less = [anchor.title for anchor in before if anchor not in new]
        phrases = [f"trusts {', '.join(more)} too" if less == [] else f"trusts {', '.join(more)}"] if more else []
        phrases += [f"no longer trusts {', '.join(less)}"] if less else []
        text = f"{path} {' and '.join(phrases)}"
    if wanted and not same_certificates(wanted, pem) and there is None:
        text += " with the previous CAs and the wanted ones"
    return [AnchorChange(path, pem, text, more)]
