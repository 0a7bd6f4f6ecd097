"""Each host at a glance, in one round trip: the machine, its files and certificates, and what its member answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from threading import Thread

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.checks.overview.data import ClusterOverview, Level, MemberView
from etcdfleet.errors import FleetError, RemoteError, VerificationError
from etcdfleet.etcd.answers import parse_member_list
from etcdfleet.etcd.expected import expected_member
from etcdfleet.outcome import StepOutcome
from etcdfleet.remote import let_go
from etcdfleet.report.record.model import failure_of
from etcdfleet.settings.load import settings_of
from tasks.certificates.issuing import Issuing
from tasks.observe import site_of
from tasks.status.questions import questions

NOT_NEEDED = ("listeners", "user", "openssl", "resolve", "init")
"""Parts of a host's probe that say nothing of what is shown."""


def read_host(
    task: Task,
    seen: MutableMapping[str, MemberView],
    list_on: Collection[str] | None = None,
    tolerant: bool = False,
    issuing: Issuing | None = None,
) -> Result:
    """Looks at a host and its member; changes nothing, and needs no Vault. What it finds is put into ``seen``.

    Only members on the hosts ``list_on`` (None: all) are asked for the member list: for a cluster, one is enough.
    ``issuing`` asks Vault meanwhile for the CAs that issue today, which is said where it answers.
    Result: ``result`` is a `StepOutcome` with the facts, ``diff`` what deploy would change in the configuration. A host
    that cannot be looked at is in ``seen`` with the reason, and raises `RemoteError`, unless ``tolerant``.
    """
    settings = settings_of(task.host)
    expected = expected_member(settings, settings.member)
    try:
        return _read(task, seen, list_on, issuing)
    except Exception as error:
        found = failure_of(error)
        remedy = found.remedy if found.expected else "run again with --debug, which shows the traceback"
        seen[task.host.name] = MemberView(
            task.host.name, expected, found.what, remedy, also=(settings.hostname, settings.member.address)
        )
        if not isinstance(error, RemoteError):
            raise
        let_go(task.host)
        if not tolerant:
            raise
        return Result(task.host, result=StepOutcome(error.what))


def _read(
    task: Task, seen: MutableMapping[str, MemberView], list_on: Collection[str] | None, issuing: Issuing | None
) -> Result:
    settings = settings_of(task.host)
    asked = questions(settings, members=list_on is None or task.host.name in list_on)
    if issuing:
        issuing.ask(settings)
    site = site_of(task)
    _read_ahead()
    seen_now, answers = site.look_with(
        asked, without=NOT_NEEDED, timeout=min(site.remote.timeout, timeouts.STATUS_HOST)
    )
    # Imported only now, while other hosts are still waited for.
    from tasks.status.describe import glance

    view, diff = glance(task, site, seen_now, answers, issuing.of(settings) if issuing else None)
    seen[task.host.name] = view
    return Result(task.host, result=StepOutcome(str(view.facts["state"]), facts=view.facts), diff=diff)


@cache
def _read_ahead() -> None:
    """Imports what makes sense of the answers, while the hosts work on them: they come at about the same time."""
    Thread(target=import_module, args=("tasks.status.describe",), daemon=True).start()


def list_members(task: Task, seen: MutableMapping[str, MemberView]) -> Result:
    """Asks the member on a host for the member list, in place of one that did not answer; adds it to ``seen``."""
    settings, name = settings_of(task.host), task.host.name
    try:
        answer = site_of(task).remote.run(questions(settings)["members"], timeout=timeouts.STATUS_HOST)
        seen[name] = replace(seen[name], members=parse_member_list(answer.stdout, answer.stderr))
    except FleetError as error:
        return Result(task.host, result=StepOutcome(error.what))
    return Result(task.host, result=StepOutcome("asked"))


def judge(task: Task, overviews: Mapping[str, ClusterOverview]) -> Result:
    """Says of a host what is wrong with it and its cluster now, from what all were seen to be.

    Result: ``result`` is a `StepOutcome` whose facts have all concerns about the host; failed, with a
    `VerificationError`, when one of them is about now.
    """
    name = task.host.name
    found = overviews[settings_of(task.host).cluster.name]
    mine = [concern for concern in found.concerns if name in concern.hosts]
    wrong = [concern for concern in mine if concern.level is not Level.SOON]
    facts = {
        "concerns": [concern.as_json() for concern in mine],
        "cluster_margin": found.margin,
        "cluster_can_lose": found.can_lose,
    }
    outcome = StepOutcome(found.margin, facts=facts)
    if not wrong:
        return Result(task.host, result=outcome)
    error = VerificationError(
        "; ".join(concern.what for concern in wrong),
        where=name,
        remedy="; ".join(dict.fromkeys(concern.remedy for concern in wrong)),
    )
    return Result(task.host, result=outcome, failed=True, exception=error)
