"""A client certificate for a person or a program: refused early where it cannot work, then made."""

from __future__ import annotations

from datetime import timedelta

from etcdfleet.certs import MemberTrust
from etcdfleet.client_files import ClientFiles, client_files
from etcdfleet.errors import UsageError
from etcdfleet.program.options import PROJECT
from etcdfleet.program.run import Program, Run
from etcdfleet.settings.auth import ROOT
from etcdfleet.settings.models import HostSettings
from etcdfleet.text import go_duration
from plays.options import ClientOptions
from tasks.certificates.client import ClientRequest, MembersSeen, client_certificate, client_side


def client_cert(program: Program[ClientOptions]) -> None:
    """Make a certificate for one cluster. Raises UsageError when another number of clusters is chosen."""
    if len(program.clusters) != 1:
        raise UsageError("a certificate is for one cluster", remedy=f"add --cluster: {', '.join(program.clusters)}")
    program.play(make)


def make(run: Run[ClientOptions]) -> None:
    """Check what was asked for, read how the members stand to their clients, and make the certificate.

    The run's hosts are rows of clusters; the cluster's own hosts are read only. Raises UsageError.
    """
    own, settings = run.own, run.members[0]
    files = client_files(own.out or PROJECT / "clients" / run.cluster / own.name, own.name)
    ttl = own.ttl or settings.auth.certificate_ttl
    _refuse_wrong_use(run, settings, files, ttl)
    outcomes = run.step(
        "certificate",
        client_certificate,
        settings=settings,
        request=ClientRequest(own.name, ttl, files),
        seen=_members_seen(run),
        ca_only=own.ca_only,
    )
    for outcome in () if run.check else outcomes.values():
        run.program.say(outcome.changes[-1] if own.ca_only else files.environment.read_text().strip())


def _refuse_wrong_use(run: Run[ClientOptions], settings: HostSettings, files: ClientFiles, ttl: timedelta) -> None:
    name, yes = run.own.name, run.program.options.yes
    if not settings.cluster.client_tls:
        raise UsageError(
            f"cluster {run.cluster} has no TLS for clients, so certificates of clients are not used",
            where="cluster.client_tls",
        )
    if not settings.pki.makes_clients:
        raise UsageError(
            "this makes certificates by Vault, and the ones of this cluster come from files",
            where="pki.source",
            remedy="make it where those files are made: cfssl gencert with the CA's key, a profile for clients, and "
            f"CN {name}",
        )
    if name in {ROOT, settings.pki.client_common_name} and not yes and not run.own.ca_only:
        raise UsageError(
            f"{name} may do everything in etcd", where="NAME", remedy="add --yes if a certificate for that is meant"
        )
    if files.existing and not yes and not run.check and not run.own.ca_only:
        raise UsageError(
            f"{files.existing[0]} is there already",
            remedy="add --yes to replace it, or choose another folder with --out",
        )
    if ttl > settings.auth.certificate_max_ttl:
        raise UsageError(
            f"{go_duration(ttl)} is longer than {go_duration(settings.auth.certificate_max_ttl)}, the longest allowed",
            where="--ttl",
            remedy="ask for less, or raise auth.certificate_max_ttl in the inventory",
        )


def _members_seen(run: Run[ClientOptions]) -> MembersSeen:
    """Return what the members of the cluster trust and show, read on their hosts; nothing is changed there."""
    program, hosts = run.program, [member.name for member in run.members]
    program.be_quick()
    answers = run.ask_members(client_side, on=hosts)
    return MembersSeen(
        tuple(answer for answer in answers.values() if isinstance(answer, MemberTrust)),
        {host: str(answers.get(host, "unknown")) for host in hosts if not isinstance(answers.get(host), MemberTrust)},
    )
