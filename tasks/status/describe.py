"""What the answers to `tasks.status.read.read_host` amount to: the machine, its member, what deploy would change."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nornir.core.task import Task

from etcdfleet.certs import Certificate, parse_or_empty
from etcdfleet.checks.overview.data import Key, Life, Machine, MemberView
from etcdfleet.checks.overview.host import key_of, life_of, state_of
from etcdfleet.drivers.certificates import needed_roles
from etcdfleet.errors import FleetError
from etcdfleet.etcd.alarms import is_alarm
from etcdfleet.etcd.answers import parse_health, parse_member_list, parse_status, parsed, unanswered
from etcdfleet.etcd.canary import hold_in
from etcdfleet.etcd.expected import expected_member
from etcdfleet.etcd.restore_record import under_way
from etcdfleet.host.facts import HostFacts
from etcdfleet.host.paths import CONFIG
from etcdfleet.host.preflight_others import other_problems
from etcdfleet.remote import CommandResult, last_lines
from etcdfleet.roles import Side, side_of
from etcdfleet.settings.models import HostSettings
from tasks.certificates.anchors import trusted_besides, trusted_text
from tasks.certificates.issuing import other_issuers
from tasks.configure import desired_files, same, unified_diff
from tasks.observe import Observed, Site
from tasks.programs import restart_reasons

NOT_LISTENING = 44
"""Exit code of what asks a member (`tasks.status.read.member_commands`) when nothing listens on its port."""


def describe(
    task: Task,
    site: Site,
    observed: Observed,
    answers: Mapping[str, CommandResult],
    issuing: Mapping[Side, Certificate],
) -> tuple[MemberView, dict[str, Any], str]:
    """Return the host as it was seen, its facts, and as a unified diff what deploy would change in its configuration.

    ``issuing`` are the CAs that issue today, as far as that is known.
    """
    files = desired_files(task, site, observed)
    different = [file for file in files if not same(file, observed.facts.files.get(file.path))]
    machine = machine_of(site, observed, tuple(file.path for file in different), issuing)
    view = member_view(site.settings, machine, answers)
    diffs = [unified_diff(observed.facts.files.get(file.path), file) for file in different if machine.deployed]
    return view, facts_of(view, site.remote.round_trips), "".join(diffs)


def machine_of(site: Site, observed: Observed, drift: tuple[str, ...], issuing: Mapping[Side, Certificate]) -> Machine:
    """Return the host itself, out of its probe."""
    facts, settings = observed.facts, site.settings
    no_data = facts.data.ids is None and not facts.data.unreadable
    deployed = observed.service.running or facts.established is not None or facts.data.ids is not None
    deployed = deployed or any(file.path in facts.files for file in site.service.files)
    others = other_problems(settings.member.data_dir, facts.others, settings.init)
    lives, keys = list[Life](), list[Key]()
    for role in needed_roles(settings):
        pair = facts.pairs.get(role)
        trusted = parse_or_empty(trusted_text(observed, side_of(role)))
        lives.append(life_of(role, pair.pem if pair else None, trusted, facts.clock_now, settings.pki.renew_before))
        if pair and (key := key_of(role, pair.key_sha256, str(pair.note.get("key_sha256") or ""), pair.key_mode)):
            keys.append(key)
    return Machine(
        running=observed.service.running,
        enabled=observed.service.enabled,
        service=observed.service.detail,
        deployed=deployed and not others,
        clock_offset=facts.clock_offset,
        free_bytes=facts.free_bytes.get(settings.member.data_dir),
        restart_pending="\n".join(restart_reasons(settings, observed)),
        drift=drift if deployed and not others else (),
        lives=tuple(lives),
        keys=tuple(keys),
        quota_bytes=running_quota(facts),
        disk_absent=facts.place.absent,
        data_lost=facts.established is not None and no_data,
        blank=facts.established is None and no_data and not facts.data_elsewhere and not observed.service.running,
        cluster_id=facts.data.ids.cluster_id if facts.data.ids else 0,
        restoring=_restoring(facts),
        seconds=observed.service.seconds,
        held=hold_in(facts.established, settings.name),
        other=next(((trouble.what, trouble.remedy) for trouble in others), None),
        besides=tuple(
            (side, ", ".join(repr(ca.title) for ca in cas)) for side, cas in trusted_besides(site, observed).items()
        ),
        due_ca=tuple((side, issuing[side].title, old) for side, old in other_issuers(observed, issuing).items()),
    )


def _restoring(facts: HostFacts) -> str:
    record = under_way(facts.established)
    return f"a restore is under way since {record.begun}, on {record.host} first, and not complete" if record else ""


def running_quota(facts: HostFacts) -> int | None:
    """Return the quota (bytes) that the running etcd was started with: its configuration's, unless changed since."""
    config = facts.files.get(CONFIG)
    line = re.search(rb"^quota-backend-bytes: *(\d+) *$", config.content, re.MULTILINE) if config else None
    return int(line[1]) if line and not facts.restart_pending else None


def member_view(settings: HostSettings, machine: Machine, answers: Mapping[str, CommandResult]) -> MemberView:
    """Read the machine and what its member answered."""
    status, health, members = answers["status"], answers["health"], answers.get("members")
    view = MemberView(
        settings.name,
        expected_member(settings, settings.member),
        machine=machine,
        quota_bytes=settings.cluster.quota_bytes,
        clock_tolerance=settings.preflight.clock_tolerance_seconds,
    )
    if status.rc == NOT_LISTENING:
        return replace(view, silent=f"nothing listens on port {settings.cluster.client_port}")
    try:
        answer = next(iter(parse_status(status.stdout, status.stderr)), None)
        why = "" if answer else next(iter(unanswered(status.stderr).values()), last_lines(status.stderr, 1))
        view = replace(view, status=answer, silent=why)
    except FleetError as error:
        view = replace(view, silent=error.what)
    # A member without an answer about its health counts as not serving. 3.5 has no list without a quorum.
    healths = parsed(parse_health, health.stdout, health.stderr)
    listed = parsed(parse_member_list, members.stdout, members.stderr) if members else None
    return replace(view, health=healths[0] if healths else None, members=listed)


def facts_of(view: MemberView, round_trips: int) -> dict[str, Any]:
    """Return the facts for report.json."""
    machine, status = view.machine, view.status
    facts: dict[str, Any] = {"state": state_of(view), "quota_bytes": view.quota_bytes, "ssh_round_trips": round_trips}
    if machine:
        facts |= {
            "running": machine.running,
            "enabled": machine.enabled,
            "clock_offset_seconds": machine.clock_offset,
            "drift": list(machine.drift),
            "restart_pending": machine.restart_pending,
            "certificates": {life.role: _life_facts(life) for life in machine.lives if life.ends},
        }
        if machine.free_bytes is not None:
            facts["free_bytes"] = machine.free_bytes
    if status:
        facts |= status.facts() | {
            "raft_index": status.raft_index,
            "alarms": [error.strip() for error in status.errors if is_alarm(error)],
        }
    if view.health and view.health.healthy:
        facts["read_seconds"] = view.health.took
    return facts


def _life_facts(life: Life) -> dict[str, Any]:
    return {
        "serial": life.serial,
        "not_after": life.ends.isoformat() if life.ends else "",
        "days_left": math.floor(life.days_left),
        "due": life.due,
    }
