"""A rotation: which members are touched, in which order, what is proven and revoked, and what stops it."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from etcdfleet.certs import Renew, parse_pem_bundle
from etcdfleet.certs.rotation import MemberPair
from etcdfleet.errors import CertificateError, VerificationError
from etcdfleet.host.lock import LockInfo
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.run import Program
from etcdfleet.report.record.model import ExitCode
from plays import certificates, clients, lock, rotate, trust, trusted
from plays.options import RotateOptions
from tasks.certificates.revoke import Revoked
from tasks.certificates.rotate import Decided
from tests.unit.support import certs_ca
from tests.unit.support.fake_run import Stage, program_of, statuses

HOSTS = ("az-1", "az-2", "az-3")
FLEET = dict.fromkeys(HOSTS, "home")
GOOD = parse_pem_bundle(certs_ca.leaf(certs_ca.ca("CA")).pem)[0]
STEPS = ("decide", "trust", "rotate", "start", "verify", "revoke", "crl")


def pair(host: str, **changes: Any) -> MemberPair:
    """A healthy member; ``due`` are the roles whose certificates are due."""
    due = changes.pop("due", ())
    decisions: Any = {role: Renew(("asked for",), GOOD) for role in due}
    fields: dict[str, Any] = {
        "running": True,
        "healthy": True,
        "leader": host == "az-1",
        "name": host,
        "deployed": True,
    }
    return MemberPair(host, decisions, certs_ca.NOW, **{**fields, **changes})


def staged(
    monkeypatch: pytest.MonkeyPatch,
    members: Mapping[str, MemberPair | Exception],
    *,
    own: RotateOptions | None = None,
    does: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[Stage, Program[Any]]:
    stage, more = Stage(monkeypatch), does or {}

    def decided(host: str) -> Any:
        found = members[host]
        return found if isinstance(found, Exception) else Decided("looked", member=found)

    for module, name, usual in (
        (lock, "take_lock", ""), (rotate, "decide", decided), (trusted, "trust_state", {}), (trust, "trust", None),
        (certificates, "replace_expired", None), (certificates, "rotate_member", None),
        (certificates, "left_out", VerificationError("left out")), (rotate, "end_trust", None),
        (rotate, "restart_member", None), (rotate, "verify", None), (rotate, "revoke_replaced", Revoked("revoked")),
        (rotate, "refresh_crl", None),
    ):  # fmt: skip
        stage.put(module, name, more.get(name, usual))
    monkeypatch.setattr(rotate, "bring_up", lambda run: stage.ran.extend(("bring_up", host) for host in run.good))
    monkeypatch.setattr(certificates, "renewals", lambda _: ())
    pki = SimpleNamespace(**{"revoke": False, "crl": False, "source": "vault", **(settings or {})})
    program = program_of(
        own or RotateOptions(),
        fleet=FLEET,
        member=lambda host: SimpleNamespace(name=host, pki=pki),
        steps=STEPS,
        **options,
    )
    return stage, program


def played(program: Program[Any]) -> dict[str, Any]:
    decided: dict[str, Any] = {}
    program.play(rotate.rotate, decided)
    return decided


def test_nothing_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, {host: pair(host) for host in HOSTS})
    assert set(played(program)["home"]) == set(HOSTS)
    assert stage.names == ["take_lock", "decide"]
    assert statuses(program, "az-1") == {**dict.fromkeys(STEPS, "skipped"), "decide": "ok"}
    assert program.record.finish().exit_code == ExitCode.OK


def test_one_after_the_other_the_leader_last(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, {host: pair(host, due=("server",)) for host in HOSTS})
    played(program)
    assert stage.hosts("rotate_member") == ["az-2", "az-3", "az-1"]
    assert sorted(stage.hosts("verify")) == list(HOSTS)
    assert stage.hosts("bring_up") == [], "etcd reads certificates without a restart"


def test_a_member_that_did_not_prove_itself_stops_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    does = {"rotate_member": lambda host: VerificationError("put back") if host == "az-3" else None}
    stage, program = staged(monkeypatch, {host: pair(host, due=("server",)) for host in HOSTS}, does=does)
    played(program)
    assert stage.hosts("rotate_member") == ["az-2", "az-3"]
    assert stage.hosts("verify") == ["az-2"]
    step = program.record.record.hosts["az-1"].steps["rotate"]
    assert step.summary == "not touched, since az-3 failed"
    assert program.record.finish().exit_code == ExitCode.FAILED


def test_a_sick_cluster_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    members = {
        **{host: pair(host, due=("server",)) for host in HOSTS},
        "az-2": pair("az-2", healthy=False, problem="slow"),
    }
    stage, program = staged(monkeypatch, members)
    played(program)
    assert stage.names == ["take_lock", "decide"]
    assert "slow" in program.record.record.protections[0].what
    assert program.record.finish().exit_code == ExitCode.PROTECTED


def test_allow_degraded_goes_on_without_the_sick(monkeypatch: pytest.MonkeyPatch) -> None:
    members = {host: pair(host, due=("server",)) for host in HOSTS}
    members["az-2"] = pair("az-2", due=("server",), healthy=False, problem="slow")
    stage, program = staged(monkeypatch, members, own=RotateOptions(allow_degraded=True))
    played(program)
    assert stage.hosts("left_out") == ["az-2"]
    assert stage.hosts("rotate_member") == ["az-3", "az-1"]
    assert stage.given["rotate_member"]["without"] == ("az-2",)
    assert stage.given["verify"]["without"] == ("az-2",)
    assert sorted(stage.hosts("verify")) == ["az-1", "az-3"]


def test_a_host_that_cannot_be_looked_at_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    members: dict[str, Any] = {host: pair(host, due=("server",)) for host in HOSTS}
    stage, program = staged(monkeypatch, {**members, "az-3": CertificateError("its clock is wrong")})
    played(program)
    assert stage.hosts("rotate_member") == []
    assert "az-3 was not read" in program.record.record.protections[0].what


def test_check_replaces_and_verifies_nothing_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """rotate_member looks at --check by itself; the proof would fail on what was not replaced."""
    stage, program = staged(monkeypatch, {host: pair(host, due=("server",)) for host in HOSTS}, check=True)
    played(program)
    assert sorted(stage.hosts("rotate_member")) == list(HOSTS)
    assert stage.hosts("verify") == stage.hosts("take_lock") == []


@pytest.mark.parametrize(("check", "name"), [(False, "bring_up"), (True, "restart_member")])
def test_restart_is_a_restart_behind_gates(monkeypatch: pytest.MonkeyPatch, check: bool, name: str) -> None:
    members = {host: pair(host, due=("server",)) for host in HOSTS}
    stage, program = staged(monkeypatch, members, own=RotateOptions(restart=True), check=check)
    played(program)
    assert sorted(stage.hosts(name)) == list(HOSTS)


def test_what_an_ended_run_has_placed_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    members = {**{host: pair(host) for host in HOSTS}, "az-2": pair("az-2", unproven=True)}
    stage, program = staged(monkeypatch, members)
    played(program)
    assert stage.hosts("rotate_member") == []
    assert stage.hosts("verify") == ["az-2"]


def test_a_run_without_ca_does_not_touch_a_cluster_that_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, {host: pair(host, due=("server",)) for host in HOSTS})
    monkeypatch.setattr(trust, "_why_not", lambda *_: "az-1 does not trust 'New CA' yet")
    played(program)
    assert stage.hosts("rotate_member") == []
    assert "run with --ca" in program.record.record.protections[0].remedy


def test_another_ca_is_trusted_used_and_then_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    members = {host: pair(host, due=("server",)) for host in HOSTS}
    stage, program = staged(monkeypatch, members, own=RotateOptions(ca=True, clients_ready=True))
    monkeypatch.setattr(clients, "keep", lambda _, **given: asked.append(given))
    monkeypatch.setattr(trust, "no_longer_needed", lambda _: frozenset({"peer"}))
    monkeypatch.setattr(trust, "spread", lambda run: run.step("trust", vars(trust)["trust"]))
    played(program)
    order = [name for name in stage.names if name != "trust_state"]
    assert order[2:] == ["trust", "rotate_member", "end_trust", "bring_up", "verify"]
    assert asked == [{"ready": True, "option": "--clients-ready"}]
    assert stage.given["end_trust"]["sides"] == {"peer"}


def test_the_previous_ca_stays_trusted_when_a_member_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    does = {"rotate_member": lambda host: VerificationError("put back") if host == "az-2" else None}
    members = {host: pair(host, due=("peer",)) for host in HOSTS}
    stage, program = staged(monkeypatch, members, own=RotateOptions(ca=True), does=does)
    played(program)
    assert stage.hosts("end_trust") == stage.hosts("bring_up") == []


@pytest.mark.parametrize(
    ("own", "settings", "revoked", "lists"),
    [
        ({}, {}, [], []),
        ({"revoke": True}, {}, [*HOSTS], []),
        ({}, {"revoke": True}, [*HOSTS], []),
        ({}, {"crl": True}, [], [*HOSTS]),
        ({"revoke": True}, {"crl": True}, [*HOSTS], [*HOSTS]),
    ],
)
def test_what_is_revoked(
    monkeypatch: pytest.MonkeyPatch,
    own: dict[str, Any],
    settings: dict[str, bool],
    revoked: list[str],
    lists: list[str],
) -> None:
    does = {"revoke_replaced": Revoked("revoked", changes=("a set",), client_set="1")}
    stage, program = staged(
        monkeypatch, {host: pair(host) for host in HOSTS}, own=RotateOptions(**own), settings=settings, does=does
    )
    played(program)
    assert (sorted(stage.hosts("revoke_replaced")), sorted(stage.hosts("refresh_crl"))) == (revoked, lists)
    if revoked and lists:
        assert stage.given["refresh_crl"]["refused"] == dict.fromkeys(HOSTS, "1")


def test_members_that_get_no_new_list_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    does = {"revoke_replaced": Revoked("revoked", changes=("a set",))}
    members = {host: pair(host) for host in HOSTS}
    _, program = staged(
        monkeypatch,
        members,
        own=RotateOptions(revoke=True),
        settings={"crl": True},
        does=does,
        left_out={"az-4": "home"},
    )
    played(program)
    assert any("az-4 did not get the new revocation list" in one.text for one in program.record.record.warnings)


def test_another_run_at_work_is_not_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    other = LockInfo("alice", "deploy", "controller", 4711, "2026-06-01T12:00:00+00:00")
    stage, program = staged(monkeypatch, {host: pair(host) for host in HOSTS}, does={"take_lock": other})
    assert played(program) == {}
    assert stage.names == ["take_lock"]


def test_outcomes_are_read_by_their_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without TLS has nothing to rotate, and is no member of the plan."""
    stage, program = staged(monkeypatch, {host: pair(host) for host in HOSTS}, does={"decide": StepOutcome("no TLS")})
    assert played(program) == {"home": {}}
    assert stage.hosts("rotate_member") == []
