"""Starting members: the first of a cluster together, a changed one by a restart between health gates.

The decisions are in ``etcdfleet/etcd/plan.py``; which of these tasks runs on which host is arranged by
``plays/start.py``. Each can be used alone, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from nornir.core.task import Result, Task

from etcdfleet import timeouts
from etcdfleet.certs.authority import CA_ENDED
from etcdfleet.checks.log import explain, last_words
from etcdfleet.errors import FleetError, ProtectionError, VerificationError
from etcdfleet.etcd.alarms import takes_part_script
from etcdfleet.etcd.answers import MemberList
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.configuration import ClusterState, anchors_in, state_in
from etcdfleet.etcd.etcdctl import etcdctl
from etcdfleet.etcd.gates import caught_up, may_restart, move_leader_to
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.start_model import Bootstrap, Join, Plan, Rolling
from etcdfleet.host.paths import CONFIG, ESTABLISHED, RESTART_PENDING
from etcdfleet.outcome import done
from etcdfleet.remote import RemoteFile, last_lines, outliving
from etcdfleet.remote.scripts import script
from tasks.configure import desired_files, stop_seconds
from tasks.lock import still_ours
from tasks.marker import marker_file, noted_of, renew_note
from tasks.member import MemberAnswers, ask_cluster, ask_member, ask_others
from tasks.observe import Site, site_of
from tasks.programs import restart_reasons, swap_program
from tasks.written_key import write_before_3_5

CRASHES = 4
"""So many ends of a started etcd are waited out: names or peers may come up a little later. Then it is a crash loop."""
Gate: TypeAlias = Callable[[Cluster, str], str | None]
"""Says why the member of this name must not be taken down now, or nothing."""
_TOO_LATE, _GAVE_UP, _CRASHES, _NOT_STARTED = 75, 76, 77, 78


def keep_running(task: Task) -> Result:
    """Note that a member which runs as it should belongs to a working cluster, if that is not noted yet.

    A marker of an older version gets what it lacks.
    """
    site = site_of(task)
    observed = site.observe()
    changes = renew_note(task, site)
    if observed.facts.established is None and not task.is_dry_run():
        answers = ask_member(site)
        if answers.members and all(member.started for member in answers.members.members):
            note_established(task, site, answers.members)
            changes.append(f"{ESTABLISHED} notes the cluster's members")
    started = observed.service.started
    since = f" since {started}" if started and not started.isdigit() else ""
    return done(task, f"running{since}", changes)


def start_member(task: Task, plan: Plan | None = None, programs: bool = False) -> Result:
    """Start etcd and wait until it is part of a healthy quorum, then until all members have shown up by name.

    ``plan`` says whether a member without data begins a new cluster (`Bootstrap`) or joins that of the others, and
    whether others can join only afterwards: these are not waited for. At a first start it must run on all members of
    the cluster at the same time (`etcdfleet.program.runners.TogetherRunner`). With ``programs``, a program that is due
    takes its place before. Raises `VerificationError` with the last lines of etcd's log when it does not become healthy
    in time.
    """
    site = site_of(task)
    joins = isinstance(plan, Join)
    what = "etcd joins the cluster" if joins else "etcd is started"
    if task.is_dry_run():
        return done(task, "would be started", [what])
    swapped = swap_program(task, site) if programs else ""
    observed = site.observe()
    if plan is not None and observed.facts.data.ids is None:
        place_state(task, site, "new" if isinstance(plan, Bootstrap) else "existing")
    mended = place_readable(task, site)
    running = observed.service.running
    run_and_wait(site, site.service.restart if running else site.service.start)
    changes = [swapped] if swapped else []
    changes += [f"{CONFIG} is placed anew"] if mended else []
    changes.append("etcd is restarted" if running else what)
    if isinstance(plan, Rolling) and plan.joining:
        return done(task, f"started, healthy; {', '.join(plan.joining)} can join now", changes)
    members = wait_for_names(site)
    if site.observe().facts.established is None:
        note_established(task, site, members)
        changes.append(f"{ESTABLISHED} notes the cluster's members")
    else:
        changes += renew_note(task, site)
    return done(task, "started, healthy", changes)


def restart_member(task: Task, programs: bool = False, gate: Gate = may_restart) -> Result:
    """Restart one member of a live cluster so that its changed files take effect.

    Before: every other member is healthy and up to date (or what another ``gate`` asks for), else nothing is touched;
    one that does not run is started. With ``programs``, a program that is
    due takes its place now (`tasks.programs.swap_program`). A leader first hands its leadership to a follower. After:
    the member is healthy and has caught up. Raises `ProtectionError` when the cluster is not fit to lose a member or
    the lock is lost, `VerificationError` when the member does not come back: both stop the rolling restart of this
    cluster (`etcdfleet.program.runners.RollingRunner`).
    """
    site = site_of(task)
    reasons = restart_reasons(site.settings, site.observe(), programs=programs)
    if task.is_dry_run():
        return done(task, "would be restarted", ["etcd is restarted"])
    answers, cluster = _gate(task, site, gate)
    changes = []
    if (status := answers.status) and (
        written := write_before_3_5(site, status.version, tls=status.endpoint.startswith("https:"), programs=programs)
    ):
        changes.append(written)
    if programs and (swapped := swap_program(task, site)):
        changes.append(swapped)
        answers, cluster = _gate(task, site, gate)  # that may have taken minutes
    if place_readable(task, site):
        changes.append(f"{CONFIG} is placed anew")
    if moved := _hand_over(site, answers, cluster):
        changes.append(moved)
    changes.append("etcd is restarted")
    run_and_wait(site, site.service.restart)
    wait_until_caught_up(site)
    if site.observe().facts.established is None:
        note_established(task, site, wait_for_names(site))
    else:
        changes += renew_note(task, site)
    why = f" ({reasons[0]})" if reasons else ""
    version = site.observe().installed.version
    return done(task, f"restarted{why}", changes, facts={"version": version} if version else {})


def _gate(task: Task, site: Site, gate: Gate) -> tuple[MemberAnswers, Cluster]:
    """Return the member's answers and the cluster as it is.

    Raises `ProtectionError` unless all other members can do without this one, and the lock is still this run's.
    """
    answers = ask_member(site)
    members = answers.members or ask_others(site)
    if members is None:
        raise ProtectionError(
            "no member answers, so nothing tells whether the others can do without this one",
            where=site.settings.name,
            remedy="see etcd's log on this host; once the cluster is healthy, run again. If a CA has ended, it "
            f"cannot become so: {CA_ENDED}",
        )
    cluster = ask_cluster(site, members)
    refusal = gate(cluster, site.settings.member.name)
    if refusal:
        raise ProtectionError(
            f"not restarted, because {refusal}",
            where=site.settings.name,
            remedy="bring the other members back to health first (see their logs), then run again",
        )
    still_ours(task)
    return answers, cluster


def _hand_over(site: Site, answers: MemberAnswers, cluster: Cluster) -> str:
    """Move the leadership away if this member has it; say so, or nothing."""
    if answers.status is None:
        return ""
    # The leader is restarted last: by then no other member waits for a restart.
    target = move_leader_to(cluster, answers.status.member_id)
    if target is None:
        return ""
    endpoint = [site.here(tls=answers.status.endpoint.startswith("https:"))]
    site.remote.run(
        etcdctl(site.settings, f"move-leader {hex_id(target.id)}", endpoint, seconds=timeouts.MOVE_LEADER),
        check=f"moving the leadership to {target.name}",
        remedy="see etcd's log on this host; run again",
    )
    return f"leadership moves to {target.name}"


def run_and_wait(site: Site, action: str, *, ready: str = "") -> None:
    """Start or restart etcd and wait on the host, in one round trip, until a request commits through it.

    ``ready`` is shell that succeeds once it is up, for a member through which none can commit yet. Raises
    `VerificationError` with the last lines of etcd's log.
    """
    health = etcdctl(site.settings, "endpoint health", [site.here(restarted=True)], seconds=timeouts.ETCDCTL_QUICK)
    waiting = script(
        "start_and_wait",
        functions={
            # A member that was stopped comes up, though this run be killed.
            "start": outliving(action),
            # A restart with a larger quota is a way out of a full database. Its alarm stands until it is ended later.
            "takes_part": ready or takes_part_script(health),
            "respawns": site.service.respawns,
            "gave_up": site.service.gave_up,
        },
        ready_seconds=timeouts.READY,
        crashes_allowed=CRASHES,
        restart_pending=RESTART_PENDING,
        too_late=_TOO_LATE,
        not_kept_up=_GAVE_UP,
        crash_loop=_CRASHES,
        not_started=_NOT_STARTED,
    )
    try:
        result = site.remote.run(waiting, timeout=stop_seconds(site.settings.cluster.election_ms) + timeouts.READY + 60)
    finally:
        site.forget()
    if result.rc == _NOT_STARTED:
        reason = last_lines(result.stderr or result.stdout) or "it does not say why"
        raise not_healthy(site, f"{site.service.name} could not start etcd: {reason}")
    if not result.ok:
        ends = {
            _GAVE_UP: f"etcd does not stay up, and {site.service.name} does not start it again",
            _CRASHES: f"etcd ended {CRASHES} times in a row soon after its start",
        }
        what = f"etcd was started, and was not healthy within {timeouts.READY} s"
        raise not_healthy(site, ends.get(result.rc, what), result.stderr)


def not_healthy(site: Site, what: str, output: str = "") -> VerificationError:
    """Return the error of a member that does not become healthy, with its log's last lines and what they mean."""
    log = site.remote.run(site.service.logs(40)).stdout
    symptom = explain(log)
    cause = f"; {symptom.meaning}" if symptom else ""
    text = last_words(log) or last_lines(output) or "its log is empty"
    return VerificationError(
        f"{what}{cause}; its log ends: {text}",
        where=site.settings.name,
        remedy=symptom.remedy if symptom else f"read the whole log on the host: {site.service.logs(100)}",
    )


