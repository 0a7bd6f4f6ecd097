"""The wait for a started member: how it ends early, and with whose words."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from etcdfleet.checks.log import last_words
from etcdfleet.drivers.init import Service
from etcdfleet.errors import ProtectionError, VerificationError
from etcdfleet.etcd.start_model import Bootstrap, Join, Rolling
from etcdfleet.host.facts import FileFacts
from etcdfleet.host.paths import CONFIG, ESTABLISHED
from etcdfleet.remote import CommandResult, RemoteFile
from tasks import programs, start
from tasks.observe import Observed, Site
from tasks.start import keep_running, restart_member, run_and_wait, start_member
from tests.unit.support.site import LocalHost, apt, settings
from tests.unit.support.stand_ins import (
    REFUSED,
    RUNNING,
    STOPPED,
    Clock,
    Packages,
    Place,
    Scripted,
    carry_out,
    error_of,
    healths,
    member_list,
    statuses,
)
from tests.unit.support.stand_ins import seen as observed

FATAL = '{"level":"fatal","ts":"2026-11-25T21:36:08.975Z","msg":"failed","error":"mkdir /x: permission denied"'
STACK = ',"stacktrace":"go.etcd.io/etcd/server/v3/\\n\\t\\"quoted\\" /tmp/x.go:358"}'
NOTE = '{"level":"info","ts":"2026-11-25T21:36:09.000Z","msg":"starting an etcd server"}'
SYSTEMD = """etcd.service: Main process exited, code=exited, status=1/FAILURE
etcd.service: Failed with result 'exit-code'.
Failed to start etcd.service - etcd member a of cluster b.
etcd.service: Scheduled restart job, restart counter is at 3.
Stopped etcd.service - etcd member a of cluster b.
Starting etcd.service - etcd member a of cluster b..."""


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (f"{NOTE}\n{FATAL}{STACK}\n{SYSTEMD}\n{NOTE}", FATAL + "}"),
        # The same at each start is said once.
        (f"{FATAL}{STACK}\n{FATAL.replace('21:36', '21:35')}{STACK}", FATAL.replace("21:36", "21:35") + "}"),
        ("2026-11-25 21:36:08.9 I | etcdmain: started\n2026-11-25 21:36:08.9 C | etcdmain: no disk", "no disk"),
        (f"{SYSTEMD}\nnot started: no data in /x\netcd.service: Skipped due to 'exec-condition'.", "not started: no"),
        (
            "etcd.service: Failed at step EXEC spawning /usr/bin/etcd: Exec format error\n" + SYSTEMD,
            "Exec format error",
        ),
        # Nothing but notes: the last of them.
        (f"{NOTE}\n{NOTE[:-1]} }}", NOTE),
        ("", ""),
    ],
)
def test_the_last_words_are_those_that_tell_something(log: str, words: str) -> None:
    said = last_words(log)
    assert words in said
    assert "stacktrace" not in said
    assert said.count("permission denied") <= 1
    assert bool(words) == bool(said)


@dataclass
class Init:
    """An init system as the test wants it."""

    respawns: str = "echo 0"
    gave_up: str = "false"
    name: str = "systemd"

    def logs(self, lines: int) -> str:
        return f"echo '{FATAL}}}' # {lines}"


class Quiet(LocalHost):
    """This machine, without its files."""

    def _exec(self, command: str, stdin: bytes, timeout: float) -> CommandResult:
        return super()._exec(command, stdin.replace(b"/run/etcdfleet", b"/nonexistent"), timeout)


# Many ends before, and one more each second.
COUNTING = "date +%s"


@pytest.mark.parametrize(
    ("action", "init", "what"),
    [
        ("true", Init(respawns=COUNTING), "etcd ended 4 times in a row soon after its start"),
        ("true", Init(respawns="echo 9", gave_up="true"), "etcd does not stay up, and systemd does not start it again"),
        ("echo 'etcd does not exist' >&2; false", Init(), "systemd could not start etcd: etcd does not exist"),
    ],
)
def test_a_wait_that_cannot_end_well_ends_early(action: str, init: Any, what: str) -> None:
    site = Site(settings(client_tls=False), Quiet(), cast(Service, init), apt(), observed())
    with pytest.raises(VerificationError) as caught:
        run_and_wait(site, action)
    assert caught.value.what.startswith(what)
    assert "permission denied" in caught.value.what


# The steps, of which this is the wait.

START, RESTART = "systemctl start --no-block etcd.service", "systemctl stop etcd.service"
AGREE = {"member list": member_list(), "endpoint status": statuses(1, 2, 3), "endpoint health": healths(1, 2, 3)}
NOTED: Any = {"cluster_id": "9"}
JOIN, BOOTSTRAP = Join(("az-1",)), Bootstrap(("az-1", "az-2", "az-3"))


def seen(*args: Any, **facts: Any) -> Observed:
    """What was observed of a good host that has its configuration."""
    return configured(observed(*args, **facts))


def on(
    *states: Observed, packages: Packages | None = None, first: dict[str, Any] | None = None, **answers: Any
) -> tuple[Scripted, Place]:
    """The host az-1; ``answers`` by the names of `AGREE`, with _ for a blank. ``first`` counts before them."""
    said = {text: answers.get(text.replace(" ", "_"), usual) for text, usual in AGREE.items()}
    # First, since the wait for a start asks for the health as well.
    host = Scripted({**(first or {}), "/proc/uptime": answers.get("wait", ""), **said})
    return host, Place(host, *(states or (seen(),)), packages=packages)


def configured(observed: Observed, content: bytes | None = b"initial-cluster-state: existing\n") -> Observed:
    """The same host with this configuration (None: with none)."""
    files = {} if content is None else {CONFIG: FileFacts(content, 0o644, "root", "root")}
    return replace(observed, facts=replace(observed.facts, files=files))


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "time", Clock())


@pytest.mark.parametrize(
    ("established", "listed", "check", "noted"),
    [
        (None, member_list(), False, True),
        (None, member_list(), True, False),
        (None, member_list(3), False, False),  # it has not joined yet
        (None, "", False, False),
        (NOTED, member_list(), False, False),
    ],
    ids=["first", "check", "incomplete", "no answer", "noted already"],
)
def test_that_a_member_belongs_to_a_working_cluster_is_noted_once(
    established: Any, listed: str, check: bool, noted: bool
) -> None:
    host, site = on(seen(RUNNING, established=established), member_list=listed)
    result = carry_out(keep_running, site, check=check)
    assert (result.changed, ESTABLISHED in host.placed) == (noted, noted)
    assert not host.was_sent("systemctl")
    if noted:
        assert json.loads(host.placed[ESTABLISHED])["cluster_id"] == 9


OF_VERSION_1: Any = {"cluster_id": 9, "members": {"az-1": 1, "az-2": 2, "az-3": 3}}


@pytest.mark.parametrize(
    ("how", "check", "changed"),
    [
        ({}, False, True),
        ({}, True, True),
        ({"restart_pending": "another version"}, False, False),
        ({"established": {**OF_VERSION_1, "version": 2, "token": "x", "restores": 0, "etcd": "3.5"}}, False, False),
    ],
    ids=["version 1", "check", "a restart is due", "complete"],
)
def test_a_marker_of_the_first_version_is_completed_without_a_restart(how: Any, check: bool, changed: bool) -> None:
    host, site = on(seen(RUNNING, **{"established": OF_VERSION_1, **how}))
    result = carry_out(keep_running, site, check=check)
    assert (result.changed, ESTABLISHED in host.placed) == (changed, changed and not check)
    assert not host.was_sent("systemctl")
    assert not host.was_sent("etcdctl"), "no member is asked for that"
    if ESTABLISHED in host.placed:
        noted = json.loads(host.placed[ESTABLISHED])
        assert noted == {**OF_VERSION_1, "version": 2, "token": "k8s-home", "restores": 0, "etcd": "3.5"}


def test_a_marker_follows_the_version_that_a_restart_has_brought() -> None:
    older = {**OF_VERSION_1, "version": 2, "token": "first", "restores": 1, "etcd": "3.4"}
    host, site = on(seen(RUNNING, established=older))
    assert carry_out(restart_member, site).result.changed
    assert json.loads(host.placed[ESTABLISHED]) == {**older, "etcd": "3.5"}


@pytest.mark.parametrize("task", [start_member, restart_member])
def test_check_starts_nothing(task: Any) -> None:
    host, site = on(seen(RUNNING))
    result = carry_out(task, site, check=True)
    assert (result.changed, result.failed, host.sent) == (True, False, [])


@pytest.mark.parametrize(
    ("service", "plan", "sent", "change"),
    [
        (STOPPED, None, START, "etcd is started"),
        (STOPPED, BOOTSTRAP, START, "etcd is started"),
        (STOPPED, JOIN, START, "etcd joins the cluster"),
        (RUNNING, BOOTSTRAP, RESTART, "etcd is restarted"),  # it waits in vain for members that another plan named
    ],
)
def test_a_member_is_started_until_all_have_shown_up(service: Any, plan: Any, sent: str, change: str) -> None:
    host, site = on(seen(service, established=None), member_list=[member_list(2, 3), member_list(3), member_list()])
    result = carry_out(start_member, site, plan=plan)
    assert not result.failed, result.exception
    assert host.was_sent(sent)
    assert host.was_sent(RESTART) is (sent == RESTART)
    assert result.result.changes[0] == change
    assert ESTABLISHED in host.placed, "complete: from now on a start without data must fail"


def test_members_that_can_join_only_later_are_not_waited_for() -> None:
    host, site = on(seen(STOPPED), member_list=member_list(3))
    result = carry_out(start_member, site, plan=Rolling((), ("az-1", "az-2"), ("az-3",)))
    assert result.result.summary == "started, healthy; az-3 can join now"
    assert host.placed == {}, "incomplete: nothing is noted"


@pytest.mark.parametrize(("listed", "what"), [(member_list(3), "198.51.100.13"), ("", "no member list could be had")])
def test_a_cluster_that_does_not_become_complete_is_an_error(listed: str, what: str) -> None:
    host, site = on(seen(STOPPED), member_list=listed)
    error = error_of(carry_out(start_member, site))
    assert what in error or "etcd.az3.k8s.home" in error
    assert host.placed == {}


def test_a_start_that_fails_is_told_with_the_log() -> None:
    host, site = on(seen(STOPPED), wait=CommandResult(76, "", ""), first={"journalctl": FATAL + "}"})
    error = error_of(carry_out(start_member, site))
    assert "does not stay up" in error
    assert "permission denied" in error
    assert host.placed == {}


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"endpoint_health": healths(1, 2, 3, sick=[3])}, "az-3 is not healthy"),
        ({"endpoint_status": statuses(1, 2)}, "az-3 does not answer"),
        ({"member_list": member_list(2)}, "has never started"),
        ({"member_list": "", "endpoint_status": ""}, "no member answers"),
        ({"endpoint_status": statuses(1, 2, 3, az3=9000)}, "entries behind"),
    ],
)
def test_a_member_is_not_taken_down_where_the_others_cannot_do_without_it(answers: Any, why: str) -> None:
    host, site = on(seen(RUNNING), **answers)
    result = carry_out(restart_member, site)
    assert isinstance(result.exception, ProtectionError)
    assert why in error_of(result)
    assert not host.was_sent("systemctl")
    assert not host.was_sent("move-leader")


def test_a_member_that_does_not_answer_may_be_restarted_where_the_others_do() -> None:
    own = [CommandResult(1, "", "refused")] * 4
    host, site = on(
        seen(RUNNING, established=NOTED),
        member_list=[own[0], own[0], member_list()],  # by https, by http, and from the others
        endpoint_status=[own[0], own[0], statuses(2, 3, leader=2), statuses(1, 2, 3, leader=2)],
    )
    result = carry_out(restart_member, site)
    assert not result.failed, result.exception
    assert host.was_sent(RESTART)


UNREADABLE = [None, b"", b"a: [", b"\0" * 512]


@pytest.mark.parametrize("task", [start_member, restart_member])
@pytest.mark.parametrize("content", UNREADABLE)
def test_etcd_is_not_started_with_a_configuration_that_it_cannot_read(
    task: Any, content: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "desired_files", lambda *_: [RemoteFile(CONFIG, b"name: az-1\n")])
    state = seen(RUNNING if task is restart_member else STOPPED, established=NOTED)
    host, site = on(configured(state, content), state)
    result = carry_out(task, site)
    assert not result.failed, result.exception
    assert host.placed == {CONFIG: b"name: az-1\n"}
    assert f"{CONFIG} is placed anew" in result.result.changes


@pytest.mark.parametrize("content", UNREADABLE)
def test_nothing_is_placed_where_the_others_cannot_do_without_a_member(content: bytes | None) -> None:
    host, site = on(configured(seen(RUNNING, established=NOTED), content), endpoint_health=healths(1, 2, 3, sick=[3]))
    assert isinstance(carry_out(restart_member, site).exception, ProtectionError)
    assert host.placed == {}


@pytest.mark.parametrize(("leader", "moves"), [(1, True), (2, False)])
def test_a_leader_hands_over_before_its_restart(leader: int, moves: bool) -> None:
    host, site = on(seen(RUNNING, established=NOTED), endpoint_status=statuses(1, 2, 3, leader=leader))
    result = carry_out(restart_member, site)
    assert not result.failed, result.exception
    assert [change.partition(" to ")[0] for change in result.result.changes] == [
        *(["leadership moves"] if moves else []),
        "etcd is restarted",
    ]
    actions = [script for script in host.sent if "move-leader" in script or RESTART in script]
    assert ["move-leader" in script for script in actions] == ([True, False] if moves else [False])


def test_a_leadership_that_cannot_be_moved_stops_the_restart() -> None:
    host, site = on(seen(RUNNING), first={"move-leader": REFUSED})
    assert "moving the leadership" in error_of(carry_out(restart_member, site))
    assert not host.was_sent(RESTART)


def test_nothing_is_restarted_once_the_lock_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(_: Any) -> None:
        raise ProtectionError("another run has the lock")

    monkeypatch.setattr(start, "still_ours", lost)
    host, site = on(seen(RUNNING))
    assert "another run has the lock" in error_of(carry_out(restart_member, site))
    assert not host.was_sent("systemctl")
    assert not host.was_sent("move-leader")


def test_a_restarted_member_must_catch_up() -> None:
    before, behind = statuses(1, 2, 3, leader=2), statuses(1, 2, 3, leader=2, az2=9000, az3=9000)
    host, site = on(seen(RUNNING, established=NOTED), endpoint_status=[before, before, behind])
    error = error_of(carry_out(restart_member, site))
    assert "az-1 is 8950 entries behind" in error
    assert host.was_sent(RESTART)


def test_a_restart_waits_while_the_member_catches_up() -> None:
    good, behind = statuses(1, 2, 3, leader=2), statuses(1, 2, 3, leader=2, az2=9000, az3=9000)
    pending = seen(RUNNING, established=NOTED, restart_pending="changed: /etc/etcd/conf.yml")
    _, site = on(pending, endpoint_status=[good, good, behind, behind, good])
    result = carry_out(restart_member, site)
    assert not result.failed, result.exception
    assert result.result.summary == "restarted (changed: /etc/etcd/conf.yml)"
    assert result.result.facts == {"version": "3.5.16"}


def test_a_program_that_is_due_takes_its_place_between_two_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "place_differing", lambda *_: None)
    host, site = on(seen(RUNNING, established=NOTED), packages=(packages := Packages("3.4.23 is installed")))
    result = carry_out(restart_member, site, programs=True)
    assert not result.failed, result.exception
    assert packages.done == ["installed"]
    assert result.result.changes[0].startswith("etcd 3.5.16 takes the place")
    restarted = [RESTART in script for script in host.sent].index(True)
    gates = [script for script in host.sent[:restarted] if "endpoint health" in script]
    assert len(gates) == 2, "the installation may have taken minutes"


def test_a_program_that_is_due_stays_where_the_gate_is_closed() -> None:
    host, site = on(seen(RUNNING), packages=(packages := Packages("3.4.23 is installed")), endpoint_status=statuses(1))
    assert carry_out(restart_member, site, programs=True).failed
    assert packages.done == []
    assert not host.was_sent("systemctl")
