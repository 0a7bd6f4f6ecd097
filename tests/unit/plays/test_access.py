"""Roles and users: who proves what, where changes are made, and who must be root before certificates change."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from etcdfleet.etcd.auth import AuthState, Proof
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.run import LeftError, Program
from plays import access, lock
from plays.options import AuthOptions
from tasks.auth.converge import Proven
from tests.unit.support.fake_run import Stage, program_of, run_of, statuses, step

FLEET = {"az-1": "home", "az-2": "home"}


def proof(host: str, refusal: str = "") -> Proven:
    return Proven("proven", proof=Proof(host, "root", refusal))


def staged(
    monkeypatch: pytest.MonkeyPatch,
    *,
    managed: bool = True,
    does: dict[str, Any] | None = None,
    own: AuthOptions | None = None,
    **options: Any,
) -> tuple[Stage, Program[Any]]:
    stage, more = Stage(monkeypatch), does or {}
    for name, usual in (
        ("prove_access", proof),
        ("converge_auth", None),
        ("is_renamed", False),
        ("read_access", None),
        ("verify", None),
    ):
        stage.put(access, name, more.get(name, usual))
    stage.put(lock, "take_lock", "")

    def member(host: str) -> Any:
        pki, cluster = SimpleNamespace(client_common_name="boss"), SimpleNamespace(client_tls=True)
        return SimpleNamespace(name=host, pki=pki, cluster=cluster, auth=SimpleNamespace(managed=managed))

    program = program_of(
        own or AuthOptions(), fleet=FLEET, member=member, steps=("access", "auth", "verify"), **options
    )
    return stage, program


def test_changes_are_made_once_by_a_host_that_etcd_obeys(monkeypatch: pytest.MonkeyPatch) -> None:
    does = {"prove_access": lambda host: proof(host, "not root" if host == "az-1" else "")}
    stage, program = staged(monkeypatch, does=does, left_out={"az-3": "home"})
    access.converge(run_of(program))
    assert stage.hosts("converge_auth") == ["az-2"]
    given = stage.given["converge_auth"]
    assert [one.host for one in given["proofs"]] == ["az-1", "az-2"]
    assert (given["unseen"], given["early"]) == (["az-3"], False)
    assert program.record.record.hosts["az-1"].steps["auth"].summary == "done for the whole cluster on az-2"


def test_what_is_still_to_change_proves_nothing_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, check=True)
    run = run_of(program)
    run.step("configure", step(changes=("a file",)))
    access.converge(run)
    assert stage.given["converge_auth"]["early"]


def test_nothing_is_done_where_the_inventory_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program = staged(monkeypatch, managed=False)
    access.converge(run_of(program))
    assert stage.ran == []
    program.play(access.setup_auth)
    assert statuses(program, "az-1") == dict.fromkeys(("access", "auth", "verify"), "skipped")


@pytest.mark.parametrize(
    ("check", "changes", "verified"),
    [(False, (), True), (False, ("a user",), True), (True, (), True), (True, ("a user",), False)],
)
def test_setup_auth(monkeypatch: pytest.MonkeyPatch, check: bool, changes: tuple[str, ...], verified: bool) -> None:
    does = {"converge_auth": StepOutcome(changes=changes)}
    stage, program = staged(monkeypatch, does=does, own=AuthOptions(prune=True), check=check)
    program.play(access.setup_auth)
    assert stage.given["converge_auth"]["prune"] is True
    assert bool(stage.hosts("verify")) is verified
    assert statuses(program, "az-1")["access"] == "ok"


def state(*roots: str, enabled: bool = True) -> AuthState:
    return AuthState(enabled, {}, {name: frozenset({"root"}) for name in roots})


@pytest.mark.parametrize(
    ("renamed", "found", "managed", "made", "stopped"),
    [
        (False, state(), True, False, False),
        (True, state("boss"), True, False, False),
        (True, state("other"), True, True, False),
        (True, state("other"), False, False, True),
        (True, state("other", enabled=False), False, False, False),
        (True, None, False, False, False),  # no member says
    ],
)
def test_who_new_certificates_name_is_root_before_they_are_placed(
    monkeypatch: pytest.MonkeyPatch, renamed: bool, found: AuthState | None, managed: bool, made: bool, stopped: bool
) -> None:
    does = {"is_renamed": renamed, "read_access": (lambda _: found) if found else (lambda _: "no answer")}
    if found is None:
        monkeypatch.setattr(access, "_needs_user", lambda *_: False)
    stage, program = staged(monkeypatch, managed=managed, does=does)
    try:
        access.keep_root(run_of(program))
        left = False
    except LeftError:
        left = True
    assert (bool(stage.hosts("converge_auth")), left) == (made, stopped)
    assert ["locked out" in one.what for one in program.record.record.protections] == ([True] if stopped else [])
