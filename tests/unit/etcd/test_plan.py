"""What the start step does in each state of a cluster, case by case (all combinations: test_plan_combinations.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import EndpointStatus, ExpectedMember, Member, MemberList
from etcdfleet.etcd.contradictions import DEFAULTS
from etcdfleet.etcd.ids import static_ids
from etcdfleet.etcd.marker import marker
from etcdfleet.etcd.plan import plan_start, restart_order
from etcdfleet.etcd.start_model import Bootstrap, Join, MemberState, Nothing, Plan, Readdress, Rolling
from etcdfleet.etcd.wal import DataIds

NAMES = ("a", "b", "c")
EXPECTED = tuple(ExpectedMember(n, f"https://{n}.example:2380", f"https://{n}.example:2379") for n in NAMES)
IDS = static_ids({member.name: [member.peer_url] for member in EXPECTED}, "token")
LIST = MemberList(
    IDS.cluster_id, tuple(Member(IDS.members[m.name], m.name, (m.peer_url,), (m.client_url,)) for m in EXPECTED)
)
MARKER = marker(LIST, token="token", version="3.5.16")
OF_TWO, OF_ONE = (
    marker(replace(LIST, members=LIST.members[:count]), token="token", version="3.5.16") for count in (2, 1)
)


def renamed(name: str, other: str) -> dict[str, Any]:
    """The marker, with one member under another name."""
    return MARKER | {"members": {other if each == name else each: IDS.members[each] for each in NAMES}}


def data(name: str, *, led: bool = True, **more: Any) -> DataIds:
    """A data directory of this cluster; with ``led=False`` of a first start that never came to a quorum."""
    ids = DataIds(IDS.members[name], IDS.cluster_id, 40 if led else 3, complete=True, birth="bootstrap")
    return replace(ids, **more)


def empty(name: str, **more: Any) -> MemberState:
    return replace(MemberState(host=name, name=name), **more)


def lonely(name: str, **more: Any) -> MemberState:
    return empty(name, **{"data": data(name, led=False), **more})


def stopped(name: str, **more: Any) -> MemberState:
    return empty(name, **{"data": data(name), "established": MARKER, **more})


def live(name: str, **more: Any) -> MemberState:
    return stopped(name, **{"running": True, "answering": True, **more})


def restored(name: str, **more: Any) -> MemberState:
    """A member after `snapshot restore`: the log of a bootstrap, and a snapshot."""
    return empty(name, **{"data": data(name, led=False, snapshot=True, birth="restore"), **more})


def ran(name: str) -> DataIds:
    """The data of a restored member that has run with others since."""
    return data(name, snapshot=True, birth="restore")


def off(name: str, **more: Any) -> MemberState:
    return empty(name, **{"seen": False, "ready": False, **more})


def listed(*never: str, **changes: Mapping[str, Any]) -> MemberList:
    """The member list with these members as never started, and these changes by name."""
    members = (replace(m, client_urls=()) if m.name in never else m for m in LIST.members)
    return MemberList(LIST.cluster_id, tuple(replace(m, **changes.get(m.name, {})) for m in members))


def status(name: str, leader: str) -> EndpointStatus:
    lead = IDS.members.get(leader, 0)
    return EndpointStatus(
        f"https://{name}.example:2379", IDS.members[name], IDS.cluster_id, "3.5.1", 1, 1, lead, 2, 9, 9, 5
    )


def plan(*states: MemberState, members: MemberList | None = None, leader: str = "") -> Plan:
    statuses = {state.host: status(state.name, leader) for state in states if state.answering} if leader else None
    return plan_start(states, EXPECTED, IDS, members, statuses)


def all_of(make: Any, **more: Any) -> list[MemberState]:
    return [make(name, **more) for name in NAMES]


OTHER_DIR: dict[str, Any] = {"data_dir": "/mnt/ssd", "configured_dir": "/var/lib/etcd"}
MIB = 2**20


def quota(wanted: int, *, was: int = 512 * MIB, size: int = 128 * MIB) -> Plan:
    """The plan where the inventory says another quota; member b has the largest database."""
    statuses = {name: replace(status(name, "a"), db_size=size if name == "b" else MIB) for name in NAMES}
    return plan_start(all_of(live, quota_bytes=was), EXPECTED, IDS, LIST, statuses, wanted)


BY_DEFAULT = DataIds(DEFAULTS.members["default"], DEFAULTS.cluster_id, 40, complete=True)
OF_DEFAULTS = MemberList(DEFAULTS.cluster_id, (replace(LIST.members[0], peer_urls=("http://localhost:2380",)),))
FOREIGN = DataIds(7, 8, 40, complete=True)

OTHER_FQDN = listed(b={"peer_urls": ("https://b.old:2380",)})

CASES: dict[str, tuple[Plan, Any]] = {
    # -- a first start
    "new hosts": (plan(*all_of(empty)), Bootstrap(NAMES)),
    "new hosts, one not chosen": (plan(empty("a"), empty("b"), empty("c", chosen=False)), ("together", "c")),
    "new hosts, one failed before": (
        plan(empty("a"), empty("b", ready=False), empty("c")),
        ("earlier step failed", "b"),
    ),
    "new hosts, one off": (plan(empty("a"), empty("b"), off("c")), ("could not be read", "c")),
    "interrupted: one has data, waiting": (
        plan(lonely("a", running=True), empty("b"), empty("c")),
        Bootstrap(("b", "c")),
    ),
    "interrupted: one has data, stopped": (plan(lonely("a"), empty("b"), empty("c")), Bootstrap(NAMES)),
    "interrupted: waiting with a wrong configuration": (
        plan(lonely("a", running=True, restart_pending=True), empty("b", running=True), lonely("c", running=True)),
        Bootstrap(("a", "b")),
    ),
    "interrupted: all wait for each other": (plan(*all_of(lonely, running=True)), Nothing()),
    "interrupted: rest not chosen": (
        plan(lonely("a", running=True), empty("b"), empty("c", chosen=False)),
        ("together", "c"),
    ),
    "interrupted: two work, one never did": (
        plan(live("a", established=None), live("b", established=None), empty("c"), members=listed("c")),
        Join(("c",)),
    ),
    "interrupted: the one that never did alone is chosen": (
        plan(*(live(n, established=None, chosen=False) for n in "ab"), empty("c"), members=listed("c")),
        Join(("c",)),
    ),
    "interrupted: two work, the one that never did is not chosen": (
        plan(*(live(n, established=None) for n in "ab"), empty("c", chosen=False), members=listed("c")),
        ("not complete", "c"),
    ),
    "interrupted: two have worked and are stopped": (
        plan(stopped("a", established=None), stopped("b", established=None), empty("c")),
        Rolling((), ("a", "b"), ("c",)),
    ),
    "interrupted before the markers, power cut": (plan(*all_of(stopped, established=None)), Rolling((), NAMES)),
    "interrupted before the markers, running": (plan(*all_of(live, established=None), members=LIST), Nothing()),
    "the distribution's own etcd in the data directory, stopped": (
        plan(empty("a", data=BY_DEFAULT, data_dir="/var/lib/etcd"), empty("b"), empty("c")),
        ("started with its defaults, a cluster of its own with one member at localhost (a: /var/lib/etcd)", "a"),
    ),
    "the distribution's own etcd runs on one host, with data elsewhere": (
        plan(empty("a", running=True, answering=True), empty("b"), empty("c"), members=OF_DEFAULTS),
        ("cannot become a member of this cluster", "a"),
    ),
    "a disk that is not mounted is not lost data": (
        plan(live("a"), live("b"), empty("c", disk_absent="/mnt/ssd"), members=LIST),
        ("nothing is mounted on /mnt/ssd on c", "c"),
    ),
    "a disk that is not mounted, and older data beneath its mount point": (
        plan(live("a"), live("b"), stopped("c", disk_absent="/mnt/ssd"), members=LIST),
        ("nothing is mounted on /mnt/ssd on c", "c"),
    ),
    "first start with data of another token": (
        plan(empty("a", data=replace(data("a", led=False), cluster_id=9)), empty("b"), empty("c")),
        ("data of cluster 9", "a"),
    ),
    "first start with swapped disks": (
        plan(empty("a", data=data("b", led=False)), empty("b", data=data("a", led=False)), empty("c")),
        ("another member", "a"),
    ),
    # -- lost data
    "two lost all, the third is off": (plan(empty("a"), empty("b"), off("c")), ("could not be read", "c")),
    "two lost all, the third is stopped": (plan(empty("a"), empty("b"), stopped("c")), ("no data on a, b", "a")),
    "two lost all, the third is stopped and unmarked": (
        plan(empty("a"), empty("b"), stopped("c", established=None)),
        ("no data on a, b", "a"),
    ),
    "two lost all, the third's log is not read to its end": (
        plan(empty("a"), empty("b"), lonely("c", data=data("c", led=False, complete=False))),
        ("no data on a, b", "a"),
    ),
    "two lost all, the third answers without a quorum, from memory": (
        plan(empty("a"), empty("b"), live("c", established=None), members=LIST, leader="-"),
        ("no data on a", "a"),
    ),
    "the same, and its memory is old": (
        plan(empty("a"), empty("b"), live("c", established=None), members=listed("a", "b"), leader="-"),
        ("no data on a, b", "a"),
    ),
    "two lost their data, a marker is left, the third is off": (
        plan(empty("a", established=MARKER), empty("b"), off("c")),
        ("no data on a, b", "a"),
    ),
    "two began anew, the third has the data": (
        plan(lonely("a"), lonely("b"), stopped("c", established=None)),
        ("could overrule it", "a"),
    ),
    "the same, all marked": (
        plan(*(lonely(n, established=MARKER) for n in "ab"), stopped("c")),
        ("could overrule it", "a"),
    ),
    "the same, the third is running": (
        plan(lonely("a"), lonely("b", running=True), live("c", established=None, answering=False)),
        ("could overrule it", "a"),
    ),
    "one began anew, two have the data": (
        plan(lonely("a"), *(stopped(n, established=None) for n in "bc")),
        Rolling((), NAMES),
    ),
    # -- a host that is new to a cluster which is down
    "two stopped, one new": (
        plan(*(stopped(n, established=OF_TWO) for n in "ab"), empty("c")),
        Rolling((), ("a", "b")),
    ),
    "the same, one of the two is off": (
        plan(stopped("a", established=OF_TWO), off("b"), empty("c")),
        Rolling((), ("a",)),
    ),
    "one stopped, two new": (plan(stopped("a", established=OF_ONE), empty("b"), empty("c")), Rolling((), ("a",))),
    "two stopped, one new and alone chosen": (
        plan(*(stopped(n, established=OF_TWO, chosen=False) for n in "ab"), empty("c")),
        ("new to the cluster: c (neither data nor a marker", "c"),
    ),
    "two run and do not answer, one new": (
        plan(*(live(n, established=OF_TWO, answering=False, restart_pending=True) for n in "ab"), empty("c")),
        ("no member answers that could take in a new one", "c"),
    ),
    "two run, one new": (
        plan(*(live(n, established=OF_TWO) for n in "ab"), empty("c"), members=replace(LIST, members=LIST.members[:2])),
        ("replace_member.py c makes it a member", "c"),
    ),
    "one stopped, one lost its data and not its marker, one new": (
        plan(stopped("a", established=OF_TWO), empty("b", established=OF_TWO), empty("c")),
        ("no data on b, a member", "b"),
    ),
    "one stopped, one lost its data and its marker, one new": (
        plan(stopped("a", established=OF_TWO), empty("b"), empty("c")),
        ("restore.py --cluster NAME says from what", "b"),
    ),
    "a new card: no data and no marker, and the others' markers name it": (
        plan(stopped("a"), stopped("b"), empty("c")),
        ("no data on c, a member", "c"),
    ),
    "one marker is older than its member": (
        plan(stopped("a", established=OF_TWO), stopped("b"), empty("c")),
        ("no data on c, a member", "c"),
    ),
    "one marker cannot be read, so that nobody is known to be new": (
        plan(stopped("a", established=OF_TWO), stopped("b", established={}), empty("c")),
        ("no data on c, a member", "c"),
    ),
    "a marker names one that the inventory lacks: the new one under another name?": (
        plan(*(stopped(n, established=renamed("c", "old")) for n in "ab"), empty("c")),
        ("no data on c, a member", "c"),
    ),
    "one new beside data that its marker does not know": (
        plan(
            stopped("a", established=OF_TWO), stopped("b", data=data("b", member_id=99), established=OF_TWO), empty("c")
        ),
        ("its marker says", "b"),
    ),
    "the marker left cannot be read": (
        plan(empty("a", established={}), empty("b"), empty("c")),
        ("no data on a, b, c", "a"),
    ),
    "one has no data: a disk may be missing, and nobody is sent away for that": (
        plan(live("a"), live("b"), empty("c"), members=LIST),
        ("first see whether their disk is mounted there", "c"),
    ),
    "one lost its data, others healthy": (plan(live("a"), live("b"), empty("c"), members=LIST), ("no data on c", "c")),
    "the same, unmarked": (
        plan(*(live(n, established=None) for n in "ab"), empty("c"), members=LIST),
        ("no data on c", "c"),
    ),
    "the same, two answer from different memories": (
        plan(*(live(n, established=None) for n in "ab"), empty("c"), members=listed("c"), leader="-"),
        ("no quorum", "c"),
    ),
    "two wiped hosts booted and made a new cluster; the third comes back": (
        plan(live("a"), live("b"), stopped("c"), members=listed("c")),
        ("never seen c", "c"),
    ),
    "the same, the third is still off": (
        plan(live("a"), live("b"), off("c"), members=listed("c")),
        ("never seen c", "c"),
    ),
    "the same, only the third has its marker": (
        plan(live("a", established=None), live("b", established=None), stopped("c"), members=listed("c")),
        ("never seen c", "c"),
    ),
    "marker against list, no data": (
        plan(live("a"), live("b", established=None), empty("c"), members=listed("c")),
        ("never seen c", "c"),
    ),
    "replaced by hand, not joined yet": (
        plan(live("a"), live("b"), empty("c"), members=listed("c", c={"name": "", "id": 9})),
        ("not joined", "c"),
    ),
    "replaced by hand, joining": (
        plan(live("a"), live("b"), stopped("c", data=data("c", member_id=9)), members=listed("c", c={"id": 9})),
        Rolling((), ("c",)),
    ),
    "a learner that was left before its vote": (
        plan(
            live("a"),
            live("b"),
            stopped("c", data=data("c", member_id=9)),
            members=listed("c", c={"id": 9, "learner": True}),
        ),
        ("replace_member.py c goes on", "c"),
    ),
    "a learner that runs": (
        plan(
            live("a"),
            live("b"),
            live("c", data=data("c", member_id=9)),
            members=listed("c", c={"id": 9, "learner": True}),
        ),
        Nothing(),
    ),
    "joined but killed before it published its URLs": (
        plan(*(live(n, established=None) for n in "ab"), stopped("c", established=None), members=listed("c")),
        Rolling((), ("c",)),
    ),
    "one lost its data while running": (
        plan(live("a"), live("b"), live("c", data=None), members=LIST),
        ("no data", "c"),
    ),
    "one lost its data, others run and do not answer": (
        plan(*(live(n, established=None, answering=False) for n in "ab"), empty("c")),
        ("no quorum", "c"),
    ),
    "the data directory cannot be read": (
        plan(live("a"), live("b"), empty("c", data_unreadable="zeros")),
        ("zeros", "c"),
    ),
    # -- restored from a snapshot
    "two restored, one empty": (plan(restored("a"), restored("b"), empty("c")), Rolling((), ("a", "b"), ("c",))),
    "the same, they run": (
        plan(*(restored(n, running=True, answering=True) for n in "ab"), empty("c"), members=listed("c")),
        Join(("c",)),
    ),
    "the same, they run, and one more is restored and stopped": (
        plan(*(restored(n, running=True, answering=True) for n in "ab"), restored("c"), members=listed("c")),
        Rolling((), ("c",)),
    ),
    "the same, they run without a leader": (
        plan(*(restored(n, running=True, answering=True) for n in "ab"), empty("c"), members=listed("c"), leader="-"),
        ("no quorum", "c"),
    ),
    "two restored, one empty and not chosen": (
        plan(restored("a"), restored("b"), empty("c", chosen=False)),
        Rolling((), ("a", "b"), ("c",)),
    ),
    "two restored, one begins a cluster of its own": (
        plan(restored("a"), restored("b"), lonely("c", running=True)),
        ("a log of a first start", "c"),
    ),
    "two restored ones run, one has the log of a first start": (
        plan(*(restored(n, running=True, answering=True) for n in "ab"), lonely("c"), members=listed("c")),
        ("move member/ out", "c"),
    ),
    "two restored, one with data from before, its marker removed": (
        plan(restored("a"), restored("b"), stopped("c", established=None)),
        ("data from before the restore", "c"),
    ),
    "two restored ones run, a forgotten one comes back with its marker and its data": (
        plan(
            *(restored(n, running=True, answering=True, established=MARKER) for n in "ab"),
            stopped("c"),
            members=listed("c"),
        ),
        ("data from before the restore", "c"),
    ),
    "restored ones and one that began anew run together: what they hold decides": (
        plan(
            *(restored(n, running=True, answering=True) for n in "ab"),
            live("c", established=None),
            members=LIST,
        ),
        Nothing(),
    ),
    "members hold different data": (
        plan_start(
            [live("a", restart_pending=True), live("b"), live("c")],
            EXPECTED,
            IDS,
            LIST,
            {n: replace(status(n, "a"), revision=1 if n == "c" else 5) for n in NAMES},
        ),
        ("c does not hold what the majority holds", "c"),
    ),
    "members hold different data, and one is to be started": (
        plan_start(
            [live("a"), live("b"), stopped("c")],
            EXPECTED,
            IDS,
            LIST,
            {n: replace(status(n, "a"), revision=1 if n == "b" else 5) for n in "ab"},
        ),
        ("the data differ", "a"),
    ),
    "restored long ago, and one has joined since; a power cut": (
        plan(*(stopped(n, data=ran(n)) for n in "ab"), stopped("c", data=data("c", birth="join"))),
        Rolling((), NAMES),
    ),
    "restored long ago, one was off all the time, and one has joined since": (
        plan(stopped("a", data=ran("a")), restored("b"), stopped("c", data=data("c", birth="join"))),
        Rolling((), NAMES),
    ),
    "restored and not started yet: whoever joined did so before": (
        plan(*(restored(n, established=MARKER) for n in "ab"), stopped("c", data=data("c", birth="join"))),
        ("data from before the restore", "c"),
    ),
    "restored and not started yet, one with a log whose begin is gone": (
        plan(*(restored(n, established=MARKER) for n in "ab"), stopped("c", data=data("c", birth="", snapshot=True))),
        ("data from before the restore", "c"),
    ),
    "restored ones wait for the third, which has joined before": (
        plan(*(restored(n, running=True) for n in "ab"), stopped("c", data=data("c", birth="join"))),
        ("data from before the restore", "c"),
    ),
    "restored so long ago that nothing tells it any more": (
        plan(*(stopped(n, data=data(n, snapshot=True, birth="")) for n in "ab"), stopped("c")),
        Rolling((), NAMES),
    ),
    "two restored, one off": (plan(restored("a"), restored("b"), off("c")), Rolling((), ("a", "b"))),
    "one restored, two empty": (plan(restored("a"), empty("b"), empty("c")), ("no data on b, c", "b")),
    "one restored, one off, one empty": (plan(restored("a"), off("b"), empty("c")), Rolling((), ("a",), ("c",))),
    "one restored, one stopped and not chosen, one empty": (
        plan(restored("a"), restored("b", chosen=False), empty("c")),
        ("cannot become ready", "b"),
    ),
    "all restored": (plan(*all_of(restored)), Rolling((), NAMES)),
    "restored, markers from before the restore left, one empty": (
        plan(restored("a", established=MARKER), restored("b"), empty("c")),
        ("no data on c", "c"),
    ),
    "restored with a new token, which the inventory lacks": (
        plan(
            *(
                restored(n, data=replace(data(n, led=False, snapshot=True, birth="restore"), cluster_id=9))
                for n in "ab"
            ),
            empty("c"),
        ),
        ("cluster.token", "a"),
    ),
    "restored with a new token, and an old marker is left": (
        plan(
            *(
                restored(n, data=replace(data(n, led=False, snapshot=True, birth="restore"), cluster_id=9))
                for n in "ab"
            ),
            empty("c", established=MARKER),
        ),
        ("more than one cluster", "a"),
    ),
    # -- what a person may type into the inventory of a live cluster
    "another data directory, the data are in the old one": (
        plan(live("a"), live("b"), live("c", data=None, **OTHER_DIR, data_elsewhere="/var/lib/etcd"), members=LIST),
        ("the data are not where the inventory says (c: /var/lib/etcd, not /mnt/ssd)", "c"),
    ),
    "the same, all stopped": (
        plan(*(stopped(n, data=None, **OTHER_DIR, data_elsewhere="/var/lib/etcd") for n in NAMES)),
        ("the data are not where", "a"),
    ),
    "another data directory, a copy is there": (
        plan(live("a"), live("b"), live("c", **OTHER_DIR, data_elsewhere="/var/lib/etcd"), members=LIST),
        ("old copy of its data", "c"),
    ),
    "the same, stopped": (
        plan(live("a"), live("b"), stopped("c", **OTHER_DIR, data_elsewhere="/var/lib/etcd"), members=LIST),
        ("old copy of its data", "c"),
    ),
    "another data directory, moved under the running etcd": (
        plan(live("a"), live("b"), live("c", **OTHER_DIR), members=LIST),
        ("old copy of its data", "c"),
    ),
    "another data directory, moved as it should be": (
        plan(live("a"), live("b"), stopped("c", **OTHER_DIR), members=LIST),
        Rolling((), ("c",)),
    ),
    "the quota is lowered, with room": (quota(400 * MIB), Nothing()),
    "the quota is lowered below the size of the database": (quota(100 * MIB), ("lowered to 100 MiB", "b")),
    "the quota is lowered to what the database nearly has": (quota(150 * MIB), ("b 128 MiB", "b")),
    "the quota is raised, and the database is full": (quota(600 * MIB, was=512 * MIB, size=512 * MIB), Nothing()),
    "the quota stays, and the database is full": (quota(512 * MIB, size=512 * MIB), Nothing()),
    # -- contradictions on a live cluster
    "data of another cluster": (
        plan(live("a"), live("b"), stopped("c", data=FOREIGN), members=LIST),
        ("more than one", "a"),
    ),
    "list of another cluster": (plan(*all_of(live), members=replace(LIST, cluster_id=5)), ("more than one", "a")),
    "marker of another cluster": (
        plan(live("a"), live("b"), live("c", established={"cluster_id": 5}), members=LIST),
        ("more than one", "a"),
    ),
    "a copied disk": (plan(live("a"), live("b"), stopped("c", data=data("a")), members=LIST), ("same member", "a")),
    "stale data of a removed member": (
        plan(live("a"), live("b"), stopped("c"), members=listed(c={"id": 99})),
        ("running cluster knows c as 63", "c"),
    ),
    "data that its own marker does not know": (
        plan(stopped("a"), stopped("b"), stopped("c", data=data("c", member_id=99))),
        ("its marker says", "c"),
    ),
    "another peer URL": (
        plan(*all_of(live, restart_pending=True), members=listed(b={"peer_urls": ("http://b.example:2380",)})),
        ("peer TLS", "b"),
    ),
    "another FQDN": (plan(*all_of(live), members=OTHER_FQDN, leader="a"), Readdress(("b",))),
    "another FQDN, stopped": (plan(live("a"), stopped("b"), live("c"), members=OTHER_FQDN), Readdress(("b",))),
    "another FQDN for all: those that do not answer first, the leader last": (
        plan(
            live("a"),
            live("b"),
            live("c", answering=False),
            members=listed(**{name: {"peer_urls": (f"https://{name}.old:2380",)} for name in NAMES}),
            leader="a",
        ),
        Readdress(("c", "b", "a")),
    ),
    "another FQDN of a member that this run leaves out": (
        plan(live("a"), live("b", chosen=False), live("c"), members=OTHER_FQDN),
        ("that this run does not touch: b has", "b"),
    ),
    "another FQDN, and the data of another member on the host": (
        plan(live("a"), stopped("b", data=data("b", member_id=9), established=None), live("c"), members=OTHER_FQDN),
        ("does not touch: b has", "b"),
    ),
    "another FQDN, and no data": (plan(live("a"), empty("b"), live("c"), members=OTHER_FQDN), ("b has the peer", "b")),
    "another FQDN of a learner": (
        plan(*all_of(live), members=listed(b={"peer_urls": ("https://b.old:2380",), "learner": True})),
        ("b has the peer URL", "b"),
    ),
    "another FQDN, and another one is stopped: that one is started first": (
        plan(live("a"), live("b"), stopped("c"), members=OTHER_FQDN),
        Rolling((), ("c",)),
    ),
    "another address": (plan(live("a"), live("b", moves=True), live("c"), members=LIST), Readdress(("b",))),
    "another address, stopped": (
        plan(live("a"), stopped("b", moves=True), live("c"), members=LIST),
        Rolling((), ("b",)),
    ),
    "another address of a member that this run leaves out": (
        plan(live("a"), live("b", moves=True, chosen=False), live("c"), members=LIST),
        Nothing(),
    ),
    "another FQDN, and no majority answers": (plan(*all_of(live, moves=True, renamed=True)), ("no majority", "a")),
    "another FQDN, and all are stopped": (plan(*all_of(stopped, moves=True, renamed=True)), ("no majority", "a")),
    "another FQDN before the first start": (plan(*all_of(empty, moves=True, renamed=True)), Bootstrap(NAMES)),
    "another address, and all are stopped": (plan(*all_of(stopped, moves=True)), Rolling((), NAMES)),
    "another name": (plan(*all_of(live), members=listed(b={"name": "bee"})), ("is called bee", "b")),
    "unknown to the cluster": (
        plan(
            live("a"),
            live("b"),
            empty("c"),
            members=replace(LIST, members=tuple(m for m in LIST.members if m.name != "c")),
        ),
        ("not a member", "c"),
    ),
    "more members than the inventory": (
        plan(*all_of(live), members=replace(LIST, members=(*LIST.members, Member(9, "d", ("http://d:2380",), ())))),
        ("d (9)", "a"),
    ),
    "added by hand, not joined yet": (
        plan(
            live("a", established=None),
            live("b", established=None),
            empty("c"),
            members=listed("c", c={"name": "", "id": 9}),
        ),
        ("not joined", "c"),
    ),
    "added by hand, not joined yet, and another lost its data": (
        plan(empty("a"), live("b"), live("c", data=None), members=listed("a", a={"name": "", "id": 9})),
        ("no data", "c"),
    ),
    # -- a live cluster
    "all well": (plan(*all_of(live), members=LIST), Nothing()),
    "all stopped": (plan(*all_of(stopped)), Rolling((), NAMES)),
    "all stopped, one host off": (plan(stopped("a"), stopped("b"), off("c")), Rolling((), ("a", "b"))),
    "all stopped, one chosen": (
        plan(stopped("a"), stopped("b", chosen=False), stopped("c", chosen=False)),
        ("cannot become ready", "b"),
    ),
    "one stopped": (plan(live("a"), live("b"), stopped("c"), members=LIST), Rolling((), ("c",))),
    "one stopped, not chosen": (plan(live("a"), live("b"), stopped("c", chosen=False), members=LIST), Nothing()),
    "one stopped, restarts pending": (
        plan(live("a", restart_pending=True), live("b"), stopped("c"), members=LIST),
        Rolling((), ("c",)),
    ),
    "one stopped and not chosen, restarts pending": (
        plan(live("a", restart_pending=True), live("b"), stopped("c", chosen=False), members=LIST),
        ("c is not running", "c"),
    ),
    "restarts pending": (
        plan(*all_of(live, restart_pending=True), members=LIST, leader="a"),
        Rolling(("b", "c", "a")),
    ),
    "restarts pending, one chosen": (
        plan(
            live("a", restart_pending=True), *(live(n, restart_pending=True, chosen=False) for n in "bc"), members=LIST
        ),
        Rolling(("a",)),
    ),
    "restarts pending, one host off": (
        plan(live("a", restart_pending=True), live("b"), off("c"), members=LIST),
        Rolling(("a",)),  # the gate refuses it: c is not healthy
    ),
    "one host off, nothing to do": (plan(live("a"), live("b"), off("c"), members=LIST), Nothing()),
    "one failed before": (plan(live("a"), live("b"), stopped("c", ready=False), members=LIST), Nothing()),
    "a cluster that another token made": (
        plan_start(all_of(live, established=None), EXPECTED, static_ids({}, ""), LIST),
        Nothing(),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_plan(case: str) -> None:
    plan, wanted = CASES[case]
    if isinstance(wanted, tuple):
        assert isinstance(plan, Refusal), plan
        assert wanted[0] in f"{plan.what} {plan.remedy}", plan
        assert wanted[1] == plan.hosts[0], plan
        assert plan.remedy
    else:
        assert plan == wanted


@pytest.mark.parametrize("running", [False, True])
def test_a_cluster_of_one(running: bool) -> None:
    one = EXPECTED[:1]
    ids = static_ids({"a": [one[0].peer_url]}, "token")
    led = DataIds(ids.members["a"], ids.cluster_id, 9, complete=True)
    state = MemberState("a", "a", data=led, running=running, answering=running, restart_pending=True)
    wanted: Plan = Rolling(("a",)) if running else Rolling((), ("a",))
    assert plan_start([state], one, ids) == wanted
    assert plan_start([replace(state, data=None, running=False, answering=False)], one, ids) == Bootstrap(("a",))
    assert plan_start([replace(state, data=replace(led, last_index=1))], one, ids) == (
        wanted if running else Bootstrap(("a",))
    )


def test_states_must_match_the_inventory() -> None:
    with pytest.raises(ValueError, match="one state per member"):
        plan(empty("a"), empty("b"))


def test_restart_order() -> None:
    statuses = {name: status(name, "a") for name in "ab"}
    assert restart_order(statuses, ("a", "b", "c")) == ("c", "b", "a")
    assert restart_order({}, ("a", "b")) == ("a", "b")
