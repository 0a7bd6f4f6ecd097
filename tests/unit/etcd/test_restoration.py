"""The next step of a restore, in every state between the first and the last one, and what stands against one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from etcdfleet.errors import Refusal
from etcdfleet.etcd.answers import Member, MemberList
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.ids import static_ids
from etcdfleet.etcd.replacement import Place
from etcdfleet.etcd.restoration import (
    BringIn,
    Complete,
    Finish,
    MoveAside,
    NoteRestore,
    RestoreData,
    StartRestored,
    StopAll,
    done_from,
    next_step,
    restore_of,
)
from etcdfleet.etcd.restore_fit import beside_survivor, losses, unfit_survivor
from etcdfleet.etcd.restore_model import Ground, Sight, Source, Wish
from etcdfleet.etcd.restore_record import RestoreRecord, begun, completed
from etcdfleet.etcd.wal import DataIds
from tests.unit.etcd.test_replacement import CLUSTER_ID, EXPECTED, WELL, cluster, entry, status

HOSTS = ("h1", "h2", "h3")
SOURCE = Source("s.db", "ab" * 32, 10 << 20, 50, 7, minor="3.5", cluster="home", taken="2026-11-26T02:00:00+00:00")
WISH = Wish("home-2", "2026-11-26T18:00:00Z", cluster="home")
NEW_ID = static_ids({"m1": ["https://h1:2380"]}, WISH.token).cluster_id
RECORD = RestoreRecord(SOURCE.sha256, WISH.token, NEW_ID, "h1", 50, 7, 1, WISH.begun)
OLD_MARKER = {"cluster_id": CLUSTER_ID, "members": {"m1": 1}, "version": 2, "token": "home", "restores": 0}
NEW_MARKER = {"cluster_id": NEW_ID, "members": {"m1": 11}, "version": 2, "token": WISH.token, "restores": 1}
NOTED = begun(OLD_MARKER, RECORD)
FIRST_NOTED = {**NEW_MARKER, "restore": NOTED["restore"]}
DONE = completed(NEW_MARKER, RECORD, "2026-11-26T18:10:00Z")
NOBODY = Cluster(EXPECTED[:3], no_list="its member does not answer")
ROOMY = 10 << 30


def ground(number: int, data: int = 0, noted: Any = None, *, running: bool = False, **how: Any) -> Ground:
    """A host with data of this cluster (0 for none), and with this marker."""
    ids = DataIds(number if data == CLUSTER_ID else 10 + number, data, 100) if data else None
    usual: dict[str, Any] = {"free": ROOMY, "etcd": "3.5.1", "enabled": running}
    place = Place(f"h{number}", EXPECTED[number - 1], ids, marked=noted is not None, running=running)
    return Ground(replace(place, **how.pop("place", {})), noted, **{**usual, **how})


def sight(*grounds: Ground, seen: Cluster = NOBODY) -> Sight:
    return Sight(HOSTS, {each.place.host: each for each in grounds}, seen)


def restored(*numbers: int, learner: int = 0) -> Cluster:
    """The restored cluster with these members, whose ids are 11, 12 and 13."""
    entries = [entry(number, id=10 + number, learner=number == learner) for number in numbers]
    answers = [
        replace(status(number, leader=11, cluster_id=NEW_ID, learner=number == learner), member_id=10 + number)
        for number in numbers
    ]
    return replace(cluster(*entries, answering=tuple(answers)), members=MemberList(NEW_ID, tuple(entries)))


WORKING = sight(*(ground(number, CLUSTER_ID, OLD_MARKER, running=True) for number in (1, 2, 3)), seen=WELL)
LOST = sight(*(ground(number, 0, OLD_MARKER, enabled=True) for number in (1, 2, 3)))
BARE = sight(*(ground(number) for number in (1, 2, 3)))
STOPPED = sight(*(ground(number, CLUSTER_ID, OLD_MARKER) for number in (1, 2, 3)))
ALL_NOTED = sight(*(ground(number, CLUSTER_ID, NOTED) for number in (1, 2, 3)))
MOVED = sight(*(ground(number, 0, NOTED) for number in (1, 2, 3)))
PLACED = sight(ground(1, NEW_ID, NOTED), ground(2, 0, NOTED), ground(3, 0, NOTED))
ALONE = sight(ground(1, NEW_ID, FIRST_NOTED, running=True), ground(2, 0, NOTED), ground(3, 0, NOTED), seen=restored(1))
TWO = sight(
    ground(1, NEW_ID, FIRST_NOTED, running=True),
    ground(2, NEW_ID, NEW_MARKER, running=True),
    ground(3, 0, NOTED),
    seen=restored(1, 2),
)
THREE = sight(
    ground(1, NEW_ID, FIRST_NOTED, running=True),
    *(ground(number, NEW_ID, NEW_MARKER, running=True) for number in (2, 3)),
    seen=restored(1, 2, 3),
)
ENDED = sight(*(ground(number, NEW_ID, DONE, running=True) for number in (1, 2, 3)), seen=restored(1, 2, 3))


def with_host(of: Sight, host: Ground, seen: Cluster | None = None) -> Sight:
    return replace(of, grounds={**of.grounds, host.place.host: host}, cluster=seen or of.cluster)


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (WORKING, StopAll(HOSTS)),
        (with_host(STOPPED, ground(2, CLUSTER_ID, OLD_MARKER, enabled=True)), StopAll(("h2",))),
        (LOST, StopAll(HOSTS)),  # nothing runs, but would at the next boot
        (BARE, NoteRestore(HOSTS)),
        (STOPPED, NoteRestore(HOSTS)),
        (with_host(ALL_NOTED, ground(3, CLUSTER_ID, OLD_MARKER)), NoteRestore(("h3",))),
        (with_host(ALL_NOTED, ground(3, CLUSTER_ID, OLD_MARKER, running=True)), StopAll(("h3",))),
        (ALL_NOTED, MoveAside(HOSTS)),
        (with_host(MOVED, ground(2, CLUSTER_ID, NOTED)), MoveAside(("h2",))),
        (with_host(MOVED, ground(2, 0, NOTED, place={"data_unreadable": "its log is gone"})), MoveAside(("h2",))),
        (MOVED, RestoreData("h1")),
        (PLACED, StartRestored("h1")),
        # It runs, and was not compared with the snapshot.
        (with_host(PLACED, ground(1, NEW_ID, NOTED, running=True), restored(1)), StartRestored("h1")),
        # It was, and is stopped again.
        (with_host(PLACED, ground(1, NEW_ID, FIRST_NOTED)), StartRestored("h1")),
        (ALONE, BringIn("h2")),
        (with_host(ALONE, ground(2)), BringIn("h2")),  # its record was taken away before it joins
        (with_host(ALONE, ground(2, NEW_ID, running=True), restored(1, 2, learner=2)), BringIn("h2")),
        (with_host(ALONE, ground(2, CLUSTER_ID, OLD_MARKER, running=True)), BringIn("h2")),  # it was left out before
        (TWO, BringIn("h3")),
        # The first host's note is what says that a restore is under way, so it is the last to go.
        (THREE, Finish(("h2", "h3"))),
        (with_host(THREE, ground(2, NEW_ID, DONE, running=True)), Finish(("h3",))),
        (with_host(ENDED, ground(1, NEW_ID, FIRST_NOTED, running=True)), Finish(("h1",))),
        (ENDED, None),
    ],
)
def test_the_next_step(seen: Sight, step: Any) -> None:
    assert next_step(seen, RECORD) == step


@pytest.mark.parametrize(
    ("seen", "what", "remedy"),
    [
        (sight(ground(2, 0, NOTED), ground(3, 0, NOTED)), "goes on with h1", "--anew --without h1"),
        (with_host(THREE, ground(1, 0, NOTED)), "the restored data of h1 are gone, and h2, h3 has joined", "--anew"),
        (with_host(ALONE, ALONE.grounds["h1"], NOBODY), "runs on h1, and gives no member list", "log there"),
    ],
)
def test_no_next_step(seen: Sight, what: str, remedy: str) -> None:
    step = next_step(seen, RECORD)
    assert isinstance(step, Refusal)
    assert what in step.what
    assert remedy in step.remedy


@pytest.mark.parametrize("seen", [WORKING, LOST, BARE, STOPPED])
def test_a_restore_is_begun(seen: Sight) -> None:
    assert restore_of(seen, SOURCE, WISH) == RECORD


@pytest.mark.parametrize("seen", [with_host(BARE, ground(3, 0, NOTED)), ALL_NOTED, MOVED, PLACED, ALONE, TWO, THREE])
def test_the_one_that_is_under_way_goes_on_whatever_token_the_new_run_would_have_taken(seen: Sight) -> None:
    later = replace(WISH, token="home-3", begun="2026-11-26T19:00:00Z")
    assert restore_of(seen, SOURCE, later) == RECORD
    assert restore_of(seen, SOURCE, replace(later, anew=True)) == RECORD  # of a run that began anew, and was ended


def test_a_completed_one_is_not_done_again_by_the_same_command() -> None:
    assert isinstance(restore_of(ENDED, SOURCE, WISH), Complete)
    later = replace(WISH, token="home-3", anew=True)
    record = restore_of(ENDED, SOURCE, later)
    assert isinstance(record, RestoreRecord)
    assert (record.token, record.restores) == ("home-3", 2)
    other = restore_of(ENDED, replace(SOURCE, sha256="cd" * 32), replace(later, anew=False))
    assert isinstance(other, RestoreRecord)
    assert next_step(ENDED, other) == StopAll(HOSTS)


def test_a_completed_one_is_done_again_where_all_that_was_restored_is_gone() -> None:
    """Before, it was verified for a minute, and the remedy was a deploy, whose remedy is this command."""
    gone = sight(*(ground(number, 0, DONE, enabled=True) for number in (1, 2, 3)))
    record = restore_of(gone, SOURCE, replace(WISH, token="home-3"))
    assert isinstance(record, RestoreRecord)
    assert (record.token, record.restores) == ("home-3", 2)
    assert next_step(gone, record) == StopAll(HOSTS)
    stopped = sight(*(ground(number, 0, DONE) for number in (1, 2, 3)))
    assert next_step(stopped, record) == NoteRestore(HOSTS)
    moved = sight(*(ground(number, 0, begun(DONE, record)) for number in (1, 2, 3)))
    assert next_step(moved, record) == RestoreData("h1")


def test_a_completed_one_is_not_done_again_over_the_only_member_that_is_left() -> None:
    done, of_two = ({**DONE, "members": dict.fromkeys(names, 1)} for names in (("m1", "m2", "m3"), ("m1", "m2")))
    left = sight(ground(1, 0, done), ground(2, NEW_ID, done), ground(3, 0, done))
    refused = restore_of(left, SOURCE, replace(WISH, token="home-3"))
    assert isinstance(refused, Refusal)
    assert "at 2026-11-26T18:10:00Z, and of its 3 members the data are seen on h2 alone" in refused.what
    assert "--from-member h2 --cluster home" in refused.remedy
    assert isinstance(restore_of(left, SOURCE, replace(WISH, token="home-3", anew=True)), RestoreRecord)
    # The same where the others cannot be read and are left out: they are members, too.
    unread = replace(left, hosts=("h2",), grounds={"h2": left.grounds["h2"]})
    assert isinstance(restore_of(unread, SOURCE, replace(WISH, without=frozenset({"h1", "h3"}))), Refusal)
    assert isinstance(restore_of(sight(ground(1, NEW_ID, of_two), ground(2, 0, of_two)), SOURCE, WISH), Refusal)
    # A majority that was stopped is only started, which verify says; of one that was restored without a host, too.
    assert isinstance(restore_of(with_host(left, ground(3, NEW_ID, done)), SOURCE, WISH), Complete)
    two = sight(ground(1, NEW_ID, of_two), ground(2, NEW_ID, of_two), ground(3))
    assert isinstance(restore_of(two, SOURCE, WISH), Complete)
    # A cluster that works is complete, whatever could be read of its data.
    assert isinstance(restore_of(replace(left, cluster=restored(1, 2, 3)), SOURCE, WISH), Complete)


def test_what_was_restored_so_far_counts_as_old_once_it_is_begun_anew() -> None:
    other = replace(SOURCE, sha256="cd" * 32)
    refused = restore_of(PLACED, other, WISH)
    assert isinstance(refused, Refusal)
    assert "another snapshot is under way since 2026-11-26T18:00:00Z" in refused.what
    record = restore_of(PLACED, other, replace(WISH, token="home-3", anew=True))
    assert isinstance(record, RestoreRecord)
    assert next_step(PLACED, record) == NoteRestore(HOSTS)
    noted = sight(ground(1, NEW_ID, begun(NOTED, record)), *(ground(n, 0, begun(NOTED, record)) for n in (2, 3)))
    assert next_step(noted, record) == MoveAside(("h1",))
    assert begun(NOTED, record)["before"] == OLD_MARKER


FULL = 200 << 20
TWO_LEFT = sight(*(ground(number, CLUSTER_ID, OLD_MARKER) for number in (1, 2)))


@pytest.mark.parametrize(
    ("seen", "source", "wish", "what", "remedy"),
    [
        (TWO_LEFT, {}, {}, "h3 cannot be read", "--without h3"),
        (
            STOPPED,
            {},
            {"without": frozenset({"h3"})},
            "h3 is to be left out, and can be reached",
            "leave out --without",
        ),
        (
            with_host(STOPPED, ground(2, place={"foreign": "an etcd runs there"})),
            {},
            {},
            "h2: an etcd runs there",
            "make the inventory say",
        ),
        (
            STOPPED,
            {"minor": "3.6"},
            {},
            "the snapshot is of etcd 3.6, and h1 has 3.5.1, which is older",
            "install etcd 3.6",
        ),
        (
            sight(*(ground(number, etcd="3.6.1") for number in (1, 2, 3))),
            {"minor": "3.4"},
            {},
            "a minor version must not be left out",
            "restore it with etcd 3.4",
        ),
        (
            with_host(STOPPED, ground(2, etcd="3.4.23")),
            {},
            {},
            "different minor versions",
            "that of the snapshot (3.5)",
        ),
        (with_host(STOPPED, ground(2, free=1 << 20)), {}, {}, "h2 has 1.0 MiB", "make room"),
        (
            sight(*(ground(number, free=FULL) for number in (1, 2, 3))),
            {"size": 30 << 20},
            {},
            "on one of them, for the snapshot and the restored data",
            "make room",
        ),
        (STOPPED, {}, {"bump": 10}, "etcd 3.5.1 cannot raise revisions", "--no-bump-revision"),
        (
            STOPPED,
            {"cluster": "other"},
            {},
            "of another cluster, other",
            "--clone other, and home becomes a copy of it",
        ),
        (
            STOPPED,
            {"cluster": "other"},
            {"clone": "third"},
            "of cluster other, and not of third",
            "a snapshot of third",
        ),
        (STOPPED, {}, {"clone": "third"}, "of cluster home, and not of third", "a snapshot of third"),
        (STOPPED, {"auth": True, "roots": ("root", "x")}, {"user": "ops"}, "ops, the user in", "that has: root, x"),
        (STOPPED, {"auth": True, "roots": ("root",)}, {"user": ""}, "without TLS for clients", "client_tls: true"),
        (PLACED, {}, {"bump": 10}, "begun without --bump-revision", "--anew"),
    ],
)
def test_a_restore_that_must_not_be_begun(seen: Sight, source: Any, wish: Any, what: str, remedy: str) -> None:
    refused = restore_of(seen, replace(SOURCE, **source), replace(WISH, **wish))
    assert isinstance(refused, Refusal)
    assert what in refused.what
    assert remedy in refused.remedy


@pytest.mark.parametrize(
    ("source", "wish"),
    [
        ({"cluster": "other"}, {"clone": "other"}),
        ({"cluster": ""}, {}),  # somebody else took it, and nothing says of which cluster
        ({"cluster": ""}, {"clone": "other"}),
        ({"auth": True, "roots": ("root",)}, {}),
        ({"roots": ()}, {"user": ""}),
    ],
)
def test_a_copy_of_another_cluster_where_both_are_named(source: Any, wish: Any) -> None:
    assert isinstance(restore_of(STOPPED, replace(SOURCE, **source), replace(WISH, **wish)), RestoreRecord)


def test_one_minor_older_is_an_upgrade_and_an_unknown_one_is_no_reason() -> None:
    for minor in ("3.4", ""):
        assert isinstance(restore_of(STOPPED, replace(SOURCE, minor=minor), WISH), RestoreRecord)


def test_the_first_host_with_room_for_the_snapshot_gets_it() -> None:
    seen = with_host(STOPPED, ground(1, CLUSTER_ID, OLD_MARKER, free=FULL))
    record = restore_of(seen, replace(SOURCE, size=30 << 20), WISH)
    assert isinstance(record, RestoreRecord)
    assert record.host == "h2"


def test_a_host_that_is_left_out_takes_no_part() -> None:
    wish = replace(WISH, without=frozenset({"h3"}))
    assert restore_of(TWO_LEFT, SOURCE, wish) == RECORD
    assert next_step(TWO_LEFT, RECORD) == NoteRestore(("h1", "h2"))
    assert any("h3 is left out" in text for text in losses(TWO_LEFT, SOURCE, wish, "home"))
    cut_off = sight(ground(1))
    told = " ".join(losses(cut_off, SOURCE, replace(WISH, without=frozenset({"h2", "h3"})), "home"))
    assert "h2, h3 are a majority: if they are only cut off from here, they may serve the old data" in told


@pytest.mark.parametrize(
    ("seen", "source", "told"),
    [
        (
            WORKING,
            {"revision": 45},
            "the cluster works, and is at revision 50, the snapshot at 45: the 5 changes since",
        ),
        (WORKING, {"revision": 50}, "the cluster is at revision 50, the snapshot at 50"),
        (STOPPED, {}, "no member answers"),
        (
            STOPPED,
            {"cluster": "other", "users": ("a", "root")},
            "A COPY OF ANOTHER CLUSTER, other: all of its keys come,",
        ),
        (STOPPED, {"cluster": "other", "users": ("a", "root")}, "its users (a, root) with their passwords"),
        (STOPPED, {"cluster_id": 0xABC}, "the snapshot is of cluster abc, and not of"),
        (STOPPED, {"cluster": "", "peer_urls": ("https://x:2380",)}, "none of the members in the snapshot"),
        (STOPPED, {"alarms": ("CORRUPT",)}, "what is in it may be wrong"),
    ],
)
def test_what_a_person_is_told_before(seen: Sight, source: Any, told: str) -> None:
    assert any(told in text for text in losses(seen, replace(SOURCE, **source), WISH, "home"))


# ---- a lone survivor -------------------------------------------------------------------------------------------------

FROM_2 = replace(WISH, survivor="h2")
LONE = sight(ground(1, 0, OLD_MARKER), ground(2, CLUSTER_ID, OLD_MARKER, running=True), ground(3, 0))


def test_a_lone_survivor() -> None:
    assert unfit_survivor(LONE, FROM_2) is None
    record = restore_of(LONE, SOURCE, FROM_2)
    assert isinstance(record, RestoreRecord)
    assert record.survivor == "h2"
    assert beside_survivor(LONE, FROM_2) == ["no other host holds data"]
    assert any("h1, h3 holds data, too" in text for text in beside_survivor(STOPPED, FROM_2))
    two = Cluster(EXPECTED[:3], WELL.members, (status(1, index=120), status(2)), ())
    told = beside_survivor(replace(STOPPED, cluster=two), FROM_2)
    assert "h1 has applied more (raft index 120, and not 100)" in told
    assert "h3 holds data, too, and does not answer: what it has more is lost" in told


@pytest.mark.parametrize(
    ("seen", "wish", "what", "remedy"),
    [
        (WORKING, {}, "a majority of the cluster works", "replace_member.py HOST"),
        (LONE, {"survivor": "h1"}, "no data of a member can be read on h1", "there are data on h2"),
        (BARE, {}, "no data of a member can be read on h2", "restore.py --cluster NAME"),
        (
            with_host(LONE, ground(2, CLUSTER_ID, place={"data_unreadable": "its log is gone"})),
            {},
            "on h2 (its log is gone)",
            "restore.py --cluster NAME",
        ),
        (sight(ground(2, CLUSTER_ID)), {}, "h1, h3 cannot be read", "--without h1"),
        (LONE, {"bump": 10}, "etcd 3.5.1 cannot raise revisions", "--no-bump-revision"),
    ],
)
def test_no_survivor(seen: Sight, wish: Any, what: str, remedy: str) -> None:
    refused = unfit_survivor(seen, replace(FROM_2, **wish))
    assert isinstance(refused, Refusal)
    assert what in refused.what
    assert remedy in refused.remedy


def test_one_that_was_completed_from_a_survivor_is_known_by_its_host() -> None:
    record = replace(RECORD, survivor="h2")
    ended = completed(NEW_MARKER, record, "then")
    seen = sight(*(ground(n, NEW_ID, ended, running=True) for n in (1, 2, 3)), seen=restored(1, 2, 3))
    found = done_from(seen, "h2")
    assert found is not None
    assert found.record.survivor == "h2"
    assert done_from(seen, "h1") is None
    assert done_from(replace(seen, cluster=NOBODY), "h2") is None
    assert done_from(replace(seen, cluster=WELL), "h2") is None


# ---- a run that is killed anywhere -----------------------------------------------------------------------------------


class Killed(BaseException):
    """kill -9."""


@dataclass
class Host:
    data: int = CLUSTER_ID
    noted: Any = field(default_factory=lambda: OLD_MARKER)
    running: bool = True
    enabled: bool = True
    writes: int = 0
    """How many writes of clients the data hold."""
    kept: list[tuple[int, int]] = field(default_factory=list)


class World:
    """Three hosts, on which each single act of a step may be the last one of a run."""

    def __init__(self, acts: int) -> None:
        self.hosts = {host: Host(writes=9) for host in HOSTS}
        self.acts_left = acts
        self.restores = 0

    def act(self) -> None:
        if self.acts_left == 0:
            raise Killed
        self.acts_left -= 1

    def joined(self) -> list[int]:
        return [n for n, host in enumerate(self.hosts.values(), 1) if host.running and host.data == self.new_id()]

    def new_id(self) -> int:
        return next((h.data for h in self.hosts.values() if h.data not in (0, CLUSTER_ID)), -1)

    def look(self) -> Sight:
        grounds = [
            ground(n, host.data, host.noted, running=host.running, enabled=host.enabled)
            for n, host in enumerate(self.hosts.values(), 1)
        ]
        seen = NOBODY
        if numbers := self.joined():
            seen = restored(*numbers)
            seen = replace(seen, members=MemberList(self.new_id(), seen.entries))
        elif all(host.running for host in self.hosts.values()):
            seen = WELL
        return sight(*grounds, seen=seen)

    def run(self, token: str) -> None:
        """One run of the runbook."""
        decided = restore_of(self.look(), SOURCE, replace(WISH, token=token, begun=token))
        if isinstance(decided, Complete):
            return
        assert isinstance(decided, RestoreRecord), decided
        for _ in range(20):
            step = next_step(self.look(), decided)
            if step is None:
                return
            self.carry_out(step, decided)
        raise AssertionError("it does not come to an end")

    def carry_out(self, step: Any, record: RestoreRecord) -> None:
        hosts = [self.hosts[name] for name in getattr(step, "hosts", ())] or [self.hosts[step.host]]
        for host in hosts:
            self.act()
            match step:
                case StopAll():
                    host.running = host.enabled = False
                case NoteRestore():
                    assert not host.running
                    host.noted = begun(host.noted, record)
                case MoveAside():
                    assert not any(each.running for each in self.hosts.values())
                    host.kept.append((host.data, host.writes))
                    host.data = host.writes = 0
                case RestoreData():
                    assert host.data == 0
                    host.data, host.writes, self.restores = record.cluster_id, 0, self.restores + 1
                case StartRestored():
                    host.enabled = True
                    self.act()
                    host.running = True
                    host.writes += 1  # clients are back at once
                    self.act()
                    assert host.noted is not None
                    host.noted = {**NEW_MARKER, "cluster_id": record.cluster_id, "restore": host.noted["restore"]}
                case BringIn():
                    host.noted = None
                    self.act()
                    host.data, host.running, host.enabled = record.cluster_id, True, True
                    host.writes = self.hosts[record.host].writes
                    self.act()
                    host.noted = {**NEW_MARKER, "cluster_id": record.cluster_id}
                case Finish():
                    host.noted = completed(host.noted or {}, record, "done")


def acts_of_a_whole_run() -> int:
    world = World(1000)
    world.run("t0")
    return 1000 - world.acts_left


@pytest.mark.parametrize("first", range(acts_of_a_whole_run() + 1))
def test_a_run_that_is_killed_anywhere_is_completed_and_restores_once(first: int) -> None:
    """Killed twice, at any act and at any one after it; nothing that clients wrote since is restored over."""
    for second in range(acts_of_a_whole_run() + 1):
        world = World(first)
        for number, more in enumerate((second, 1000)):
            try:
                world.run(f"t{number}")
            except Killed:
                world.acts_left = more
        world.acts_left = 1000
        world.run("t2")
        world.run("t3")
        assert {host.data for host in world.hosts.values()} == {world.new_id()}
        assert all(host.running and host.enabled for host in world.hosts.values())
        assert {host.noted["restore"]["done"] for host in world.hosts.values()} == {"done"}
        assert {host.noted["token"] for host in world.hosts.values()} <= {"t0", "t1", "t2"}
        assert world.restores == 1
        assert min(host.writes for host in world.hosts.values()) >= 1
        assert [host.kept for host in world.hosts.values()] == [[(CLUSTER_ID, 9)]] * 3


def test_a_member_that_was_never_started_is_not_taken_for_one() -> None:
    """Its entry is in the list, its data are not there: it is brought in, and the restore is not complete."""
    waiting = Member(12, "", ("https://h2:2380",), (), learner=True)
    seen = replace(restored(1), members=MemberList(NEW_ID, (entry(1, id=11), waiting)))
    assert next_step(with_host(ALONE, ground(2), seen), RECORD) == BringIn("h2")
