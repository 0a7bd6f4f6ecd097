from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from etcdfleet.certs import Keep, Renew, parse_pem_bundle
from etcdfleet.certs.rotation import (
    ORDERED,
    AllAtOnce,
    MemberPair,
    NothingDue,
    OneByOne,
    apply_options,
    describe,
    never_proven,
    plan_rotation,
)
from etcdfleet.errors import Refusal
from etcdfleet.roles import RoleName
from tests.unit.support import certs_ca
from tests.unit.support.certs_ca import DAY, NOW

GOOD = parse_pem_bundle(certs_ca.leaf(certs_ca.PEERS).pem)[0]
ENDED = parse_pem_bundle(certs_ca.leaf(certs_ca.PEERS, start=NOW - 9 * DAY, end=NOW - DAY).pem)[0]
KEEP, DUE = Keep(GOOD, NOW + DAY), Renew(("within the threshold",), GOOD)
EXPIRED, NONE = Renew(("it expired",), ENDED), Renew(("there is no certificate yet",))


def member(host: str, peer: Keep | Renew = KEEP, client: Keep | Renew = KEEP, **more: object) -> MemberPair:
    made = MemberPair(host, {"peer": peer, "server": KEEP, "client": client}, NOW)
    return replace(made, **more)  # type: ignore[arg-type]


def test_nothing_is_due() -> None:
    members = [member("a"), member("b", healthy=False, problem="b does not answer")]
    assert plan_rotation(members, size=3, absent=["c"]) == NothingDue(), "health is nothing to complain of then"


def test_only_members_with_something_due_are_taken_the_leader_last() -> None:
    members = [member("a", DUE, leader=True), member("b"), member("c", DUE)]
    assert plan_rotation(members, size=3) == OneByOne(("c", "a"))


@pytest.mark.parametrize("how", [{"healthy": False, "problem": "b does not answer"}, {"healthy": False}])
def test_an_unhealthy_cluster_is_left_alone(how: dict[str, object]) -> None:
    plan = plan_rotation([member("a", DUE), replace(member("b", DUE), **how), member("c", DUE)], size=3)  # type: ignore[arg-type]
    assert isinstance(plan, Refusal)
    assert plan.what.startswith("b: ")
    assert "--allow-degraded" in plan.remedy


def test_a_member_that_does_not_run_is_started_by_deploy() -> None:
    stopped = member("b", DUE, healthy=False, running=False, problem="etcd does not run")
    plan = plan_rotation([member("a", DUE), stopped, member("c", DUE)], size=3)
    assert isinstance(plan, Refusal)
    assert plan.remedy.startswith("deploy starts etcd on b; bring it back")


def test_a_member_that_could_not_be_looked_at_is_not_healthy() -> None:
    plan = plan_rotation([member("a", DUE), member("b", DUE)], size=3, absent=["c"])
    assert isinstance(plan, Refusal)
    assert plan.what == "c was not read"


def test_allowed_the_healthy_majority_is_done() -> None:
    members = [member("a", DUE, leader=True), member("b", DUE, healthy=False), member("c", DUE)]
    plan = plan_rotation(members, size=3, allow_degraded=True)
    assert plan == OneByOne(("c", "a"), {"b": "not healthy"}, {"b": "not healthy"})


def test_a_sick_member_is_seen_by_the_others_and_said_once() -> None:
    """``b`` is called ``bee`` in etcd; ``c`` was not chosen, and only the others know of it."""
    sick = {"bee": "bee does not answer", "c": "c does not answer"}
    members = [
        member("a", DUE, name="a", others_sick=sick),
        member("b", name="bee", healthy=False, problem="it is off"),
    ]
    refused = plan_rotation(members, size=5)
    assert isinstance(refused, Refusal)
    assert refused.what == "b: it is off; c: c does not answer"
    allowed = plan_rotation(members, size=5, allow_degraded=True)
    assert allowed == OneByOne(("a",), {"bee": "it is off", "c": "c does not answer"}), "b has nothing that is due"
    assert isinstance(plan_rotation(members, size=3, allow_degraded=True), Refusal), "one of three"


def test_what_a_member_that_is_cut_off_says_of_the_others_does_not_count() -> None:
    alone = member("c", DUE, name="c", healthy=False, problem="c is not healthy", others_sick={"a": "no", "b": "no"})
    plan = plan_rotation([member("a", DUE), member("b", DUE), alone], size=3, allow_degraded=True)
    assert plan == OneByOne(("a", "b"), {"c": "c is not healthy"}, {"c": "c is not healthy"})


def test_one_that_cannot_be_looked_at_may_be_healthy_for_the_others() -> None:
    members = [member("a", DUE), member("b", DUE, healthy=False)]
    assert plan_rotation(members, size=3, absent=["c"], allow_degraded=True) == OneByOne(
        ("a",), {"b": "not healthy"}, {"b": "not healthy"}
    )


