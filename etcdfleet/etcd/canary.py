"""A canary: one member of a cluster runs the next version, and the others are held back on purpose. Pure.

The marker of its host says so (``held`` in ``/etc/etcd/cluster.json``), so that no later run takes it for an upgrade
that was interrupted, and finishes it. It counts as long as that member runs the new version and another an older one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etcdfleet.errors import Refusal
from etcdfleet.etcd.upgrades import WAY_BACK_TRIED, MemberVersion
from etcdfleet.etcd.versions import parse

KEY = "held"
_GO_ON = "python runbooks/upgrade.py"


@dataclass(frozen=True)
class Hold:
    """The canary's host, the version that it had and the others have, the one that it runs, and since when."""

    host: str
    old: str
    new: str
    since: str

    def told(self) -> str:
        """Return what is held, in words."""
        return f"{self.host} runs etcd {self.new} as a canary since {self.since}, and the others are held on {self.old}"

    def ways(self) -> str:
        """Return how to go on, and how to go back for how long."""
        old, new = parse(self.old), parse(self.new)
        within = old is not None and new is not None and old[:2] == new[:2]
        until = "" if within else f", as long as one member runs {'.'.join(self.old.split('.')[:2])}"
        if not within and new and new[:2] not in WAY_BACK_TRIED:
            until += f"; from {new[0]}.{new[1]} it was not tried"
        return f"{_GO_ON} goes on; the way back is install.version: {self.old} and python runbooks/deploy.py{until}"

    def noted(self) -> dict[str, str]:
        """Return it as the marker has it."""
        return {"from": self.old, "to": self.new, "since": self.since}


def hold_in(marker: Mapping[str, Any] | None, host: str) -> Hold | None:
    """Return the hold that a host's marker tells of; None where there is none, or it cannot be read."""
    noted = (marker or {}).get(KEY)
    if not isinstance(noted, Mapping) or not all(isinstance(noted.get(key), str) for key in ("from", "to", "since")):
        return None
    return Hold(host, noted["from"], noted["to"], noted["since"])


def in_force(holds: Iterable[Hold | None], running: Mapping[str, str]) -> Hold | None:
    """Return the hold that counts, by what the member on each host runs."""
    for hold in holds:
        new = parse(hold.new) if hold else None
        if hold is None or new is None or parse(running.get(hold.host)) != new:
            continue
        others = [version for host, text in running.items() if host != hold.host and (version := parse(text))]
        if any(version < new for version in others):
            return hold
    return None


def refuse_held(hold: Hold, members: Sequence[MemberVersion]) -> Refusal | None:
    """Return why members that are held back must not get the programs that a run would bring, or None."""
    newer = [
        member.host
        for member in members
        if member.host != hold.host and (brings := parse(member.brings))
        if (now := parse(member.running or member.installed)) is None or brings > now
    ]
    if not newer:
        return None
    return Refusal(f"{hold.told()}: {', '.join(newer)} would get another version", tuple(newer), hold.ways())


def going_back(hold: Hold | None, members: Sequence[MemberVersion]) -> str:
    """Return what a run would take back, in words, for a person to confirm; empty for nothing."""
    for member in members:
        brings = parse(member.brings) if hold and member.host == hold.host else None
        if hold and brings and brings < (parse(hold.new) or brings):
            return f"{member.host} goes back from etcd {hold.new}, which it runs as a canary, to {member.brings}"
    return ""
