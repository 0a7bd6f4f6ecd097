"""The hops of an upgrade: their order, what comes before and after each, and what stops them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from etcdfleet.drivers.packages.archive import ArchiveInstall
from etcdfleet.errors import Refusal, VerificationError
from etcdfleet.etcd.answers import EndpointStatus, HashKV, Member, MemberList
from etcdfleet.etcd.canary import Hold
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.hops import Supply
from etcdfleet.etcd.upgrades import MemberVersion
from etcdfleet.program.run import Program, Run
from etcdfleet.report.record.model import ExitCode
from etcdfleet.settings.models import HostSettings
from plays import lock, members, upgrade, versions
from plays.options import UpgradeOptions
from tasks.upgrades import VersionsSeen
from tests.unit.support.fake_run import Stage, program_of, raises, run_of, statuses, step
from tests.unit.support.site import settings

HOSTS = ("h1", "h2", "h3")
ALL = ("3.5.33", "3.6.14", "3.7.1")
STEPS = ("plan", *upgrade.STEPS)
HOLD = Hold("h2", "3.5.33", "3.6.14", "today")


def host(name: str) -> HostSettings:
    releases = {version: {"amd64": {"file": "x", "sha256": version[2] * 64}} for version in ALL}
    install = ArchiveInstall.model_validate({"version": "3.7.1", "releases": releases})
    one = settings()
    member, cluster = one.member.model_copy(update={"name": name}), one.cluster.model_copy(update={"name": "home"})
    return replace(one, name=name, member=member, cluster=cluster, install=install)


def cluster(**changes: Any) -> Cluster:
    """Three members that are well, led by the first."""
    entries = tuple(Member(number, name, (), ("https://x",)) for number, name in enumerate(HOSTS, 1))
    found = tuple(
        EndpointStatus(f"https://h{number}", number, 9, "3.4.23", 1, 1, 1, 2, 20, 20, 7) for number in (1, 2, 3)
    )
    return replace(Cluster((), MemberList(9, entries), found), **changes)


class Staged(Stage):
    """What happened, in order: ``hop`` with the version that the run wanted of all hosts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, running: str, **options: Any) -> None:
        super().__init__(monkeypatch)
        self.happened: list[str] = []
        self.hold: Hold | None = None
        self.fails: str = ""
        self.saved: Any = None
        self.entering: tuple[str, ...] = ()
        seen = [MemberVersion(name, running, running, data=True) for name in HOSTS]

        def look(run: Run[Any]) -> Any:
            looks = [VersionsSeen(one, held=self.hold if one.host == "h2" else None) for one in seen]
            at = [replace(one, running="3.6.14" if self.hold and one.host == "h2" else running) for one in seen]
            at = [replace(one, brings=run.members[0].install.version) for one in at]
            return at, "", looks

        for name in ("admit", "converge"):
            monkeypatch.setattr(upgrade, name, lambda run, name=name, **_: self.note(name, run))
        monkeypatch.setattr(versions, "look", look)
        monkeypatch.setattr(versions, "refuse_unfit", lambda run, **_: self.note("checked", run))
        monkeypatch.setattr(lock, "take", lambda run: self.note("lock", run))
        monkeypatch.setattr(members, "see", lambda *_: cluster())
        monkeypatch.setattr(members, "save_proven", self.save)
        self.put(upgrade, "look_at_supply", lambda name: Supply(name, "amd64", "release archive", ALL, "3.7.1"))
        self.put(upgrade, "see_hashes", lambda _: cluster())
        monkeypatch.setattr(versions, "dangers", self.dangers)
        for task in ("tell_plan", "end_hold", "hold_back", "prove_version"):
            self.put(upgrade, task)
        self.program: Program[Any] = program_of(
            options.pop("own", UpgradeOptions()),
            fleet=dict.fromkeys(HOSTS, "home"),
            member=host,
            steps=STEPS,
            **options,
        )

    def note(self, what: str, run: Run[Any]) -> None:
        wanted = {one.install.version for one in run.members}
        self.happened.append(f"{what} {' '.join(sorted(map(str, wanted)))} on {' '.join(run.hosts)}")
        if self.happened[-1].startswith(self.fails or "-"):
            run.step("verify", step(raises(VerificationError("x"))))

    def save(self, run: Run[Any], *_: Any) -> Any:
        self.note("backup", run)
        return self.saved

    def dangers(self, _: Run[Any], entering: Any) -> tuple[list[Refusal], Any]:
        self.entering = tuple(entering)
        return [Refusal("data are not fit", self.entering, "mend them")], {}

    def play(self) -> None:
        self.program.play(upgrade.upgrade)

    @property
    def exit_code(self) -> int:
        return self.program.record.finish().exit_code


