"""A new CA is trusted by all before it is used, and the previous one until nobody needs it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from etcdfleet.certs import MemberTrust, parse_pem_bundle
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.run import LeftError, Program
from etcdfleet.report.record.model import ExitCode
from plays import trust, trusted
from tasks.certificates.trust import SideState
from tests.unit.support import certs_ca
from tests.unit.support.certs_ca import Made
from tests.unit.support.fake_run import Stage, program_of, run_of

ROOT = certs_ca.ca("Root")
OLD, NEW = certs_ca.ca("Old CA", ROOT), certs_ca.ca("New CA", ROOT)
HOSTS = {"az-1": "home", "az-2": "home"}
DUE = StepOutcome(changes=("an anchor",), restart=True)


def read(*made: Made) -> Any:
    return parse_pem_bundle("".join(one.pem for one in made))


def state(trusted: tuple[Made, ...], shows: Made = OLD, wanted: Made = NEW, *, done: bool = False) -> Any:
    shown = read(certs_ca.leaf(shows, usages=("server",)), shows)
    member = MemberTrust("a", live=True, trusted=read(*trusted), leaves=(shown,), shown=shown)
    one = SideState(member, (read(wanted),), read(wanted), read(wanted), done=done)
    return {"peer": one, "client": one}


def staged(
    monkeypatch: pytest.MonkeyPatch, states: dict[str, list[Any]], **options: Any
) -> tuple[Stage, Program[Any], list[str]]:
    """``states`` by host, one after the other; the last one stays. Restarts are noted in the list."""
    monkeypatch.setattr(trust, "_now", lambda: certs_ca.NOW)
    stage, restarted = Stage(monkeypatch), list[str]()
    stage.put(trusted, "trust_state", lambda host: states[host].pop(0) if len(states[host]) > 1 else states[host][0])
    stage.put(trust, "trust", DUE)
    stage.put(trust, "trusted_by", options.pop("elsewhere", {}))
    monkeypatch.setattr(trust, "bring_up", lambda run, **_: restarted.extend(run.good))
    pki = SimpleNamespace(source="vault")
    program = program_of(
        fleet=HOSTS, member=lambda host: SimpleNamespace(name=host, pki=pki), steps=("trust", "verify"), **options
    )
    return stage, program, restarted


def test_where_all_trust_the_ca_nothing_is_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program, restarted = staged(monkeypatch, {host: [state((OLD, NEW))] for host in HOSTS})
    trust.spread(run_of(program))
    assert (stage.hosts("trust"), restarted) == ([], [])
    assert [program.record.record.hosts[host].steps["trust"].summary for host in HOSTS] == ["no new CA"] * 2


def test_a_new_ca_is_trusted_by_all_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {host: [state((OLD,)), state((OLD, NEW))] for host in HOSTS}
    stage, program, restarted = staged(monkeypatch, states)
    trust.spread(run_of(program))
    assert (stage.hosts("trust"), restarted) == (["az-1", "az-2"], ["az-1", "az-2"])
    assert program.record.finish().exit_code == ExitCode.OK


def test_one_that_does_not_trust_it_yet_holds_the_cluster_back(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {"az-1": [state((OLD,)), state((OLD, NEW))], "az-2": [state((OLD,))]}
    _, program, _ = staged(monkeypatch, states)
    with pytest.raises(LeftError, match="no certificates of the new CA yet: a does not trust 'New CA'"):
        trust.spread(run_of(program))


def test_a_member_that_is_left_out_must_trust_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, program, restarted = staged(monkeypatch, {h: [state((OLD,))] for h in HOSTS}, left_out={"az-3": "home"})
    with pytest.raises(LeftError):
        trust.spread(run_of(program))
    assert "az-3 must trust it too, but is left out of this run" in program.record.record.protections[0].what
    assert (stage.hosts("trust"), restarted) == ([], [])


def test_one_that_is_left_out_and_trusts_it_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = {side: one.member for side, one in state((OLD, NEW)).items()}
    states = {host: [state((OLD, NEW))] for host in HOSTS}
    stage, program, _ = staged(monkeypatch, states, left_out={"az-3": "home"}, elsewhere=elsewhere)
    trust.spread(run_of(program))
    assert stage.hosts("trusted_by") == ["az-3"]
    stage, program, _ = staged(monkeypatch, states, left_out={"az-3": "home"})
    with pytest.raises(LeftError):
        trust.spread(run_of(program))
    assert "whether az-3 trusts 'New CA'" in program.record.record.protections[0].what


def test_check_restarts_nobody_and_says_who_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    _, program, restarted = staged(monkeypatch, {host: [state((OLD,))] for host in HOSTS}, check=True)
    assert trust.spread(run_of(program)) == {"az-1", "az-2"}
    assert restarted == []


@pytest.mark.parametrize(("trusted", "stopped"), [((OLD,), True), ((OLD, NEW), False)])
def test_a_run_that_changes_no_ca_leaves_such_a_cluster_alone(
    monkeypatch: pytest.MonkeyPatch, trusted: tuple[Made, ...], stopped: bool
) -> None:
    _, program, _ = staged(monkeypatch, {host: [state(trusted)] for host in HOSTS})
    try:
        trust.keep_untrusted(run_of(program))
        left = False
    except LeftError:
        left = True
    assert left is stopped
    assert ["--ca" in one.remedy for one in program.record.record.protections] == ([True] if stopped else [])


@pytest.mark.parametrize(
    ("shows", "answer", "sides", "asked"),
    [
        ((NEW, NEW), True, {"peer", "client"}, 1),
        ((NEW, NEW), False, {"peer"}, 1),
        ((NEW, NEW), None, {"peer"}, 1),
        ((OLD, NEW), True, set(), 0),  # one shows a certificate of the previous CA
    ],
)
def test_when_the_previous_ca_need_not_be_trusted_any_more(
    monkeypatch: pytest.MonkeyPatch, shows: tuple[Made, Made], answer: bool | None, sides: set[str], asked: int
) -> None:
    states = {host: [state((OLD, NEW), made)] for host, made in zip(HOSTS, shows, strict=True)}
    _, program, _ = staged(monkeypatch, states, answer=answer)
    assert trust.no_longer_needed(run_of(program)) == sides
    assert len(program.terminal.asked) == asked  # type: ignore[attr-defined]
    kept = [one.text for one in program.record.record.warnings]
    assert len(kept) == 2 - len(sides)
    assert all("Old CA stays trusted" in text for text in kept)


def test_where_nothing_is_left_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    _, program, _ = staged(monkeypatch, {host: [state((NEW,), NEW, done=True)] for host in HOSTS})
    assert trust.no_longer_needed(run_of(program)) == {"peer", "client"}
    assert program.terminal.asked == []  # type: ignore[attr-defined]
