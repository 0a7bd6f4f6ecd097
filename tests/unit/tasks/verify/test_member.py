"""The step verify: what it waits for, what it gives up on, what it notes and mends when all is well; and in depth."""

from __future__ import annotations

import json
from typing import Any

import pytest

from etcdfleet.errors import RemoteError, VerificationError
from etcdfleet.host.paths import UNPROVEN
from etcdfleet.remote import CommandResult
from etcdfleet.settings.models import PreflightSettings
from tasks.verify import proof as module
from tasks.verify.deep import Deep
from tasks.verify.member import verify
from tests.unit.support.site import settings
from tests.unit.support.stand_ins import (
    PLAIN,
    RUNNING,
    STOPPED,
    Clock,
    Place,
    Scripted,
    carry_out,
    error_of,
    hashes,
    healths,
    member_list,
    seen,
    statuses,
)

# Without TLS, and not from here: the ports' own checks have tests of their own.
OURS = settings(client_tls=False, peer_tls=False, preflight=PreflightSettings(controller_reaches_members=False))


def told(*ids: int, sick: tuple[int, ...] = (), other: tuple[int, ...] = (), **how: Any) -> tuple[str, str]:
    """What these members answer: status and hashes, and health."""
    answers = [statuses(*ids, cluster=PLAIN, **how), hashes(*ids, other=other, cluster=PLAIN)]
    return "\n".join(answers), healths(1, 2, 3, sick=sick, cluster=PLAIN)


GOOD, DOWN = told(1, 2, 3), told(1, 2, sick=(3,))
ALARM = told(1, 2, 3, errors=["memberID:1 alarm:NOSPACE "])


