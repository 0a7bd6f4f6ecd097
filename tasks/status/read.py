"""Each host in one round trip: the machine, its files and certificates, and what its member answers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.checks.overview.data import ClusterOverview, Level, MemberView
from etcdfleet.errors import FleetError, RemoteError, VerificationError
from etcdfleet.etcd.answers import parse_member_list
from etcdfleet.etcd.etcdctl import etcdctl, local_endpoint
from etcdfleet.etcd.expected import expected_member
from etcdfleet.outcome import StepOutcome
from etcdfleet.remote import let_go
from etcdfleet.report.record.model import failure_of
from etcdfleet.settings.load import settings_of
from etcdfleet.settings.models import HostSettings
from tasks.certificates.issuing import Issuing
from tasks.observe import site_of
from tasks.status.describe import NOT_LISTENING, describe

NOT_NEEDED = ("listeners", "user", "openssl", "resolve", "init")
"""Parts of a host's probe that say nothing of what is shown."""


@dataclass(frozen=True, kw_only=True)
class HostRead(StepOutcome):
    """The outcome of `read_host`, with what was seen."""

    view: MemberView


def read_host(
    task: Task, list_on: Collection[str] | None = None, tolerant: bool = False, issuing: Issuing | None = None
) -> Result:
    """Look at a host and its member; changes nothing, and needs no Vault. Result: ``result`` is a `HostRead`.

    Only members on the hosts ``list_on`` (None: all) are asked for the member list: for a cluster, one is enough.
    ``issuing`` asks Vault meanwhile for the CAs that issue today, which is said where it answers. ``diff`` is what
    deploy would change in the configuration. Where the host cannot be looked at, its view says why, and the result has
    failed, unless SSH alone does not come through and that is ``tolerant``.
    """
    settings = settings_of(task.host)
    try:
        return _read(task, settings, list_on, issuing)
    except Exception as error:
        failure, no_ssh = failure_of(error), isinstance(error, RemoteError)
        if no_ssh:
            let_go(task.host)
        remedy = failure.remedy if failure.expected else "run again with --debug, which shows the traceback"
        expected, also = expected_member(settings, settings.member), (settings.hostname, settings.member.address)
        read = HostRead(failure.what, view=MemberView(task.host.name, expected, failure.what, remedy, also=also))
        if no_ssh and tolerant:
            return Result(task.host, result=read)
        return Result(task.host, result=read, failed=True, exception=error)


def _read(task: Task, settings: HostSettings, list_on: Collection[str] | None, issuing: Issuing | None) -> Result:
    asked = member_commands(settings, members=list_on is None or task.host.name in list_on)
    if issuing:
        issuing.ask(settings)
    site = site_of(task)
    observed, answers = site.look_with(
        asked, without=NOT_NEEDED, timeout=min(site.remote.timeout, timeouts.STATUS_HOST)
    )
    view, facts, diff = describe(task, site, observed, answers, issuing.of(settings) if issuing else {})
    return Result(task.host, result=HostRead(str(facts["state"]), facts=facts, view=view), diff=diff)


def member_commands(settings: HostSettings, *, members: bool = True) -> dict[str, str]:
    """Return what etcdctl asks the member on the host. Where nothing listens, it would wait all of its time."""
    listens = f"grep -qsiE ':{settings.cluster.client_port:04X} 0+:0000 0A ' /proc/net/tcp /proc/net/tcp6"
    # For one short question, Go's collector and further threads cost a small host more than they give.
    before = f"{listens} || exit {NOT_LISTENING}\nexport GOGC=off GOMAXPROCS=1\n"
    asked = {"status": "endpoint status", "health": "endpoint health", "members": "member list"}
    endpoint = [local_endpoint(settings)]
    return {
        name: before + etcdctl(settings, f"-w json {words}", endpoint, seconds=timeouts.ETCDCTL_QUICK)
        for name, words in asked.items()
        if members or name != "members"
    }


def list_members(task: Task) -> Result:
    """Ask the member on a host for the member list, in place of one that did not answer; None if it gives none."""
    try:
        answer = site_of(task).remote.run(
            member_commands(settings_of(task.host))["members"], timeout=timeouts.STATUS_HOST
        )
        return Result(task.host, result=parse_member_list(answer.stdout, answer.stderr))
    except FleetError:
        return Result(task.host, result=None)


def judge(task: Task, overview: ClusterOverview) -> Result:
    """Say of a host what is wrong with it and its cluster now, from what all were seen to be.

    The facts have all concerns about the host; it has failed, with a `VerificationError`, when one of them is about
    now.
    """
    name = task.host.name
    mine = [concern for concern in overview.concerns if name in concern.hosts]
    wrong = [concern for concern in mine if concern.level is not Level.SOON]
    facts = {
        "concerns": [concern.as_json() for concern in mine],
        "cluster_margin": overview.margin,
        "cluster_can_lose": overview.can_lose,
    }
    if learner := overview.learners.get(name):
        facts |= learner.facts()
    outcome = StepOutcome(overview.margin, facts=facts)
    if not wrong:
        return Result(task.host, result=outcome)
    error = VerificationError(
        "; ".join(concern.what for concern in wrong),
        where=name,
        remedy="; ".join(dict.fromkeys(concern.remedy for concern in wrong)),
    )
    return Result(task.host, result=outcome, failed=True, exception=error)
