"""What the start step never does, whatever three members are like: every combination of them is built and planned."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import MemberList
from etcdfleet.etcd.marker import marker
from etcdfleet.etcd.plan import plan_start
from etcdfleet.etcd.start_model import Bootstrap, MemberState, Plan, Rolling
from tests.unit.etcd.test_plan import EXPECTED, IDS, LIST, MARKER, NAMES, data, listed

PROCESSES: tuple[dict[str, Any], ...] = (
    {"running": False},
    {"running": True},
    {"running": True, "answering": True, "restart_pending": True},
)
HELD = (("none", None), ("none", MARKER), ("lonely", None), ("lonely", MARKER), ("led", None), ("led", MARKER))
KINDS: tuple[dict[str, Any], ...] = (
    {"seen": False, "ready": False},
    *({"data": held, "established": mark, **process} for held, mark in HELD for process in PROCESSES),
    {"data": "unknown", "established": None, "running": False},
)
TOUCH: tuple[dict[str, Any], ...] = ({}, {"chosen": False}, {"ready": False})
LISTS = (None, LIST, listed("c"), listed("b", "c"), listed("a", "b", "c"))


def build(name: str, kind: Mapping[str, Any], touch: Mapping[str, Any]) -> MemberState:
    held = {
        "none": None,
        "lonely": data(name, led=False),
        "led": data(name),
        "unknown": data(name, led=False, complete=False),
    }
    fields = {**kind, **touch}
    return MemberState(name, name, **{**fields, "data": held[fields.get("data", "none")]})


NOT_C = marker(replace(LIST, members=LIST.members[:2]), token="token", version="3.5.16")
"""The marker of a cluster that has never had the third host."""


@pytest.mark.parametrize("touched", [(0, 0, 0), (0, 0, 1), (2, 1, 0)])
def test_a_host_that_is_new_to_a_cluster_which_is_down(touched: tuple[int, int, int]) -> None:
    """Whatever the two members are like, it is not started, and they are with their data alone."""
    known = [{**kind, "established": NOT_C} if kind.get("established") else kind for kind in KINDS]
    new: tuple[dict[str, Any], ...] = ({"running": False}, {"running": True})
    for kinds in itertools.product(known, known, new):
        states = [build(name, kind, TOUCH[at]) for name, kind, at in zip(NAMES, kinds, touched, strict=True)]
        if not any(state.established is not None for state in states if state.seen):
            continue
        plan = plan_start(states, EXPECTED, IDS)
        check(states, None, plan)
        if isinstance(plan, Rolling):
            assert "c" not in (*plan.start_first, *plan.order), (states, plan)
            assert all(state.data is not None or not state.seen for state in states[:2]), (states, plan)
        else:
            assert isinstance(plan, Refusal), (states, plan)
            if plan.what.startswith("no data on"):
                assert "c" not in plan.hosts, (states, plan)


BUILT = {
    (name, i, j): build(name, kind, touch)
    for name in NAMES
    for i, kind in enumerate(KINDS)
    for j, touch in enumerate(TOUCH)
}


@pytest.mark.parametrize("members", LISTS, ids=["no list", "all", "c never", "b and c never", "none ever"])
@pytest.mark.parametrize("touched", [(0, 0, 0), (0, 0, 1), (2, 1, 0)])
def test_invariants(touched: tuple[int, int, int], members: MemberList | None) -> None:
    for kinds in itertools.product(range(len(KINDS)), repeat=3):
        states = [BUILT[key] for key in zip(NAMES, kinds, touched, strict=True)]
        check(states, members, plan_start(states, EXPECTED, IDS, members))


def check(states: list[MemberState], members: MemberList | None, plan: Plan) -> None:
    by_host = {state.host: state for state in states}
    observed = [state for state in states if state.seen]
    started = {member.name for member in members.members if member.started} if members else set()
    context = (states, members, plan)
    if members and any(state.established is not None for state in observed) and len(started) < len(states):
        assert isinstance(plan, Refusal), context
    touched: tuple[str, ...] = ()
    if isinstance(plan, Bootstrap):
        touched = plan.hosts
        assert not any(other.established is not None for other in observed), context
        without = [state for state in observed if state.data is None]
        for state in without:
            assert state.name not in started, context
        if without:
            led = [state for state in observed if state.data and state.data.has_past(3)]
            working = [state for state in observed if state.answering and state.data]
            assert len(working) >= 2 if members else (not led and len(observed) == 3), context
        for host in touched:
            assert by_host[host].data is None or not by_host[host].answering, context
    elif isinstance(plan, Rolling):
        touched = (*plan.start_first, *plan.order)
        assert not (plan.start_first and plan.order), context
        assert touched, context
        for host in plan.start_first:
            assert by_host[host].data is not None, context
            assert not by_host[host].running, context
        for host in plan.order:
            assert by_host[host].running, context
            assert by_host[host].restart_pending, context
            others = [state for state in states if state.host != host]
            assert all(state.running or not state.seen for state in others), context
            assert all(state.data is not None or not state.seen for state in states), context
    elif isinstance(plan, Refusal):
        assert plan.what, context
        assert plan.remedy, context
        assert plan.hosts, context
    for host in touched:
        assert by_host[host].chosen, context
        assert by_host[host].ready, context
        assert by_host[host].seen, context