@pytest.fixture(name="clock", autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(module, "time", clock := Clock())
    return clock


def host(*answers: tuple[str, str]) -> Scripted:
    """A host that hears these answers one after the other, the last one for ever."""
    return Scripted(
        {
            "hashkv": [both for both, _ in answers],
            "endpoint health": [health for _, health in answers],
            "member list": member_list(cluster=PLAIN),
            # Alone it is asked before an alarm is ended.
            "endpoint status": answers[0][0].partition("\n")[0],
        }
    )


def verified(
    machine: Scripted, *, check: bool = False, service: Any = RUNNING, unproven: bool = False, **how: Any
) -> Any:
    return carry_out(verify, Place(machine, seen(service, unproven=unproven), of=OURS), check=check, **how)


def test_a_sound_member_is_told_with_its_checks(clock: Clock) -> None:
    result = verified(host(GOOD))
    assert not result.failed, result.exception
    facts = result.result.facts
    assert result.result.summary == f"{len(facts['checks'])} checks passed"
    assert (facts["version"], facts["leader"], facts["member_id"], facts["revision"]) == ("3.5.16", True, "1", 21)
    assert (result.changed, clock.now) == (False, 1000.0)


def test_an_election_is_waited_for(clock: Clock) -> None:
    result = verified(host(DOWN, DOWN, GOOD))
    assert not result.failed, result.exception
    assert 1000 < clock.now < 1010


@pytest.mark.parametrize(
    ("answers", "what"),
    [
        (DOWN, "az-3"),
        (told(1, 2, 3, leader=0), "leader"),
        (told(1, 2, 3, other=(3,)), "az-3"),
        (("no JSON", "no JSON"), "etcdctl"),
    ],
    ids=["a member is down", "no leader", "other data", "no answer"],
)
def test_what_stays_wrong_is_an_error_with_its_remedy(answers: tuple[str, str], what: str, clock: Clock) -> None:
    machine = host(answers)
    result = verified(machine, unproven=True)
    assert isinstance(result.exception, VerificationError)
    assert what in error_of(result)
    assert "remedy: " in error_of(result)
    assert 15 <= clock.now - 1000 <= 30
    assert not machine.was_sent(UNPROVEN)


def test_a_member_that_is_known_to_be_down_is_not_expected() -> None:
    machine = host(told(1, 2))
    result = verified(machine, without=("az-3",))
    assert not result.failed, result.exception
    assert not machine.was_sent("etcd.az3"), "it is not even asked"


def test_a_service_that_does_not_run() -> None:
    error = error_of(verified(host(GOOD), service=STOPPED))
    assert "not running" in error
    assert "run deploy" in error


@pytest.mark.parametrize(("check", "removed"), [(False, True), (True, False)])
def test_certificates_are_proven_by_a_good_verification(check: bool, removed: bool) -> None:
    machine = host(GOOD)
    assert not verified(machine, unproven=True, check=check).failed
    assert machine.was_sent(f"rm -f {UNPROVEN}") is removed


def test_the_alarm_of_a_full_database_is_ended_where_all_is_as_wanted() -> None:
    machine = host(ALARM, GOOD)
    result = verified(machine, may_end_alarm=True)
    assert not result.failed, result.exception
    assert machine.was_sent("alarm disarm")
    assert (result.changed, "NOSPACE is ended" in result.result.changes[0]) == (True, True)


@pytest.mark.parametrize("how", [{}, {"may_end_alarm": True, "check": True}])
def test_elsewhere_waiting_does_not_end_it(how: Any, clock: Clock) -> None:
    machine = host(ALARM)
    assert "NOSPACE" in error_of(verified(machine, **how))
    assert clock.now == 1000.0
    assert not machine.was_sent("alarm disarm")


PROBE = "lease||0|granted\nput||0|OK\ndel||0|1\n" + "".join(f"read|az-{n}|0|t0k\ngone|az-{n}|0|\n" for n in (1, 2, 3))


def deeply(*answers: tuple[str, str], **how: Any) -> Any:
    machine = host(*answers)
    machine.answers["lease grant"] = PROBE
    return verified(machine, deep=Deep("t0k", **how))


def checks(result: Any) -> dict[str, Any]:
    return {check["check"]: check for check in result.result.facts["checks"]}


def test_in_depth_all_that_failed_is_in_the_facts() -> None:
    result = deeply(DOWN)
    bad = [name for name, check in checks(result).items() if not check["ok"]]
    assert bad[:2] == ["members answer", "data directory"]
    assert error_of(result).startswith(f"az-1: {len(bad)} of {len(checks(result))} checks failed: members answer, ")
    assert result.diff.startswith("--- /etc/etcd/conf.yml (host)")
    assert checks(result)["write, read, delete"]["evidence"].endswith(
        "gone on az-1, az-2; not asked, since silent: az-3"
    )


def test_in_depth_an_election_that_was_waited_for_is_a_warning(clock: Clock) -> None:
    result = deeply(told(1, 2, 3, leader=0), GOOD)
    assert clock.now == 1001.0
    assert checks(result)["leader was there all the time"]["status"] == "warning"
    assert any("there was no leader when this run began" in warning for warning in result.result.warnings)


@pytest.mark.parametrize(
    ("leader", "listed", "leaderless"),
    [
        (0, CommandResult(1, "", "Error: context deadline exceeded"), "az-1 follows no one"),
        # 3.4 gives the list from memory, and a leader that is gone is followed until enough heartbeats are missed.
        (2, member_list(cluster=PLAIN), "all follow az-2, but without a quorum there is none"),
    ],
)
def test_in_depth_what_follows_from_a_lost_quorum_names_it_as_its_cause(
    leader: int, listed: CommandResult | str, leaderless: str
) -> None:
    machine = host(told(1, leader=leader, errors=["etcdserver: no leader"] if not leader else [], sick=(1, 2, 3)))
    machine.answers |= {
        "member list": listed,
        "lease grant": "lease||1|Error: etcdserver: request timed out\n",
    }
    result = verified(machine, deep=Deep("t0k"))
    found = checks(result)
    bad = [name for name, check in found.items() if not check["ok"]]
    assert {"members answer", "one leader", "write, read, delete"} <= set(bad)
    assert found["members answer"]["evidence"].startswith(
        "1 of 3 answer, 2 are needed: the cluster takes no writes; az-2: "
    )
    assert leaderless in found["one leader"]["evidence"]
    assert "request timed out" in found["write, read, delete"]["evidence"]
    for name in ("one leader", "write, read, delete"):
        assert (found[name]["cause"], found[name]["remedy"]) == ("it follows from 'members answer'", "")
        assert bad.index("members answer") < bad.index(name), "the cause comes first"


@pytest.mark.parametrize("how", [{"write": False}, {}])
def test_in_depth_nothing_is_written_unless_asked_for(how: Any) -> None:
    written = checks(deeply(GOOD, **how))["write, read, delete"]["status"]
    assert written == ("ok" if not how else "skipped")


@pytest.mark.parametrize(
    ("learner", "status", "says"),
    [
        (3, "ok", "written through this member, read and gone on az-1, az-2"),
        (1, "skipped", "this member is a learner: etcd serves neither reads nor writes through it"),
    ],
)
def test_in_depth_nothing_is_read_or_written_through_a_learner(learner: int, status: str, says: str) -> None:
    both, health = GOOD
    line, _, rest = both.partition("\n")
    answers = json.loads(line)
    answers[learner - 1]["Status"]["isLearner"] = True
    found = checks(deeply((f"{json.dumps(answers)}\n{rest}", health)))
    assert (found["write, read, delete"]["status"], found["write, read, delete"]["evidence"]) == (status, says)
    assert f"az-{learner} is a learner: it has no vote" in found["learner"]["evidence"]


def no_ssh(_: object) -> None:
    raise RemoteError("cannot be reached by SSH", where="az-1", remedy="see its power")


def test_in_depth_a_host_that_ssh_does_not_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(of=settings())
    monkeypatch.setattr(Place, "observe", no_ssh)
    monkeypatch.setattr("tasks.verify.member.settings_of", lambda _: place.settings)
    monkeypatch.setattr("tasks.verify.member.answers", lambda _address, port, _seconds: port == 2379)
    result = carry_out(verify, place, deep=Deep())
    assert "etcd's port 2379 answers: the host is up, and SSH alone does not come through" in error_of(result)
    assert checks(result)["ssh"]["status"] == "failed"
    assert isinstance(carry_out(verify, place).exception, RemoteError)
