"""The step ``trust``: a CA that is new to a live cluster is trusted by all members before any of them uses it.

And its counterpart after the certificates are placed: when the previous CAs need not be trusted any more. The
reasoning is in ``etcdfleet/certs/trust.py``. Where all members trust the issuing CA already, nothing is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from etcdfleet.certs import Certificate, accepts, must_trust_first, shown_by_all, still_shown
from etcdfleet.program.run import Run, restart_due
from etcdfleet.roles import SIDES, Side
from plays.start import bring_up
from plays.trusted import States, states_of
from tasks.certificates.trust import trust, trusted_by

STEP = "trust"


def spread(run: Run[Any]) -> frozenset[str]:
    """Carry out the step ``trust``: where it is needed, by a rolling restart.

    Returns, with --check, the hosts that would be restarted for it. Leaves a cluster that must not have certificates
    of the new CA yet.
    """
    states = states_of(run)
    reason = _why_not(run, states)
    missing = _absent(run, states)
    if reason and missing:
        run.protect(
            f"{reason}; {', '.join(missing)} must trust it too, but is left out of this run",
            "run for the whole cluster: every member must trust a CA before any of them uses it",
        )
    if not reason:
        run.skip(STEP, "no new CA" if any(states.values()) else "no TLS", on=run.good)
        return frozenset()
    due = restart_due(run.step(STEP, trust))
    if not run.check:
        bring_up(run, only_restart=True)
        late = f"{', '.join(run.failed)} failed" if run.failed else _not_yet(states_of(run), run.hosts)
        if late:
            run.leave(f"no certificates of the new CA yet: {late}")
    return due


def keep_untrusted(run: Run[Any]) -> None:
    """For a run that is to change no CA: leave a cluster in which a member might refuse the new certificates.

    A member whose restart is due may run with fewer anchors than its file holds.
    """
    if reason := _why_not(run, states_of(run)):
        run.protect(
            f"no certificate was touched: {reason}",
            "run with --ca: all members trust the CA first, then use it, then trust it alone",
        )


def no_longer_needed(run: Run[Any]) -> frozenset[Side]:
    """Return the sides on which the previous CAs need not be trusted any more: every member shows certificates of the
    wanted ones.

    On the side of clients this ends the time of client certificates of those CAs, so it is asked for; without an answer
    they stay trusted.
    """
    states = states_of(run)
    if all(state.done for sides in states.values() for state in sides.values()):
        return frozenset(SIDES)
    return frozenset(side for side in SIDES if _may_end(run, side, states))


def _may_end(run: Run[Any], side: Side, states: States) -> bool:
    members = [states[host][side] for host in run.hosts if side in states.get(host, {})]
    old = list(dict.fromkeys(anchor.title for state in members if state.member.live for anchor in state.surplus))
    if not old:
        return True
    late = [] if run.check else still_shown([state.member for state in members], members[0].anchors, at=_now())
    left = [*_absent(run, states), *(member.name for member in late)]
    if left:
        why = f"until {', '.join(left)} has a certificate of the wanted CA; then deploy the whole cluster"
    elif side == "client" and not run.agreed(
        f"from now on, only client certificates of the wanted CA are accepted, none of {', '.join(old)}. "
        "Do all clients have new ones (runbooks/client_cert.py)?"
    ):
        why = "so that clients with certificates of it still get in; to end that, run again with --yes"
    else:
        return True
    run.warn(f"for {'clients' if side == 'client' else 'peers'}, {', '.join(old)} stays trusted {why}")
    return False


def _why_not(run: Run[Any], states: States) -> str:
    """Return as `_not_yet`, but where something is new to the cluster for members that this run leaves out, too."""
    if reason := _not_yet(states, run.hosts):
        return reason
    missing = _absent(run, states)
    by_side = {side: [states[host][side] for host in run.hosts if side in states.get(host, {})] for side in SIDES}
    new = {
        side: members[0].ways[0]
        for side, members in by_side.items()
        if members and not all(shown_by_all([state.member for state in members], way) for way in members[0].ways)
    }
    if not (missing and new):
        return ""
    answers = run.ask_members(trusted_by, on=missing)
    for host in missing:
        for side, way in new.items():
            member = answers.get(host, {}).get(side)
            if member is None:
                return f"whether {host} trusts {_led_by(way)} cannot be seen"
            if member.live and (member.restart_due or not accepts(way, member.trusted, at=_now())):
                return f"{_listed([host])} not trust {_led_by(way)} yet"
    return ""


def _not_yet(states: States, hosts: Sequence[str]) -> str:
    """Return why the CA that is to issue cannot be used yet, in words; empty when it can."""
    for side in SIDES:
        members = [states[host][side] for host in hosts if side in states.get(host, {})]
        for way in dict.fromkeys(way for state in members for way in state.ways):
            late = must_trust_first([state.member for state in members], way, at=_now())
            if late:
                return f"{_listed([member.name for member in late])} not trust {_led_by(way)} yet"
    return ""


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'does' if len(names) == 1 else 'do'}"


def _led_by(way: Sequence[Certificate]) -> str:
    """Return the CA that issues, and by what it may be known: two certificates of one CA differ in who signed them."""
    top = way[-1]
    return f"{way[0].title!r}" + ("" if top.self_signed else f" as signed by {top.issuer!r}")


def _absent(run: Run[Any], states: States) -> list[str]:
    return [member.name for member in run.members if member.name not in states]


def _now() -> datetime:
    return datetime.now(UTC)
