"""Each host at a glance, in one round trip: the machine, its files and certificates, and what its member answers."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from typing import Any

from nornir.core.task import Result, Task

from etcdfleet.certs import readable
from etcdfleet.errors import FleetError, RemoteError, VerificationError
from etcdfleet.etcd.ctl import etcdctl, local_endpoint
from etcdfleet.etcd.ids import hex_id
from etcdfleet.etcd.overview_data import ClusterOverview, Level, Life, Machine, MemberView
from etcdfleet.etcd.overview_host import life_of, state_of
from etcdfleet.etcd.view import ExpectedMember, parse_health, parse_member_list, parse_status, unanswered
from etcdfleet.remote import CommandResult, last_lines
from etcdfleet.settings import settings_of
from etcdfleet.settings.base import side_of
from etcdfleet.settings.models import HostSettings, MemberSettings, client_url, peer_url
from etcdfleet.step import StepOutcome
from tasks.anchors import trusted_text
from tasks.configure import desired_files, same, unified_diff
from tasks.observe import Observed, Site, site_of
from tasks.sources import needed_roles

ASK_SECONDS = 3.0
"""How long one call of etcdctl may take. Without a quorum, a read waits for all of it."""
HOST_SECONDS = 15.0
"""How long a host may take for everything it is asked."""
CONNECT_SECONDS = 4.0
"""How long a host may take to let us in, for each part of that: dead ones are to show quickly."""
_NOBODY = 44


def look(task: Task, seen: MutableMapping[str, MemberView], tolerant: bool = False) -> Result:
    """Looks at a host and its member; changes nothing, and needs no Vault. What it finds is put into ``seen``.

    Result: ``result`` is a `StepOutcome` with the facts, ``diff`` what deploy would change in the configuration. A host
    that cannot be looked at is in ``seen`` with the reason, and raises `RemoteError`, unless ``tolerant``.
    """
    settings = settings_of(task.host)
    expected = expected_member(settings, settings.member)
    try:
        site = site_of(task)
        seen_now, answers = site.look_with(questions(settings), timeout=min(site.remote.timeout, HOST_SECONDS))
    except RemoteError as error:
        let_go(task)
        seen[task.host.name] = MemberView(task.host.name, expected, error.what, error.remedy)
        if not tolerant:
            raise
        return Result(task.host, result=StepOutcome(error.what))
    files = desired_files(task, site, seen_now)
    different = [file for file in files if not same(file, seen_now.facts.files.get(file.path))]
    machine = machine_of(site, seen_now, tuple(file.path for file in different))
    view = member_view(settings, machine, answers)
    view = replace(view, facts=facts_of(view, site.remote.round_trips))
    seen[task.host.name] = view
    diff = "".join(unified_diff(seen_now.facts.files.get(file.path), file) for file in different)
    outcome = StepOutcome(state_of(view), facts=view.facts)
    return Result(task.host, result=outcome, diff=diff if machine.deployed else "")


def let_go(task: Task) -> None:
    """Closes a connection that does not answer, so that the next look opens a new one."""
    plugin = task.host.connections.pop("netmiko", None)
    client = getattr(getattr(plugin, "connection", None), "remote_conn_pre", None)
    transport = client.get_transport() if client else None
    if transport is not None:
        transport.close()


def expected_member(settings: HostSettings, member: MemberSettings) -> ExpectedMember:
    """A member as the inventory has it."""
    return ExpectedMember(member.name, peer_url(member, settings.cluster), client_url(member, settings.cluster))


def questions(settings: HostSettings) -> dict[str, str]:
    """What the member on the host is asked, by etcdctl. Where nothing listens, etcdctl would wait all of its time."""
    listens = f"grep -qsiE ':{settings.cluster.client_port:04X} 0+:0000 0A ' /proc/net/tcp /proc/net/tcp6"
    endpoint = [local_endpoint(settings)]
    asked = {"status": "endpoint status", "health": "endpoint health", "members": "member list"}
    return {
        name: f"{listens} || exit {_NOBODY}\n" + etcdctl(settings, f"-w json {words}", endpoint, seconds=ASK_SECONDS)
        for name, words in asked.items()
    }


def machine_of(site: Site, seen: Observed, drift: tuple[str, ...]) -> Machine:
    """The host itself, out of its probe."""
    facts, settings = seen.facts, site.settings
    deployed = seen.service.running or facts.established is not None or facts.data.ids is not None
    deployed = deployed or any(file.path in facts.files for file in site.service.files)
    lives: list[Life] = []
    for role in needed_roles(settings):
        pair = facts.pairs.get(role)
        trusted = readable(trusted_text(seen, side_of(role)))
        lives.append(life_of(role, pair.pem if pair else None, trusted, facts.clock_now, settings.pki.renew_before))
    return Machine(
        running=seen.service.running,
        enabled=seen.service.enabled,
        service=seen.service.detail,
        deployed=deployed,
        clock_offset=facts.clock_offset,
        free_bytes=facts.free_bytes.get(settings.member.data_dir),
        restart_pending=facts.restart_pending,
        drift=drift if deployed else (),
        lives=tuple(lives),
    )


def member_view(settings: HostSettings, machine: Machine, answers: Mapping[str, CommandResult]) -> MemberView:
    """The machine and what its member answered."""
    status, health, members = answers["status"], answers["health"], answers["members"]
    view = MemberView(
        settings.name,
        expected_member(settings, settings.member),
        machine=machine,
        quota_bytes=settings.cluster.quota_bytes,
        clock_tolerance=settings.preflight.clock_tolerance_seconds,
    )
    if status.rc == _NOBODY:
        return replace(view, silent=f"nothing listens on port {settings.cluster.client_port}")
    try:
        found = next(iter(parse_status(status.stdout, status.stderr)), None)
        why = "" if found else next(iter(unanswered(status.stderr).values()), last_lines(status.stderr, 1))
        view = replace(view, status=found, silent=why)
    except FleetError as error:
        view = replace(view, silent=error.what)
    # A member without an answer about its health counts as not serving. 3.5 has no list without a quorum.
    with contextlib.suppress(FleetError):
        view = replace(view, health=next(iter(parse_health(health.stdout, health.stderr)), None))
    with contextlib.suppress(FleetError):
        view = replace(view, members=parse_member_list(members.stdout, members.stderr))
    return view


def facts_of(view: MemberView, round_trips: int) -> dict[str, Any]:
    """The facts for report.json."""
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
        facts |= {
            "version": status.version,
            "member_id": hex_id(status.member_id),
            "cluster_id": hex_id(status.cluster_id),
            "leader": status.leader_id == status.member_id,
            "raft_term": status.term,
            "raft_index": status.raft_index,
            "revision": status.revision,
            "db_size_bytes": status.db_size,
            "alarms": [error.strip() for error in status.errors if "alarm:" in error],
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
