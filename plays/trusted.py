"""What the members of a cluster trust and show, and what follows from it for a member that gets new certificates.

Nothing is changed here; how trust spreads is in ``plays/trust.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from etcdfleet.certs import accepts, still_shown
from etcdfleet.program.run import Run
from etcdfleet.roles import Side
from tasks.certificates.trust import SideState, trust_state, trusted_by

States = Mapping[str, Mapping[Side, SideState]]
"""What the good hosts trust and show, by host and side."""


def states_of(run: Run[Any]) -> States:
    """Return what the good hosts trust and show. No round trip where that is known."""
    return run.ask(trust_state)


def keep_known(run: Run[Any]) -> None:
    """Leave the cluster while its CA changes: the others would refuse the host's new certificates, or it theirs."""
    mine, others = states_of(run), run.ask_members(trusted_by, on=run.left_out)
    now = datetime.now(UTC)
    for sides in mine.values():
        for side, state in sides.items():
            members = [each[side] for each in others.values() if side in each and each[side].live]
            late = [each.name for each in members if not all(accepts(way, each.trusted, at=now) for way in state.ways)]
            late += [each.name for each in still_shown(members, state.anchors, at=now)]
            if late:
                run.protect(
                    f"{', '.join(dict.fromkeys(late))} and this host would refuse each other's certificates: the CA of"
                    f" the cluster's {side}s is being changed",
                    "let the previous CA issue again until this member is back (in Vault: as the mount's default"
                    " issuer), and run again; then go on with the change",
                )
