"""Before members show certificates of another CA: whether their clients will know it. Asked for each cluster."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from etcdfleet.certs.clients import cut_off
from etcdfleet.program.run import Run
from plays.trusted import states_of


def keep(run: Run[Any], *, ready: bool = False, option: str = "") -> None:
    """Leave the cluster unless new certificates may be shown to clients; a no is recorded, with exit code 3.

    A client that knows members by the previous CA alone would refuse what they show from then on. What clients have
    cannot be seen from here, so it is asked for, unless ``ready`` says that it is known; ``option`` is the runbook's
    option that says so. Asked again as long as a member shows a certificate of the previous CA, and never where the new
    ones lead to what clients trust.
    """
    states = states_of(run)
    members = [sides["client"] for sides in states.values() if "client" in sides]
    lost, needed = cut_off([(state.member, state.serves) for state in members], at=datetime.now(UTC))
    if not lost:
        return
    old, new = (", ".join(repr(ca.title) for ca in cas) for cas in (lost, needed))
    what = (
        f"members are about to show clients certificates of {new}, and a client that knows members by {old} alone "
        "would refuse them"
    )
    if run.check:
        run.warn(f"{what}; without --check this is asked for")
        return
    if ready or run.agreed(f"{what}. Do all clients have a file with both CAs (client_cert.py --ca-only)?"):
        return
    remedy = f"{_how_to_make(run)}; once clients have it, run again with --yes"
    if option:
        remedy += f", or with {option}, which says yes to just this"
    run.protect(
        f"members go on with their certificates: {what}",
        remedy,
        why=f"{run.cluster}: clients need a file with both CAs first",
    )


def _how_to_make(run: Run[Any]) -> str:
    """Return how to make a file by which clients know members before, during and after the change."""
    if not run.members[0].pki.makes_clients:
        return "give clients a file with the certificates of both CAs, each with its root"
    command = f"python runbooks/client_cert.py NAME --cluster {run.cluster} --ca-only"
    return f"give clients a ca.pem with both: {command} writes it"
