"""The alarm of a full database, ended once every member has room again."""

from __future__ import annotations

from collections.abc import Collection

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.checks.findings import Finding
from etcdfleet.checks.write_probe import probe_checks
from etcdfleet.errors import FleetError, ProtectionError, VerificationError
from etcdfleet.etcd.alarms import may_end
from etcdfleet.etcd.answers import parse_status
from etcdfleet.etcd.etcdctl import all_endpoints, etcdctl, local_endpoint
from etcdfleet.outcome import done
from etcdfleet.text import mib
from tasks.lock import still_ours
from tasks.observe import Site, site_of
from tasks.verify.scripts import probe_script

STANDS_FOR = frozenset({"alarms", "database size"})
"""The checks that may fail beside the alarm: whatever else is wrong is looked at by a person first."""
_CORRUPT = 9


def stands(bad: Collection[Finding]) -> bool:
    """Return whether what is wrong is an alarm or the size of the database alone: neither goes by waiting."""
    return bool(bad) and {finding.check for finding in bad} <= STANDS_FOR


def end_full_alarm(site: Site, bad: Collection[Finding], seconds: float) -> str:
    """End the alarm NOSPACE of a cluster all of whose members run with the quota of the settings; say so, or nothing.

    Of the cluster's hosts the first one does it, so that it is done once. ``bad`` are the findings that are not well.
    Nothing is done where anything but the alarm is wrong, a member is silent, or one has no room.
    """
    failed, settings = {finding.check for finding in bad}, site.settings
    if "alarms" not in failed or not stands(bad) or settings.member.name != settings.members[0].name:
        return ""
    endpoints = all_endpoints(settings)
    try:
        asked = site.remote.run(etcdctl(settings, "-w json endpoint status", endpoints, seconds=seconds))
        statuses = parse_status(asked.stdout, asked.stderr)
    except FleetError:
        return ""  # found again, and said, by the checks
    if may_end(statuses, endpoints, settings.cluster.quota_bytes):
        return ""
    _disarm(site, seconds)
    size = max(status.db_size for status in statuses)
    quota = settings.cluster.quota_bytes
    return f"the alarm NOSPACE is ended: {mib(size)} of the quota of {mib(quota)} are used"


def _disarm(site: Site, seconds: float) -> None:
    settings, here = site.settings, [local_endpoint(site.settings)]
    # It ends all alarms: that there is no other is looked at once more, right before.
    site.remote.run(
        f"""raised=$({etcdctl(settings, "alarm list", here, seconds=seconds)}) || exit
case $raised in *CORRUPT*) exit {_CORRUPT};; esac
{etcdctl(settings, "alarm disarm", here, seconds=seconds)}""",
        check="ending the alarm NOSPACE",
        remedy="run etcdctl alarm list on this host, then run again",
    )


def end_alarm(task: Task, quota: int, token: str) -> Result:
    """End the alarm NOSPACE once every member has room below ``quota``; prove by a write that it stays ended.

    The key of that write is named after ``token``, read through every member, and deleted. Raises `ProtectionError`
    where the alarm must stay, `VerificationError` where the write is refused.
    """
    site = site_of(task)
    if task.is_dry_run():
        return done(task, "would end the alarm", ["the alarm NOSPACE is ended, once every member has room"])
    still_ours(task)
    settings, endpoints = site.settings, all_endpoints(site.settings)
    seconds = timeouts.ETCDCTL_PATIENT
    asked = site.remote.run(etcdctl(settings, "-w json endpoint status", endpoints, seconds=seconds))
    statuses = parse_status(asked.stdout, asked.stderr)
    if why := may_end(statuses, endpoints, quota):
        raise ProtectionError(
            f"the alarm NOSPACE is not ended: {why}", where=settings.name, remedy="run again, or see status.py"
        )
    _disarm(site, seconds)
    names = [member.name for member in settings.members]
    tried = site.remote.run(probe_script(settings, names, token), timeout=120)
    bad = [finding for finding in probe_checks(names, [], tried.stdout, token) if not finding.ok]
    if bad:
        raise VerificationError(
            f"the alarm NOSPACE was ended, and {bad[0].evidence}", where=settings.name, remedy=bad[0].remedy
        )
    size = max(status.db_size for status in statuses)
    told = f"the alarm NOSPACE is ended: {mib(size)} of the quota of {mib(quota)} are used, and writes are taken again"
    return done(task, "writes are taken again", [told])
