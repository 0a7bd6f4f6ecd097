"""The question before members show clients certificates of another CA: where it is asked, and in which words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from etcdfleet.certs import MemberTrust, parse_pem_bundle
from etcdfleet.program.run import LeftError, Program
from etcdfleet.report.record.model import ExitCode
from plays import clients, trusted
from tasks.certificates.trust import SideState
from tests.unit.support import certs_ca
from tests.unit.support.certs_ca import Made
from tests.unit.support.fake_run import Stage, program_of, run_of

ROOT = certs_ca.ca("Root")
FIRST, SECOND = certs_ca.ca("First CA", ROOT), certs_ca.ca("Second CA", ROOT)


def read(*made: Made) -> Any:
    return parse_pem_bundle("".join(one.pem for one in made))


def state(shows: Made, coming: Made) -> dict[str, SideState]:
    shown = read(certs_ca.leaf(shows, usages=("server",)), shows)
    member = MemberTrust("a", live=True, trusted=read(FIRST, SECOND), leaves=(shown,), shown=shown)
    return {"client": SideState(member, (read(coming),), read(coming), read(coming), done=False)}


def kept(
    monkeypatch: pytest.MonkeyPatch,
    answer: bool | None,
    *,
    cluster: str = "home",
    check: bool = False,
    makes_clients: bool = True,
    **more: Any,
) -> tuple[Program[Any], bool]:
    """The program, and whether the cluster went on. The cluster edge has nothing to change."""
    monkeypatch.setattr(clients, "datetime", SimpleNamespace(now=lambda _zone: certs_ca.NOW))
    states = {"az-1": state(FIRST, SECOND), "az-2": state(SECOND, SECOND), "edge-1": state(SECOND, SECOND)}
    Stage(monkeypatch).put(trusted, "trust_state", states.get)
    pki = SimpleNamespace(makes_clients=makes_clients)
    program = program_of(answer=answer, check=check, member=lambda host: SimpleNamespace(name=host, pki=pki))
    try:
        clients.keep(run_of(program, cluster), **more)
    except LeftError:
        return program, False
    return program, True


@pytest.mark.parametrize("answer", [False, None])
def test_without_a_yes_the_cluster_goes_no_further(monkeypatch: pytest.MonkeyPatch, answer: bool | None) -> None:
    program, went_on = kept(monkeypatch, answer)
    assert not went_on
    (question,) = program.terminal.asked  # type: ignore[attr-defined]
    assert "home: members are about to show clients certificates of 'Second CA'" in question
    (stopped,) = program.record.record.protections
    assert (stopped.cluster, program.record.finish().exit_code) == ("home", ExitCode.PROTECTED)
    assert "a client that knows members by 'First CA' alone would refuse them" in stopped.what
    assert "client_cert.py NAME --cluster home --ca-only" in stopped.remedy
    assert "--clients-ready" not in stopped.remedy, "deploy has no such option"


def test_a_cluster_with_nothing_new_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    program, went_on = kept(monkeypatch, None, cluster="edge")
    assert (went_on, program.terminal.asked) == (True, [])  # type: ignore[attr-defined]


def test_an_option_answers_for_this_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    program, _ = kept(monkeypatch, None, option="--clients-ready")
    assert "--clients-ready" in program.record.record.protections[0].remedy
    program, went_on = kept(monkeypatch, None, option="--clients-ready", ready=True)
    assert (went_on, program.record.record.protections) == (True, [])


def test_a_yes_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    program, went_on = kept(monkeypatch, True)
    assert (went_on, len(program.terminal.asked), program.record.record.protections) == (True, 1, [])  # type: ignore[attr-defined]


def test_check_says_what_would_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    program, went_on = kept(monkeypatch, None, check=True)
    assert (went_on, program.terminal.asked) == (True, [])  # type: ignore[attr-defined]
    assert "without --check this is asked for" in program.record.record.warnings[0].text


def test_files_are_made_where_certificates_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    program, _ = kept(monkeypatch, None, makes_clients=False)
    assert "client_cert.py" not in program.record.record.protections[0].remedy
