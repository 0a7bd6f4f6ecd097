"""Hosts of the inventory that their cluster has never had as members, told while the cluster is down. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from etcdfleet.etcd.start_model import MemberState


def newcomers(states: Sequence[MemberState]) -> tuple[MemberState, ...]:
    """Return the hosts that have lost nothing: they hold neither data nor a marker, and no marker names them.

    A new card in a host of old takes its data and its marker away; the markers of the others name it then. Where one of
    these cannot be read, or names a member that the inventory lacks, which may be this one under another name, nobody
    counts as new. No more than words and the start of the others may depend on it: a marker may be older than the last
    member that joined.
    """
    markers = [_members(state) for state in states if state.seen and state.established is not None]
    noted = {name for names in markers for name in names}
    if not markers or not all(markers) or not noted <= {state.name for state in states}:
        return ()
    return tuple(state for state in states if state.empty and state.established is None and state.name not in noted)


def _members(state: MemberState) -> frozenset[str]:
    members = (state.established or {}).get("members")
    return frozenset(members) if isinstance(members, Mapping) else frozenset()
