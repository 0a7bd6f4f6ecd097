"""The task that verifies a member and, as its host sees it, its whole cluster: in a moment, or in depth."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.checks.consequences import remedies, told
from etcdfleet.checks.findings import Finding
from etcdfleet.errors import RemoteError, VerificationError
from etcdfleet.host.paths import UNPROVEN
from etcdfleet.host.tls_port import answers
from etcdfleet.outcome import StepOutcome, done
from etcdfleet.report.show.checklist import count_text
from etcdfleet.settings.load import settings_of
from tasks.alarms import end_full_alarm, stands
from tasks.certificates.place import certificate_facts
from tasks.observe import Site, site_of
from tasks.verify.deep import Deep, check_deeply
from tasks.verify.proof import Checked, prove
from tasks.verify.tls import placed_leaves


def verify(
    task: Task, without: Collection[str] = (), *, may_end_alarm: bool = False, deep: Deep | None = None
) -> Result:
    """Verify the member on this host and its cluster; nothing is changed but what this docstring names.

    Members ``without`` are known to be down: they are not asked. Certificates of a run that was ended are noted as
    proven. ``may_end_alarm`` says that all members run with the inventory's settings: the alarm NOSPACE is ended where
    all have room again. With ``deep`` all that runbooks/verify.py looks at is checked as well, and none of the above is
    done; the key that it may write is deleted. Result: ``result`` is a `StepOutcome` whose facts name each check with
    its evidence. When checks failed, `VerificationError` is raised with all of them; with ``deep`` it is the
    ``exception`` of a result that failed and has the facts.
    """
    if deep:
        return _verify_deeply(task, deep)
    site, ended = site_of(task), ""

    def hopeless(bad: Sequence[Finding]) -> bool:
        """End the alarm where it may be ended: one host does it, and the others wait for that."""
        nonlocal ended
        may_end = may_end_alarm and not task.is_dry_run()
        if may_end and not ended:
            ended = end_full_alarm(site, bad, timeouts.ETCDCTL_PATIENT)
        return stands(bad) and not may_end

    checked, bad = prove(site, timeouts.SETTLE, without, hopeless=hopeless)
    if bad:
        raise VerificationError(
            told(bad), where=site.settings.name, remedy=remedies(bad) or "see etcd's log on this host"
        )
    if site.observe().facts.unproven and not task.is_dry_run():
        site.remote.run(f"rm -f {UNPROVEN}", check="noting that the certificates are proven")
    summary, changes = f"{len(checked.findings)} checks passed", [ended] if ended else []
    return done(task, summary, changes, checked.warnings, _facts(site, checked))


def _verify_deeply(task: Task, deep: Deep) -> Result:
    began = time.monotonic()
    if deep.issuing:
        deep.issuing.ask(settings_of(task.host))
    try:
        site = site_of(task)
        site.observe()
    except RemoteError as error:
        return _unreachable(task, error)
    checked = check_deeply(task, site, deep)
    facts = _facts(site, checked)
    facts["clock_offset_seconds"] = site.observe().facts.clock_offset
    facts["verify_seconds"] = round(time.monotonic() - began, 2)
    summary = count_text([finding.status for finding in checked.findings])
    outcome = StepOutcome(summary, warnings=tuple(checked.warnings), facts=facts)
    if not checked.bad:
        return Result(task.host, result=outcome, diff=checked.diff)
    failure = VerificationError(
        f"{len(checked.bad)} of {len(checked.findings)} checks failed: " + ", ".join(f.check for f in checked.bad),
        where=site.settings.name,
        remedy="each has its evidence, likely cause and remedy in the list of checks, and in the report",
    )
    return Result(task.host, result=outcome, diff=checked.diff, failed=True, exception=failure)


def _facts(site: Site, checked: Checked) -> dict[str, object]:
    """Return the report's record of a verified member: each check, its certificates, and what it says of itself."""
    return {
        "checks": [finding.as_json() for finding in checked.findings],
        "ssh_round_trips": site.remote.round_trips,
        "certificates": certificate_facts(site.settings, placed_leaves(site.settings, site.observe())),
        **(checked.status.facts() if checked.status else {}),
    }


def _unreachable(task: Task, error: RemoteError) -> Result:
    """SSH does not come through: whether etcd's ports answer from here tells what is wrong."""
    settings, cause = settings_of(task.host), ""
    if settings.preflight.controller_reaches_members:
        ports = (settings.cluster.client_port, settings.cluster.peer_port)
        open_ports = [str(port) for port in ports if answers(settings.member.address, port, timeouts.PORT)]
        cause = (
            f"etcd's port {' and '.join(open_ports)} answers: the host is up, and SSH alone does not come through"
            if open_ports
            else "etcd's ports do not answer from here either: the host is off, or cut off from the network"
        )
    outcome = StepOutcome(
        "not reached", facts={"checks": [Finding("ssh", False, error.what, error.remedy, cause).as_json()]}
    )
    what = f"{error.what}; {cause}" if cause else error.what
    failure = VerificationError(what, where=error.where or settings.name, remedy=error.remedy)
    return Result(task.host, result=outcome, failed=True, exception=failure)
