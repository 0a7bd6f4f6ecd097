"""Restarts that clients notice are asked for before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from etcdfleet.etcd.interruption import interruption
from etcdfleet.program.run import Run
from tasks.planning import MemberSeen


def confirm_interruption(run: Run[Any], order: Sequence[str], reads: Mapping[str, MemberSeen]) -> None:
    """Ask before restarts that clients notice; leave the cluster unless they are confirmed."""
    statuses = {host: read.answers.status for host, read in reads.items() if read.answers.status}
    schemes = {host: status.endpoint.partition(":")[0] for host, status in statuses.items()}
    wanted = "https" if run.members[0].cluster.client_tls else "http"
    what = interruption(len(run.members), order, schemes, wanted)
    if what and run.check:
        run.warn(f"{what}; without --check this is asked for")
    elif what and not run.agreed(f"{what}. Go on?"):
        run.protect(
            f"not restarted, since this was not confirmed: {what}",
            "run again when it suits, and say yes or add --yes; until its next start etcd runs as before",
            where=", ".join(order),
            why=f"{run.cluster} was not restarted, since it was not confirmed",
        )
