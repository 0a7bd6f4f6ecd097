"""Certificates renewed on one host of a live cluster: looked at, replaced, proven, and put back if need be.

What is to be done on which host is decided in ``etcdfleet/certs/rotation.py`` and arranged by ``plays/rotate.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.certs import Keep, parse_or_empty
from etcdfleet.certs.authority import CA_ENDED
from etcdfleet.certs.rotation import MemberPair, apply_options, describe, never_proven
from etcdfleet.certs.want import utc
from etcdfleet.checks.consequences import told
from etcdfleet.checks.findings import Finding
from etcdfleet.drivers.certificates import Source, needed_roles, needed_sides, source_of
from etcdfleet.errors import CertificateError, FleetError, ProtectionError, VerificationError
from etcdfleet.etcd.configuration import pair_files_in
from etcdfleet.etcd.gates import caught_up
from etcdfleet.host.paths import CONFIG, UNPROVEN, HostPaths, mark_restart_pending
from etcdfleet.host.preflight import clock_problems
from etcdfleet.outcome import StepOutcome, done
from etcdfleet.remote import RemoteFile
from etcdfleet.roles import RoleName
from tasks.certificates.anchors import anchor_changes, named_anchors, trusted_text
from tasks.certificates.place import KEY_OWNED, certificate_facts, decisions_of, obtain, place, swap, tidy
from tasks.certificates.revoke import check_may_revoke
from tasks.lock import still_ours
from tasks.member import MemberAnswers, ask_cluster, ask_member
from tasks.observe import Site, site_of
from tasks.preflight import refusal
from tasks.verify.proof import check, prove
from tasks.verify.tls import placed_leaves

Due = Mapping[str, Mapping[RoleName, str]]
"""By host, the roles whose certificate is replaced, and how that is told."""


@dataclass(frozen=True)
class Decided(StepOutcome):
    """The outcome of `decide`, with what it found."""

    member: MemberPair | None = None


def decide(
    task: Task,
    *,
    force: bool = False,
    chosen: Sequence[RoleName] = (),
    new_ca: bool = False,
    revoke: bool = False,
    changing: bool = False,
) -> Result:
    """Look at the certificates of a host and at its member; change nothing.

    With ``force`` good ones are due too, with ``chosen`` those of other roles are left as they are. ``new_ca`` says
    that another CA may be trusted in the end than now, ``revoke`` that what is replaced is to be revoked, ``changing``
    that the run brings all else on the host to what is wanted, too, so that only certificates and member are looked at.
    Raises `FleetError` when the host cannot be looked at, its clock is wrong (so that what is due is not known), or the
    source of certificates cannot give any.
    """
    site = site_of(task)
    roles = needed_roles(site.settings)
    if not roles:
        return Result(task.host, result=Decided("no TLS", skipped=True))
    source, observed = source_of(task, site.settings), site.observe()
    if wrong := clock_problems(site.settings, observed.facts)[0]:
        raise refusal(site.settings.name, wrong)
    warnings = [*source.check(site.settings, observed.facts, roles)]
    decisions = decisions_of(site, source, roles)
    for role, decision in decisions.items():
        decisions[role] = apply_options(decision, forced=force, chosen=not chosen or role in chosen)
        if isinstance(decisions[role], Keep) and (mode := observed.facts.pairs[role].key_mode) != KEY_OWNED:
            warnings.append(
                f"the {role} key is {mode} instead of {KEY_OWNED}: run deploy, which puts that right; until then etcd "
                "may be unable to read it, or others able to"
            )
    if not changing:
        _check_names(site)
        _check_anchors(site, source, new_ca=new_ca)
    if (revoke or site.settings.pki.revoke) and not changing:
        check_may_revoke(site, source)
    answers = ask_member(site) if observed.service.running else MemberAnswers()
    sick = _sick(site, answers)
    problem = sick.pop(site.settings.member.name, "") if observed.service.running else "etcd does not run"
    if observed.service.running:  # a stopped one is not healthy for other reasons, and for deploy to start
        decisions = never_proven(decisions, observed.facts.unproven, healthy=not problem)
    member = MemberPair(
        site.settings.name,
        decisions,
        observed.facts.clock_now,
        observed.service.running,
        healthy=not problem,
        leader=bool(answers.status and answers.status.leader_id == answers.status.member_id),
        problem=problem,
        name=site.settings.member.name,
        others_sick=sick,
        deployed=observed.service.running
        or observed.facts.established is not None
        or observed.facts.data.ids is not None,
        unproven=bool(observed.facts.unproven),
    )
    summary = f"due: {', '.join(member.due)}" if member.due else "nothing is due"
    summary += "; what a run that was ended has placed is still to be proven" if member.unproven else ""
    leaves = {role: decision.certificate for role, decision in decisions.items() if decision.certificate is not None}
    facts = {
        "decisions": [describe(role, decision) for role, decision in decisions.items()],
        "certificates": certificate_facts(site.settings, leaves),
    }
    return Result(task.host, result=Decided(summary, warnings=tuple(warnings), facts=facts, member=member))


def left_out(task: Task, why: str) -> Result:
    """For a host whose certificates are due, but which is left alone: raises `VerificationError` with the reason."""
    raise VerificationError(
        f"left out, though its certificates are due: {why}",
        where=task.host.name,
        remedy="bring the member back (see etcd's log on this host), then run again",
    )


def rotate_member(
    task: Task, due: Due, *, restart: bool = False, revoke: bool = False, without: Collection[str] = ()
) -> Result:
    """Give one member of a live cluster its new certificates, and prove them.

    ``restart`` has etcd restarted later, ``revoke`` says that what is replaced is to be revoked, and so kept till then.
    Before: all members are healthy, but those that ``without`` names. After: both ports show the new certificates, and
    everything that ``verify`` looks at is well; else the previous ones are restored, and that is proven in turn. Raises
    `ProtectionError` when the cluster is not healthy before or the lock is lost, `CertificateError` when what was
    obtained is not fit (nothing was placed then), `VerificationError` when the new ones did not prove themselves.
    """
    site = site_of(task)
    roles, changes = tuple(due[task.host.name]), tuple(due[task.host.name].values())
    if task.is_dry_run():
        return done(task, "would be replaced", changes)
    sick = _sick(site, ask_member(site))
    if problem := "; ".join(why for name, why in sick.items() if name not in without):
        raise ProtectionError(
            f"no certificate was touched, because {problem}",
            where=site.settings.name,
            remedy="bring the cluster back to health first (see the members' logs), then run again",
        )
    before = _sets_in_use(site)
    already = check(site, without).bad
    warnings = _replace(task, site, roles)
    bad = _prove(site, timeouts.PROOF, without, already)
    if bad:
        still_ours(task)  # else it may be another run that replaced them in the meantime
        raise _put_back(site, before, roles, bad, revoke, without, already)
    if already:
        warnings.append(f"it was so before new certificates were placed: {told(already)}")
    _leave(site, restart, revoke)
    return done(task, f"{', '.join(roles)} replaced and proven", changes, warnings, _facts(site))


def replace_expired(task: Task, due: Due, *, restart: bool = False, revoke: bool = False) -> Result:
    """Give a member whose certificates have expired or are of no use new ones, and wait until the cluster is healthy.

    Nothing is waited for before: members refuse each other until all have new certificates. To be run on all of them at
    the same time. Raises `VerificationError` if it does not become healthy.
    """
    site = site_of(task)
    roles, changes = tuple(due[task.host.name]), tuple(due[task.host.name].values())
    if task.is_dry_run():
        return done(task, "would be replaced", changes)
    warnings = _replace(task, site, roles)
    bad = _prove(site, timeouts.HEALED)
    if bad:
        raise VerificationError(
            f"it has new certificates, and within {timeouts.HEALED} s: {told(bad)}",
            where=site.settings.name,
            remedy="see etcd's log on the members; what was placed stays, as the previous ones are of no use",
        )
    _leave(site, restart, revoke)
    return done(task, f"{', '.join(roles)} replaced, healthy again", changes, warnings, _facts(site))


def _replace(task: Task, site: Site, roles: Sequence[RoleName]) -> list[str]:
    source = source_of(task, site.settings)
    pairs, warnings = obtain(site, source, roles)
    still_ours(task)  # making keys may have taken minutes
    unproven = "".join(f"{role}\n" for role in dict.fromkeys((*site.observe().facts.unproven, *roles)))
    place(site, pairs, [], [], [RemoteFile(UNPROVEN, unproven.encode())])
    return warnings


def _check_names(site: Site) -> None:
    """Raise `CertificateError` where a running etcd reads its pairs under the names of another FQDN.

    A pair for the new one alone would be of no use to members that still look for it at the old one.
    """
    observed, paths = site.observe(), HostPaths.of(site.settings)
    file = observed.facts.files.get(CONFIG)
    named = pair_files_in(file.content if file else None)
    wanted = {paths.certificate(role) for role in ("peer", "server")}
    other = sorted(set(named.values()) - wanted)
    if observed.service.running and other:
        raise CertificateError(
            f"etcd reads {', '.join(other)}, and member.fqdn in the inventory is {site.settings.member.fqdn}",
            where=site.settings.name,
            remedy="run deploy, which brings the member to another FQDN; or put the old member.fqdn back",
        )


def _check_anchors(site: Site, source: Source, *, new_ca: bool) -> None:
    """Raise `CertificateError` when etcd does not trust the wanted CA, and this run is not to change that.

    Previous CAs that are trusted as well, until their clients have moved, are no reason to stop; one that has ended,
    with no other beside it, is: no member could be restarted behind a gate.
    """
    observed, paths = site.observe(), HostPaths.of(site.settings)
    changes = anchor_changes(site, observed, source)
    if not changes or not observed.service.running:
        return
    for side in needed_sides(site.settings):
        trusted = parse_or_empty(trusted_text(observed, side))
        if trusted and all(anchor.not_after < observed.facts.clock_now for anchor in trusted):
            raise CertificateError(
                f"the CA that etcd trusts for its {side}s, {trusted[0].title!r}, has ended "
                f"({utc(trusted[0].not_after)})",
                where=site.settings.name,
                remedy=CA_ENDED,
            )
    lacking = [f"{change.path} lacks {', '.join(change.lacks)}" for change in changes if change.lacks]
    what = "the trust anchors are not as the inventory says" + (f" ({'; '.join(lacking)})" if lacking else "")
    if any(path != paths.anchor(side) for side, path in named_anchors(observed).items()):
        remedy = "run deploy, which changes between a single CA and separate ones, too"
    elif new_ca:
        return
    else:
        remedy = "run with --ca: all members trust the CA first, then use it, then trust it alone"
    raise CertificateError(what, where=site.settings.name, remedy=remedy)


def _sick(site: Site, answers: MemberAnswers) -> dict[str, str]:
    """Return why members are not healthy, as this one sees them, by name; itself if it does not answer."""
    if answers.members is None:
        return {site.settings.member.name: "its member does not answer"}
    try:
        cluster = ask_cluster(site, answers.members)
    except FleetError as error:
        return {site.settings.member.name: error.what}
    names = [cluster.name(entry.id) for entry in cluster.entries]
    return {name: problem for name in names if (problem := caught_up(cluster, name))}


def _prove(site: Site, seconds: float, without: Collection[str] = (), already: Sequence[Finding] = ()) -> list[Finding]:
    """Return what is not as it should be, after at most this time for it to become so; but for what was so ``already``.

    That the host cannot be asked any more is a finding, too: the certificates are placed by now.
    """
    try:
        return prove(site, seconds, without, already)[1]
    except FleetError as error:
        return [Finding("connection", False, error.what, error.remedy)]


def _sets_in_use(site: Site) -> dict[RoleName, str]:
    """Return the folder of each pair now, to go back to."""
    paths, sets = HostPaths.of(site.settings), {}
    roles = needed_roles(site.settings)
    answer = site.remote.run("\n".join(f"readlink {paths.folder(role)} || echo" for role in roles))
    for role, line in zip(roles, answer.stdout.splitlines(), strict=True):
        if line.startswith("sets/"):
            sets[role] = line.removeprefix("sets/")
    return sets


def _put_back(
    site: Site,
    before: Mapping[RoleName, str],
    roles: Sequence[RoleName],
    bad: Sequence[Finding],
    revoke: bool,
    without: Collection[str],
    already: Sequence[Finding],
) -> VerificationError:
    """Swap the previous certificates back in and prove them; return the error that says how that went."""
    remedy = "see etcd's log on this host, and the role in Vault; the other members were not touched"
    paths, why = HostPaths.of(site.settings), told(bad)
    lines = "\n".join(swap(paths.folder(role), before[role]) for role in roles if role in before)
    try:
        site.remote.run(f"set -e\n{lines}\nrm -f {UNPROVEN}", check="restoring the previous certificates")
        site.forget()
        still = _prove(site, timeouts.PROOF, without, already)
        well = "all is as it was" if already else "all is well"
        end = f"with the previous ones: {told(still)}" if still else f"the previous ones are back, and {well}"
        _tidy(site, revoke)
    except FleetError as error:
        end = f"and the previous ones could not be restored: {error.what}"
        remedy = (
            "check power and network of the host; when it is back, see that its member is healthy (etcdctl endpoint "
            "health, and its log), then run again with --force for this host"
        )
    return VerificationError(
        f"the new certificates did not prove themselves ({why}); {end}",
        where=site.settings.name,
        remedy=remedy,
    )


def _leave(site: Site, restart: bool, revoke: bool) -> None:
    """Do what is left to do on a host whose new certificates are proven."""
    site.remote.run(f"rm -f {UNPROVEN}", check="noting that the certificates are proven")
    if restart:
        site.remote.run(mark_restart_pending("new certificates"), check="noting the restart")
        site.forget()
    _tidy(site, revoke)


def _tidy(site: Site, revoke: bool) -> None:
    # The previous sets are the record of what is still to be revoked.
    if not (revoke or site.settings.pki.revoke):
        tidy(site)


def _facts(site: Site) -> dict[str, object]:
    return {"certificates": certificate_facts(site.settings, placed_leaves(site.settings, site.observe()))}
