"""The step ``certificates`` of a deploy: at once where nobody sees them, one member at a time where they are shown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from etcdfleet.certs import Renew, parse_pem_bundle
from etcdfleet.certs.rotation import AllAtOnce, MemberPair, NothingDue, OneByOne, RotationPlan
from etcdfleet.errors import RemoteError, VerificationError
from etcdfleet.program.run import LeftError, Program
from plays import certificates
from tasks.certificates.rotate import Decided
from tests.unit.support import certs_ca
from tests.unit.support.fake_run import Stage, program_of, run_of

HOSTS = ("az-1", "az-2", "az-3")
GOOD = parse_pem_bundle(certs_ca.leaf(certs_ca.ca("CA")).pem)[0]


def pair(host: str, **changes: Any) -> MemberPair:
    decisions: Any = {role: Renew(("asked for",), GOOD) for role in ("peer", "server")}
    fields: dict[str, Any] = {"running": True, "healthy": True, "leader": host == "az-1", "deployed": True}
    return MemberPair(host, decisions, certs_ca.NOW, **{"name": host, **fields, **changes})


def staged(
    monkeypatch: pytest.MonkeyPatch, does: dict[str, Any] | None = None, **options: Any
) -> tuple[Stage, Program[Any]]:
    stage, more = Stage(monkeypatch), does or {}
    for name, usual in (
        ("shown_and_due", ("server",)),
        ("certificates", None),
        ("must_wait", False),
        ("decide", lambda host: Decided("looked", member=pair(host))),
        ("replace_expired", None),
        ("rotate_member", None),
        ("left_out", VerificationError("left out")),
    ):
        stage.put(certificates, name, more.get(name, usual))
    fleet = dict.fromkeys(HOSTS, "home")
    return stage, program_of(fleet=fleet, member=lambda host: SimpleNamespace(name=host), **options)


def test_what_nobody_sees_is_placed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, {"shown_and_due": ()})
    assert certificates.place(run_of(program)) is False
    assert stage.given["certificates"]["later"] == {}
    assert stage.hosts("decide") == []


def test_what_members_show_is_replaced_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch)
    assert certificates.place(run_of(program)) is False
    assert stage.given["certificates"]["later"] == dict.fromkeys(HOSTS, ("server",))
    assert stage.hosts("rotate_member") == ["az-2", "az-3", "az-1"]
    due = {"server": "server certificate is renewed: asked for"}
    assert stage.given["rotate_member"]["due"] == dict.fromkeys(HOSTS, due), "no role that nobody shows"


def test_a_member_that_does_not_run_yet_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, {"must_wait": lambda host: host == "az-3"})
    run = run_of(program)
    assert certificates.place(run) is True
    assert stage.hosts("rotate_member") == []
    certificates.replace_shown(run)
    assert stage.hosts("rotate_member") == ["az-2", "az-3", "az-1"]


def test_check_only_says_what_would_be_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, check=True)
    assert certificates.place(run_of(program)) is False
    assert stage.names == ["shown_and_due", "certificates"]


@pytest.mark.parametrize(
    ("does", "why"),
    [
        ({"decide": lambda host: RemoteError("lost") if host == "az-1" else Decided(member=pair(host))}, "az-1 failed"),
        ({"rotate_member": lambda host: VerificationError("x") if host == "az-2" else None}, "since az-2 failed"),
    ],
    ids=["not all could be looked at", "one did not prove itself"],
)
def test_a_failure_ends_it_for_the_cluster(monkeypatch: pytest.MonkeyPatch, does: dict[str, Any], why: str) -> None:
    stage, program = staged(monkeypatch, does)
    with pytest.raises(LeftError, match=why):
        certificates.place(run_of(program))
    assert len(stage.hosts("rotate_member")) <= 1


def test_a_sick_cluster_keeps_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    sick = {"decide": lambda host: Decided(member=pair(host, healthy=host != "az-2", problem="slow"))}
    stage, program = staged(monkeypatch, sick)
    with pytest.raises(LeftError):
        certificates.place(run_of(program))
    assert "no certificate was replaced: az-2: slow" in program.record.record.protections[0].what
    assert stage.hosts("rotate_member") == []


@pytest.mark.parametrize(
    ("plan", "fails", "done", "untouched"),
    [
        (NothingDue(), "", {}, []),
        (OneByOne(("az-1", "az-2")), "az-1", {"rotate_member": ["az-1"]}, ["az-2"]),
        (AllAtOnce(("az-1", "az-2"), "expired"), "", {"replace_expired": ["az-1", "az-2"]}, []),
        (
            AllAtOnce(("az-1", "az-2"), "expired", then=("az-3",)),
            "",
            {"replace_expired": ["az-1", "az-2"], "rotate_member": ["az-3"]},
            [],
        ),
        (
            AllAtOnce(("az-1", "az-2"), "expired", then=("az-3",)),
            "az-1",
            {"replace_expired": ["az-1", "az-2"]},
            ["az-3"],
        ),
    ],
)
def test_plans_are_carried_out(
    monkeypatch: pytest.MonkeyPatch, plan: RotationPlan, fails: str, done: dict[str, list[str]], untouched: list[str]
) -> None:
    def does(host: str) -> Any:
        return VerificationError("not healthy") if host == fails else None

    stage, program = staged(monkeypatch, {"replace_expired": does, "rotate_member": does})
    due: Any = {host: {"server": "server certificate is replaced"} for host in HOSTS}
    reached = certificates.carry_out(run_of(program), "rotate", plan, due, skips=("verify",))
    tasks = ("replace_expired", "rotate_member")
    assert {name: sorted(stage.hosts(name)) for name in tasks if stage.hosts(name)} == done
    why = {host: program.record.record.hosts[host].steps["verify"].summary for host in HOSTS}
    assert {host: text for host, text in why.items() if text} == dict.fromkeys(
        untouched, f"not touched, since {fails} failed"
    )
    assert sorted(reached) == sorted(host for hosts in done.values() for host in hosts)
