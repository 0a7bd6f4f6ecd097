"""Which CAs etcd on a host trusts, and the changes of that: a CA is added before it issues, and removed at the end.

When that is safe is decided in ``etcdfleet/certs/trust.py``; in which order it happens, in ``plays/trust.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nornir.core.task import Result, Task

from etcdfleet.certs import Certificate, MemberTrust, parse_or_empty, parse_pem_bundle
from etcdfleet.drivers.certificates import Source, needed_roles, needed_sides, source_of
from etcdfleet.errors import FleetError
from etcdfleet.host.paths import CERTIFICATES
from etcdfleet.outcome import done
from etcdfleet.roles import SIDES, Side, side_of
from tasks.certificates.anchors import (
    AnchorChange,
    anchor_changes,
    anchor_files,
    mark_if_read,
    member_trust,
    trusted_text,
    widened,
)
from tasks.observe import Site, site_of


@dataclass(frozen=True)
class SideState:
    """A member on one side, what its new leaves would be placed with, and what etcd is to trust in the end.

    ``serves`` is what a new leaf would be placed with that clients see. ``done`` says that the files on the host hold
    nothing but the wanted anchors.
    """

    member: MemberTrust
    ways: tuple[tuple[Certificate, ...], ...]
    serves: tuple[Certificate, ...]
    anchors: tuple[Certificate, ...]
    done: bool

    @property
    def surplus(self) -> tuple[Certificate, ...]:
        """The CAs that are trusted and need not be in the end."""
        return tuple(anchor for anchor in self.member.trusted if anchor not in self.anchors)


def trust_state(task: Task) -> Result:
    """Read what the host trusts and shows, and what it should: a `SideState` for each `Side` with TLS."""
    site = site_of(task)
    sides = needed_sides(site.settings)
    if not sides:
        return Result(task.host, result={})
    source, observed = source_of(task, site.settings), site.observe()
    done = not anchor_changes(site, observed, source, final=frozenset(SIDES))
    ways = {role: source.way(site.settings, role) for role in needed_roles(site.settings)}
    states = {
        side: SideState(
            member_trust(site, observed, side),
            tuple(dict.fromkeys(way for role, way in ways.items() if side_of(role) == side)),
            ways["server"] if side == "client" else (),
            parse_pem_bundle(source.anchors(side)),
            done,
        )
        for side in sides
    }
    return Result(task.host, result=states)


def trust(task: Task) -> Result:
    """Add the CAs that are to issue to what etcd trusts; a running etcd is then due for a restart."""
    site = site_of(task)
    changes = widened(site, site.observe(), source_of(task, site.settings))
    _place(task, site, changes)
    texts = [change.text for change in changes]
    return done(task, "trusts the previous CA and the new one", texts, restart=bool(changes))


def end_trust(task: Task, sides: frozenset[Side]) -> Result:
    """Remove CAs that are not needed any more on these sides; a running etcd is then due for a restart."""
    site = site_of(task)
    source = source_of(task, site.settings)
    left = _beside_the_wanted(site, source, sides)
    summary = f"trusts the wanted CA, and {left}" if left else "trusts the wanted CA alone"
    changes = anchor_changes(site, site.observe(), source, final=sides) if sides else []
    _place(task, site, changes)
    return done(task, summary, [change.text for change in changes])


def _place(task: Task, site: Site, changes: Sequence[AnchorChange]) -> None:
    if changes and not task.is_dry_run():
        before = "\n".join([f"mkdir -p -m 0755 {CERTIFICATES}", *mark_if_read(site, changes)])
        site.place(anchor_files(changes), before=before, what="placing trust anchors")


def _beside_the_wanted(site: Site, source: Source, final: frozenset[Side]) -> str:
    """Return the CAs that stay trusted although they are not wanted any more, in words; empty if there are none."""
    observed, phrases = site.observe(), []
    for side in needed_sides(site.settings):
        if side not in final:
            wanted = parse_pem_bundle(source.anchors(side))
            more = [anchor.title for anchor in parse_or_empty(trusted_text(observed, side)) if anchor not in wanted]
            phrases += [f"{', '.join(more)} for {side}s"] if more else []
    return " and ".join(phrases)


def trusted_by(task: Task) -> Result:
    """Read what a member that a run leaves out trusts and shows: a `MemberTrust` by `Side`; none if unreachable."""
    try:
        site = site_of(task)
        observed = site.observe()
        return Result(task.host, result={side: member_trust(site, observed, side) for side in SIDES})
    except FleetError:
        return Result(task.host, result={})