def wait_for_names(site: Site) -> MemberList:
    """Return the member list once all members are in it by name (a member publishes its name when it has joined)."""
    end = time.monotonic() + timeouts.LISTED
    while True:
        members = ask_member(site).members
        if members and all(member.started for member in members.members):
            return members
        if time.monotonic() > end:
            missing = [", ".join(m.peer_urls) for m in members.members if not m.started] if members else []
            what = f"have not joined: {', '.join(missing)}" if missing else "no member list could be had"
            raise VerificationError(
                f"the cluster is not complete within {timeouts.LISTED} s: {what}",
                where=site.settings.name,
                remedy="see etcd's log on the members that are missing, then run again",
            )
        time.sleep(0.5)


def wait_until_caught_up(site: Site) -> None:
    """Wait until the member is healthy and holds what the others hold. Raise `VerificationError` if it never does."""
    end = time.monotonic() + timeouts.STABLE
    reason = ""
    while True:
        try:
            answers = ask_member(site)
            if answers.members:
                reason = caught_up(ask_cluster(site, answers.members), site.settings.member.name) or ""
                if not reason:
                    return
        except FleetError as error:
            reason = error.what
        if time.monotonic() > end:
            raise not_healthy(site, f"after its restart, within {timeouts.STABLE} s, {reason or 'it does not answer'}")
        time.sleep(0.5)


