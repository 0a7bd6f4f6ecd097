"""The start of a cluster, over worlds: what is on each disk, what can be seen of it, and what a plan makes of it.

A plan is made from what can be seen, as the step start does it, and carried out on a model of etcd, again and again.
The model knows the ways in which etcd loses data without an error: empty members that begin a log, logs that pass for
complete ones beside a database that they lack, and old logs that win against restored ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hypothesis import event, given, settings
from hypothesis import strategies as st

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import EndpointStatus, ExpectedMember, Member, MemberList
from etcdfleet.etcd.ids import static_ids
from etcdfleet.etcd.marker import marker
from etcdfleet.etcd.plan import plan_start
from etcdfleet.etcd.start_model import Bootstrap, Join, MemberState, Nothing, Plan, Readdress, Rolling
from etcdfleet.etcd.wal import DataIds

Disk = Literal["empty", "hollow", "data", "restored", "led", "joined"]
DISKS: tuple[Disk, ...] = ("empty", "hollow", "data", "restored", "led", "joined")
VALUABLE: tuple[Disk, ...] = ("data", "restored", "led", "joined")
RESTORED: tuple[Disk, ...] = ("restored", "led")
ROUNDS = 4


@dataclass(frozen=True)
class Host:
    """What is true of a host, and whether a run sees it, has chosen it, and finds it ready.

    ``disk``: hollow is the log of a first start that never came to a quorum; data the log of a working cluster since
    its first start; restored what `snapshot restore` made, led the same once it has run with others; joined what a
    member got from the others. ``moved``: the others look for it elsewhere than the inventory has it.
    """

    name: str
    disk: Disk
    marker: bool
    running: bool
    pending: bool
    seen: bool = True
    chosen: bool = True
    ready: bool = True
    moved: bool = False

    @property
    def serves(self) -> bool:
        return self.running and self.disk != "empty"


World = tuple[Host, ...]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    size = draw(st.sampled_from([1, 2, 3, 3, 3, 5]))
    # Most hosts of a real cluster have the same past; the odd one is what this is about.
    common = draw(st.sampled_from(DISKS))
    disks = st.sampled_from([common, common, *DISKS])
    mostly = st.sampled_from([True, True, True, True, False])
    marked, up = draw(st.booleans()), draw(st.booleans())
    hosts = []
    for name in "abcde"[:size]:
        disk = draw(disks)
        hosts.append(
            Host(
                name,
                disk,
                marker=marked and draw(mostly),
                running=up is draw(mostly),
                pending=draw(st.booleans()),
                seen=draw(mostly),
                chosen=draw(mostly),
                ready=draw(mostly),
                moved=not draw(mostly),
            )
        )
    return tuple(hosts)


def quorum(world: World) -> int:
    return len(world) // 2 + 1


def leads(world: World) -> bool:
    return sum(host.serves for host in world) >= quorum(world)


def visible(world: World, *, listed: bool) -> tuple[list[MemberState], MemberList | None, dict[str, EndpointStatus]]:
    """What the step start is told of this world. Without a leader, 3.4 lists members from memory, 3.5 does not."""
    expected = expectations(world)
    ids = static_ids({member.name: [member.peer_url] for member in expected}, "token")
    states, statuses = [], {}
    everyone = MemberList(
        ids.cluster_id,
        tuple(Member(ids.members[m.name], m.name, (m.peer_url,), (m.client_url,)) for m in expected),
    )
    moved = {host.name for host in world if host.moved}
    started = {host.name for host in world if host.disk in ("data", "led", "joined") or host.serves}
    for host in world:
        answering = host.seen and host.serves
        states.append(
            MemberState(
                host.name,
                host.name,
                data=data_of(host, ids.members[host.name], ids.cluster_id, len(world)) if host.seen else None,
                established=marker(everyone, token="token", version="3.5.16") if host.seen and host.marker else None,
                running=host.seen and host.running,
                answering=answering,
                restart_pending=host.pending,
                chosen=host.chosen,
                ready=host.ready,
                seen=host.seen,
                moves=host.seen and host.moved,
                renamed=host.seen and host.moved,
            )
        )
        if answering:
            leader = ids.members[next(h.name for h in world if h.serves)] if leads(world) else 0
            url, mine = f"https://{host.name}:2379", ids.members[host.name]
            revision = revision_of(host, world)
            statuses[host.name] = EndpointStatus(url, mine, ids.cluster_id, "3.5.1", 1, 1, leader, 2, 9, 9, revision)
    members = None
    if statuses and (leads(world) or listed):
        members = replace(
            everyone,
            members=tuple(m if m.name in started else replace(m, client_urls=()) for m in everyone.members),
        )
        old = (replace(m, peer_urls=(f"https://old-{m.name}:2380",)) for m in members.members if m.name in moved)
        urls = {m.name: m for m in old}
        members = replace(members, members=tuple(urls.get(m.name, m) for m in members.members))
    return states, members, statuses


def revision_of(host: Host, world: World) -> int:
    """What a member that runs holds: those that should not run together differ in it."""
    kinds = {other.disk for other in world if other.serves}
    if host.disk == "hollow":
        return 1 if kinds & set(VALUABLE) else 5
    return 8 if host.disk == "data" and kinds & set(RESTORED) else 5


def expectations(world: World) -> list[ExpectedMember]:
    return [ExpectedMember(h.name, f"https://{h.name}:2380", f"https://{h.name}:2379") for h in world]


def data_of(host: Host, member: int, cluster: int, size: int) -> DataIds | None:
    made = DataIds(member, cluster, size, complete=True)
    return {
        "empty": None,
        "hollow": replace(made, birth="bootstrap"),
        "data": replace(made, last_index=size + 9, birth="bootstrap"),
        "restored": replace(made, snapshot=True, birth="restore"),
        "led": replace(made, last_index=size + 9, snapshot=True, birth="restore"),
        "joined": replace(made, last_index=size + 9, birth="join"),
    }[host.disk]


def planned(world: World, *, listed: bool) -> Plan:
    states, members, statuses = visible(world, listed=listed)
    expected = expectations(world)
    ids = static_ids({member.name: [member.peer_url] for member in expected}, "token")
    return plan_start(states, expected, ids, members, statuses)


def carried_out(world: World, plan: Plan) -> World:
    """The world after a plan. Fails where etcd would lose data without an error, or the cluster its quorum."""
    if isinstance(plan, Bootstrap):
        assert not any(host.disk in VALUABLE for host in world), "a first start over data"
        assert not any(host.marker for host in world), "a first start over a marker"
        return tuple(
            replace(host, running=True, disk="hollow" if host.disk == "empty" else host.disk)
            if host.name in plan.hosts
            else host
            for host in world
        )
    if isinstance(plan, Join):
        assert leads(tuple(replace(host, running=host.running and host.name not in plan.hosts) for host in world)), (
            "nobody to join"
        )
        return tuple(
            replace(host, running=True, disk="joined" if host.disk == "empty" else host.disk)
            if host.name in plan.hosts
            else host
            for host in world
        )
    if isinstance(plan, Readdress):
        assert leads(world), "no majority that could take it into the list"
        assert all(host.disk != "empty" for host in world if host.name in plan.hosts), "a member without data"
        there = (replace(host, running=True, pending=False, moved=False) for host in world)
        return tuple(new if new.name in plan.hosts else host for new, host in zip(there, world, strict=True))
    if isinstance(plan, Rolling) and plan.start_first:
        lost = [host.name for host in world if host.moved and host.name in plan.start_first]
        assert not lost, "started where the others do not look for it"
        assert not any(host.disk == "empty" for host in world if host.name in plan.start_first)
        after = tuple(replace(host, running=True) if host.name in plan.start_first else host for host in world)
        mixed(after)
        return after
    if isinstance(plan, Rolling):
        for name in plan.order:
            without = tuple(replace(host, running=host.running and host.name != name) for host in world)
            unseen = sum(not host.seen for host in world)
            if len(world) > 2:
                assert sum(host.running for host in without) + unseen >= quorum(world), "restarted without a quorum"
        return tuple(replace(host, pending=host.pending and host.name not in plan.order) for host in world)
    return world


def aged(world: World) -> World:
    """Once they have a leader, restored members have a log of their own."""
    if not leads(world):
        return world
    return tuple(replace(host, disk="led") if host.disk == "restored" and host.serves else host for host in world)


def mixed(world: World) -> None:
    """What may run together. What could not be seen could not be decided on."""
    together = [host for host in world if host.seen and host.serves]
    kinds = {host.disk for host in together}
    assert not (kinds & set(RESTORED) and kinds & {"hollow", "data"}), "two lives under the same ids"
    assert not ("restored" in kinds and "led" not in kinds and "joined" in kinds), "it joined before the restore"
    hollow = sum(host.disk == "hollow" for host in together)
    assert not (hollow >= quorum(world) and kinds & set(VALUABLE)), "those without data overrule the one that has them"


@given(worlds(), st.booleans())
@settings(max_examples=800, deadline=None, derandomize=True)
def test_no_plan_loses_data(world: World, listed: bool) -> None:
    """Whatever is on the hosts: an empty member never begins a log where there was one, none joins without a quorum,
    and nothing is started that raft would take for what it is not."""
    for _ in range(ROUNDS):
        plan = planned(world, listed=listed)
        event(type(plan).__name__)
        if isinstance(plan, Refusal):
            assert plan.what
            assert plan.remedy
            assert plan.hosts
            return
        touched = plan.hosts if isinstance(plan, Bootstrap | Join) else ()
        touched += plan.hosts if isinstance(plan, Readdress) else ()
        touched += (*plan.start_first, *plan.order) if isinstance(plan, Rolling) else ()
        for host in world:
            assert host.name not in touched or (host.seen and host.chosen and host.ready)
        if isinstance(plan, Nothing):
            return
        world = aged(carried_out(world, plan))
    # A hollow log becomes data as soon as there is a leader.


@given(worlds())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_whole_first_start_is_always_possible(world: World) -> None:
    """Guards the guard: it must not refuse what is new, nor a cluster that is whole."""
    new = tuple(Host(host.name, "empty", marker=False, running=False, pending=False) for host in world)
    plan = planned(new, listed=False)
    assert plan == Bootstrap(tuple(host.name for host in new))
    for disk in VALUABLE:
        stopped = tuple(replace(host, disk=disk, marker=disk != "restored") for host in new)
        assert planned(stopped, listed=False) == Rolling((), tuple(host.name for host in new))