def test_each_hop_is_a_backup_a_deploy_and_a_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    staged = Staged(monkeypatch, "3.4.23", yes=True)
    staged.play()
    every = " ".join(HOSTS)
    assert staged.happened == [
        f"{what} {version} on {every}"
        for version in ALL
        for what in ("admit", "lock", "checked", "backup", "converge")
        if what != "lock" or version == "3.5.33"
    ]
    assert sorted(staged.hosts("prove_version")) == sorted(HOSTS * 3)
    assert staged.hosts("see_hashes") == ["h1"] * 4, "before the first, for a run that was ended, and after each"
    assert staged.exit_code == ExitCode.OK
    assert staged.program.record.record.warnings == [], "the inventory says 3.7.1"
    (said,) = staged.program.terminal.said  # type: ignore[attr-defined]
    assert said.startswith("home: from etcd 3.4.23 to 3.7.1 in 3 hops")
    assert {str(one.install.version) for one in run_of(staged.program).members} == {"3.7.1"}


def test_check_tells_the_plan_and_takes_no_hop(monkeypatch: pytest.MonkeyPatch) -> None:
    staged = Staged(monkeypatch, "3.4.23", check=True)
    staged.play()
    assert staged.happened == [f"checked 3.5.33 on {' '.join(HOSTS)}"]
    assert "3.4.23 → 3.5.33 → 3.6.14 → 3.7.1" in staged.program.record.record.warnings[0].text
    assert staged.given["tell_plan"]["summary"] == "3.4.23 → 3.5.33 → 3.6.14 → 3.7.1"
    assert staged.exit_code == ExitCode.OK


@pytest.mark.parametrize("answer", [False, None])
def test_nothing_is_done_without_a_yes(monkeypatch: pytest.MonkeyPatch, answer: bool | None) -> None:
    staged = Staged(monkeypatch, "3.6.14", answer=answer)
    staged.play()
    assert staged.happened == []
    assert staged.exit_code == ExitCode.PROTECTED


def test_another_version_than_the_inventorys_is_to_be_written_there(monkeypatch: pytest.MonkeyPatch) -> None:
    staged = Staged(monkeypatch, "3.4.23", yes=True, own=UpgradeOptions(to="3.5.33"))
    staged.play()
    assert [line for line in staged.happened if "converge" in line] == [f"converge 3.5.33 on {' '.join(HOSTS)}"]
    (warning,) = staged.program.record.record.warnings
    assert "write install.version: 3.5.33 into the inventory (it has 3.7.1)" in warning.text


def test_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    staged = Staged(monkeypatch, "3.7.1")
    staged.play()
    assert (staged.happened, staged.exit_code) == ([], ExitCode.OK)
    assert set(statuses(staged.program, "h1").values()) == {"ok", "skipped"}