def note_established(task: Task, site: Site, members: MemberList, of_others: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write the marker; from now on a start without data must fail, by the configuration, too.

    ``of_others`` are the markers of other hosts, for a member that joins.
    """
    files = [*_other_state(task, site, "existing"), marker_file(noted_of(site, members, of_others))]
    site.place(files, what="noting the cluster's members")


def place_state(task: Task, site: Site, state: ClusterState, initial_cluster: str = "") -> None:
    """Bring ``initial-cluster-state`` to what the plan of this moment says; an earlier one may have said another.

    ``initial_cluster`` is the running cluster's list, for a member that joins.
    """
    if files := _other_state(task, site, state, initial_cluster):
        site.place(files, what=f"placing the configuration with initial-cluster-state {state}")


def place_readable(task: Task, site: Site) -> bool:
    """Place the configuration where etcd could not be started with the one on the host; say whether that was so.

    A change of CA restarts members before their configuration is converged.
    """
    observed = site.observe()
    there = observed.facts.files.get(CONFIG)
    if anchors_in(there.content if there else None) is not None:
        return False
    files = [file for file in desired_files(task, site, observed) if file.path == CONFIG]
    site.place(files, what="placing a configuration that etcd can read")
    return True


def _other_state(task: Task, site: Site, state: ClusterState, initial_cluster: str = "") -> list[RemoteFile]:
    """Return the configuration with this ``initial-cluster-state``, if the host has one that differs in it."""
    observed = site.observe()
    there = observed.facts.files.get(CONFIG)
    if there is None or (state_in(there.content) == state and not initial_cluster):
        return []
    files = desired_files(task, site, observed, state, initial_cluster=initial_cluster)
    return [file for file in files if file.path == CONFIG]
