"""Before members show certificates of another CA: whether their clients will know it. A question for each cluster."""

from __future__ import annotations

from datetime import UTC, datetime

from etcdfleet.certs.clients import cut_off
from etcdfleet.errors import UsageError
from etcdfleet.program.main import Run
from tasks.trust import Clusters, states_of


def keep_clients(run: Run, clusters: Clusters, *, ready: bool = False) -> Clusters:
    """Gives the clusters in which new certificates may be shown to clients; a no is recorded, with exit code 3.

    A client that knows members by the previous CA alone would refuse what they show from then on. Nobody can see from
    here what clients have, so it is asked for, unless ``ready`` says that it is known. Asked again as long as a member
    shows a certificate of the previous CA, and never where the new ones lead to what clients trust.
    """
    states = states_of(run, clusters)
    going = dict(clusters)
    for name, hosts in clusters.items():
        seen = [states[host]["client"] for host in hosts if "client" in states.get(host, {})]
        lost, needed = cut_off([(state.member, state.serves) for state in seen], at=datetime.now(UTC))
        if not lost:
            continue
        old, new = (", ".join(repr(ca.title) for ca in cas) for cas in (lost, needed))
        what = (
            f"members are about to show clients certificates of {new}, and a client that knows members by {old} alone "
            "would refuse them"
        )
        if run.options.check:
            run.record.warn(name, f"{what}; without --check this is asked for")
        elif not ready and not _agreed(run, name, what):
            remedy = f"{how_to_make(run, name)}; once clients have it, run again with --yes"
            if "ca" in run.options.extra:
                remedy += ", or with --clients-ready, which says yes to just this"
            run.record.protect(name, f"members go on with their certificates: {what}", remedy, where=name)
            run.record.skip_rest(hosts, f"{name}: clients need a file with both CAs first")
            del going[name]
    return going


def how_to_make(run: Run, cluster: str) -> str:
    """How a file is made by which clients know members before, during and after the change."""
    if run.fleet.clusters[cluster][0].pki.source != "vault":
        return "give clients a file with the certificates of both CAs, each with its root"
    return (
        f"give clients a ca.pem with both: python runbooks/client_cert.py NAME --cluster {cluster} --ca-only writes it"
    )


def _agreed(run: Run, cluster: str, what: str) -> bool:
    try:
        return run.confirm(f"{cluster}: {what}. Do all clients have a file with both CAs (client_cert.py --ca-only)?")
    except UsageError:  # nobody can answer
        return False
