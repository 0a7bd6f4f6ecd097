"""A member gets certificates that fit where it is reached now and where it will be; and what it says of itself."""

from __future__ import annotations

from collections.abc import Sequence

from nornir.core.task import Result, Task

from etcdfleet.certs import decide
from etcdfleet.drivers.certificates import needed_roles, observed, source_of
from etcdfleet.errors import FleetError
from etcdfleet.etcd.answers import EndpointHealth, EndpointStatus, parse_health, parsed
from etcdfleet.etcd.configuration import Addresses, addresses_in
from etcdfleet.etcd.etcdctl import etcdctl
from etcdfleet.host.paths import CONFIG, HostPaths
from etcdfleet.outcome import done
from tasks.certificates.place import also_valid_for, obtain, place, renewals
from tasks.lock import still_ours
from tasks.member import ask_member
from tasks.observe import site_of


def addresses_there(task: Task) -> Result:
    """Return where the member on this host is reached by the configuration there: `Addresses`. No round trip."""
    file = site_of(task).observe().facts.files.get(CONFIG)
    there: Addresses = addresses_in(file.content if file else None)
    return Result(task.host, result=there)


def own_answers(task: Task) -> Result:
    """Return the status and the health that the member on this host tells on the host itself, None for no answer."""
    status: EndpointStatus | None = None
    health: EndpointHealth | None = None
    try:
        site = site_of(task)
        status = ask_member(site).status
        if status:
            answer = site.remote.run(etcdctl(site.settings, "-w json endpoint health", [status.endpoint]))
            healths = parsed(parse_health, answer.stdout, answer.stderr)
            health = healths[0] if healths else None
    except FleetError:
        pass  # it is cut off, and counts as such
    return Result(task.host, result=(status, health))


def fit_both(task: Task, names: Sequence[str]) -> Result:
    """Place pairs that are valid for the names and addresses of the inventory and for these, by which others may come.

    A source that gives none for the old ones gives pairs for the new ones alone: others may refuse those until the
    restart, which follows at once. Pairs that fit stay. Raises `FleetError`, with nothing placed.
    """
    site = site_of(task)
    roles = needed_roles(site.settings)
    if not roles:
        return done(task, "no TLS", skipped=True)
    source, facts = source_of(task, site.settings), site.observe().facts
    decisions = {
        role: decide(
            want,
            observed(facts, want),
            renew_before=site.settings.pki.renew_before,
            now_host=facts.clock_now,
        )
        for role in roles
        for want in [also_valid_for(source.want(site.settings, role), names)]
    }
    due = renewals(decisions)
    warnings: list[str] = []
    if due and not task.is_dry_run():
        try:
            pairs, warnings = obtain(site, source, list(due), names)
        except FleetError as error:
            pairs, warnings = obtain(site, source, list(due))
            told = ", ".join(name for name in names if name != site.settings.member.fqdn)
            warnings.append(
                f"the new certificates are not valid for {told}, until the restart that follows now: {error.what}"
            )
        still_ours(task)
        place(site, pairs, [], [])
    return done(task, "fit for where it is and where it will be", list(due.values()), warnings)


def forget_names(task: Task) -> Result:
    """Remove the names of files by which etcd found its pairs before its restart (`tasks.certificates.place`).

    Raises `RemoteError`.
    """
    site = site_of(task)
    paths = HostPaths.of(site.settings)
    folders = " ".join(f"{paths.folder(role)}/" for role in needed_roles(site.settings))
    if folders:
        unused = f"find {folders} -type l \\( -name '*.pem' -o -name '*.key' \\) -exec rm -f {{}} +"
        site.remote.run(unused, check="removing the old names of certificate files")
    return Result(task.host, result=None)