def test_without_a_majority_nothing_is_touched_whatever_is_allowed() -> None:
    members = [member("a", DUE), member("b", DUE, healthy=False), member("c", DUE, healthy=False)]
    plan = plan_rotation(members, size=3, allow_degraded=True)
    assert isinstance(plan, Refusal)
    assert "1 of 3 are healthy, and 2 are needed" in plan.remedy


@pytest.mark.parametrize("ended", [EXPIRED, NONE])
def test_expired_members_cannot_wait_for_health(ended: Renew) -> None:
    members = [member("a", ended, healthy=False), member("b", ended, healthy=False), member("c", DUE, healthy=False)]
    plan = plan_rotation(members, size=3)
    assert isinstance(plan, AllAtOnce)
    assert plan.hosts == ("a", "b", "c")
    assert "a, b have expired" in plan.why


UNUSABLE = Renew(("the private key is missing or unreadable",), GOOD, unusable=True)
SICK: dict[str, Any] = {"healthy": False, "problem": "its member does not answer"}


@pytest.mark.parametrize("role", ["server", "client", "peer"])
def test_a_member_that_cannot_be_asked_for_want_of_a_pair_gets_one(role: RoleName) -> None:
    """etcdctl on the host cannot ask without the client's pair, nor etcd answer without the server's."""
    stuck = replace(member("a"), decisions={"peer": DUE, "server": KEEP, "client": KEEP, role: UNUSABLE}, **SICK)
    plan = plan_rotation([stuck, member("b", DUE, leader=True), member("c", DUE)], size=3)
    assert isinstance(plan, AllAtOnce)
    assert (plan.hosts, plan.then) == (("a",), ("c", "b")), "those that are well keep their gates"


def test_a_pair_that_only_looks_unusable_is_no_haste() -> None:
    """Nothing notes the key of a pair that was placed by hand."""
    assert plan_rotation([member("a", UNUSABLE), member("b", DUE)], size=2) == OneByOne(("a", "b"))


def test_a_member_that_is_stopped_waits_for_its_gate_behind_one_that_expired() -> None:
    members = [member("a", EXPIRED, **SICK), member("b", DUE, running=False, **SICK), member("c")]
    plan = plan_rotation(members, size=3)
    assert isinstance(plan, AllAtOnce)
    assert (plan.hosts, plan.then) == (("a",), ("b",))


def test_a_host_that_is_no_member_yet_is_for_deploy() -> None:
    new = member("a", NONE, running=False, deployed=False, healthy=False, problem="etcd does not run")
    plan = plan_rotation([new, member("b", DUE), member("c")], size=3)
    assert isinstance(plan, Refusal)
    assert (plan.what, "deploy" in plan.remedy) == ("no etcd is deployed on a yet", True)


@pytest.mark.parametrize("healthy", [True, False])
def test_what_nobody_saw_at_work_is_kept_on_a_healthy_member_only(healthy: bool) -> None:
    decisions = never_proven({"peer": KEEP, "server": KEEP, "client": DUE}, ("server", "client"), healthy=healthy)
    assert decisions["peer"] is KEEP
    assert decisions["client"] is DUE
    if healthy:
        assert decisions["server"] is KEEP
        return
    assert isinstance(decisions["server"], Renew)
    assert decisions["server"].certificate is KEEP.certificate
    stuck = replace(member("a"), decisions=decisions, unproven=True, **SICK)
    plan = plan_rotation([stuck, member("b"), member("c")], size=3)
    assert isinstance(plan, AllAtOnce)
    assert plan.hosts == ("a",)


def test_an_expired_client_certificate_stops_no_member() -> None:
    assert plan_rotation([member("a", client=EXPIRED), member("b"), member("c")], size=3) == OneByOne(("a",))


@pytest.mark.parametrize(
    ("decision", "forced", "chosen", "due"),
    [
        (KEEP, False, True, False),
        (KEEP, True, True, True),
        (KEEP, True, False, False),
        (DUE, False, True, True),
        (DUE, False, False, False),
        (DUE, True, True, True),
        (NONE, False, False, True),  # what is missing cannot be left out
    ],
)
def test_what_the_user_asked_for_comes_on_top(decision: Keep | Renew, forced: bool, chosen: bool, due: bool) -> None:
    result = apply_options(decision, forced=forced, chosen=chosen)
    assert isinstance(result, Renew) is due
    if decision is KEEP and due:
        assert isinstance(result, Renew)
        assert result.reasons == (ORDERED,)


def test_the_table_says_what_why_and_when() -> None:
    assert describe("peer", Keep(GOOD, NOW + timedelta(days=3))).endswith("due from 2026-06-04 12:00:00 UTC")
    assert describe("server", DUE).startswith("server: to be replaced (until 2028-")
    assert describe("client", NONE) == "client: to be replaced: there is no certificate yet"