@pytest.mark.parametrize("fails", ["converge 3.6.14", "admit 3.6.14"])
def test_a_hop_that_fails_is_the_last(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    staged = Staged(monkeypatch, "3.4.23", yes=True)
    staged.fails = fails
    staged.play()
    assert not any("3.7.1" in line for line in staged.happened)
    assert staged.exit_code == ExitCode.FAILED


def test_a_hop_that_is_not_proven_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    staged = Staged(monkeypatch, "3.4.23", yes=True)
    staged.put(upgrade, "prove_version", lambda name: VerificationError("x") if name == "h3" else None)
    staged.play()
    assert not any("3.6.14" in line for line in staged.happened)
    assert staged.exit_code == ExitCode.FAILED


@pytest.mark.parametrize(("when", "taken"), [("before", False), ("after", True)])
def test_different_data_around_a_hop_end_it(monkeypatch: pytest.MonkeyPatch, when: str, taken: bool) -> None:
    staged = Staged(monkeypatch, "3.6.14", yes=True)
    hashes = tuple(HashKV(f"https://h{number}", number, 7, -1) for number in (1, 2, 3))
    looks = iter([cluster(), cluster(hashes=hashes)] if taken else [cluster(hashes=hashes)])
    staged.put(upgrade, "see_hashes", lambda _: next(looks))
    staged.play()
    (protection,) = staged.program.record.record.protections
    assert f"{when} the hop to etcd 3.7.1, members do not hold the same data" in protection.what
    assert any("converge" in line for line in staged.happened) is taken


def test_without_a_backup_there_is_no_hop(monkeypatch: pytest.MonkeyPatch) -> None:
    staged = Staged(monkeypatch, "3.6.14", yes=True)
    staged.saved = Refusal("the disk is full", (), "make room")
    staged.play()
    assert not any("converge" in line for line in staged.happened)
    (protection,) = staged.program.record.record.protections
    assert ("the disk is full" in protection.what, protection.remedy) == (True, "make room")


def test_a_part_of_a_cluster_is_not_upgraded(monkeypatch: pytest.MonkeyPatch) -> None:
    staged = Staged(monkeypatch, "3.6.14", yes=True, left_out={"h4": "home"})
    staged.play()
    assert staged.happened == []
    assert "h4 takes no part" in staged.program.record.record.protections[0].what


def test_a_canary_is_a_follower_and_the_others_are_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    staged = Staged(monkeypatch, "3.5.33", yes=True, own=UpgradeOptions(canary=True))
    staged.play()
    assert [line for line in staged.happened if "converge" in line] == ["converge 3.6.14 on h2"]
    hold = staged.given["hold_back"]["hold"]
    assert (hold.host, hold.old, hold.new) == ("h2", "3.5.33", "3.6.14")
    assert staged.ran.index(("hold_back", "h2")) > 0
    assert staged.hosts("prove_version") == []
    (warning,) = staged.program.record.record.warnings
    assert "h2 runs etcd 3.6.14 as a canary" in warning.text
    assert "as long as one member runs 3.5" in warning.text
    assert staged.exit_code == ExitCode.OK


def test_what_is_held_back_goes_on_without_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    staged = Staged(monkeypatch, "3.5.33", yes=True)
    staged.hold = HOLD
    staged.play()
    assert [line for line in staged.happened if "converge" in line] == [
        f"converge {version} on {' '.join(HOSTS)}" for version in ("3.6.14", "3.7.1")
    ]
    assert set(staged.hosts("end_hold")) == set(HOSTS)


def test_there_is_one_canary_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    staged = Staged(monkeypatch, "3.5.33", yes=True, own=UpgradeOptions(canary=True))
    staged.hold = HOLD
    staged.play()
    assert staged.happened == []
    assert "h2 runs etcd 3.6.14 as a canary" in staged.program.record.record.warnings[0].text
    assert staged.exit_code == ExitCode.OK


@pytest.mark.parametrize(
    ("running", "entering"),
    [("3.4.23", HOSTS), ("3.5.16", HOSTS), ("3.5.33", ()), ("3.6.14", ())],
)
def test_what_stands_against_a_later_hop_is_known_before_the_first(
    monkeypatch: pytest.MonkeyPatch, running: str, entering: tuple[str, ...]
) -> None:
    """Against the first one, it is found by what looks before each hop."""
    staged = Staged(monkeypatch, running, answer=False)
    staged.play()
    (question,) = staged.program.terminal.asked  # type: ignore[attr-defined]
    assert staged.entering == entering
    assert ("of the hop to 3.6.14: data are not fit" in question) is bool(entering)
    assert staged.happened == []
