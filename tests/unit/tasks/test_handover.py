"""The question before members show clients certificates of another CA: where it is asked, and in which words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from etcdfleet.certs import MemberTrust, parse_pem_bundle
from etcdfleet.errors import UsageError
from etcdfleet.report.record.model import ExitCode
from tasks import handover
from tasks.trust import SideState
from tests.unit.support import certs_ca
from tests.unit.support.certs_ca import Made
from tests.unit.support.fake_run import recorder_of

ROOT = certs_ca.ca("Root")
FIRST, SECOND = certs_ca.ca("First CA", ROOT), certs_ca.ca("Second CA", ROOT)
CLUSTERS = {"home": ("az-1", "az-2"), "edge": ("edge-1",)}


def read(*made: Made) -> Any:
    return parse_pem_bundle("".join(one.pem for one in made))


def state(shows: Made, coming: Made) -> dict[str, SideState]:
    shown = read(certs_ca.leaf(shows, usages=("server",)), shows)
    member = MemberTrust("a", live=True, trusted=read(FIRST, SECOND), leaves=(shown,), shown=shown)
    return {"client": SideState(member, (read(coming),), read(coming), read(coming), done=False)}


def asked(
    monkeypatch: pytest.MonkeyPatch, answer: bool | None, *, check: bool = False, ready: bool = False, **extra: Any
) -> tuple[Any, dict[str, tuple[str, ...]], list[str]]:
    """The run's record, the clusters that may go on, and what was asked. The cluster edge has nothing to change."""
    monkeypatch.setattr(handover, "datetime", SimpleNamespace(now=lambda _zone: certs_ca.NOW))
    found = {"az-1": state(FIRST, SECOND), "az-2": state(SECOND, SECOND), "edge-1": state(SECOND, SECOND)}
    monkeypatch.setattr(handover, "states_of", lambda _run, _clusters: found)
    questions: list[str] = []

    def confirm(question: str) -> bool:
        questions.append(question)
        if answer is None:
            raise UsageError("nobody is there")
        return answer

    pki = SimpleNamespace(source=extra.pop("source", "vault"))
    fleet = SimpleNamespace(clusters={name: [SimpleNamespace(pki=pki)] for name in CLUSTERS})
    run = SimpleNamespace(
        options=SimpleNamespace(check=check, extra=extra), record=recorder_of(), confirm=confirm, fleet=fleet
    )
    return run.record, dict(handover.keep_clients(run, CLUSTERS, ready=ready)), questions  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [False, None])
def test_without_a_yes_that_cluster_goes_no_further(monkeypatch: pytest.MonkeyPatch, answer: bool | None) -> None:
    record, going, questions = asked(monkeypatch, answer)
    assert going == {"edge": CLUSTERS["edge"]}, "the other cluster is not asked about"
    assert len(questions) == 1
    assert "home: members are about to show clients certificates of 'Second CA'" in questions[0]
    (stopped,) = record.record.protections
    assert (stopped.cluster, record.finish().exit_code) == ("home", ExitCode.PROTECTED)
    assert "a client that knows members by 'First CA' alone would refuse them" in stopped.what
    assert "client_cert.py NAME --cluster home --ca-only" in stopped.remedy
    assert "--clients-ready" not in stopped.remedy, "deploy has no such option"


def test_rotate_certs_has_an_answer_for_this_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    record, _, _ = asked(monkeypatch, None, ca=True)
    assert "--clients-ready" in record.record.protections[0].remedy
    record, going, questions = asked(monkeypatch, None, ca=True, ready=True)
    assert (going, questions, record.record.protections) == (CLUSTERS, [], [])


def test_a_yes_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    record, going, questions = asked(monkeypatch, True)
    assert (going, len(questions), record.record.protections) == (CLUSTERS, 1, [])


def test_check_says_what_would_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    record, going, questions = asked(monkeypatch, None, check=True)
    assert (going, questions) == (CLUSTERS, [])
    assert "without --check this is asked for" in record.record.warnings[0].text


def test_files_are_made_where_certificates_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    record, _, _ = asked(monkeypatch, None, source="files")
    assert "client_cert.py" not in record.record.protections[0].remedy
