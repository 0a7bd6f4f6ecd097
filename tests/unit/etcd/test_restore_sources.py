"""Which source loses least, and what each would lose: members, data that were moved aside, backups, copies away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from etcdfleet.etcd.restore_record import RestoreRecord
from etcdfleet.etcd.restore_sources import Found, Held, Kind, Scene, propose, to_complete

NOW, BEFORE = 0xA, 0xB
SCENE = Scene("home")


def member(host: str, index: int, revision: int, *, log: int = 0, runs: bool = False, **how: Any) -> Found:
    return Found("member", host, Held(how.pop("id", NOW), revision, index, index + log, **how), runs=runs)


def backup(day: int, index: int, revision: int, kind: Kind = "backup", *, of: int = NOW, **how: Any) -> Found:
    name = f"home-{day}.db" if kind == "copy" else f"s/home-{day}.db"
    return Found(kind, name, Held(of, revision, index, index), taken=f"2026-11-{day}T02:00:00+00:00", **how)


ASIDE = Found("aside", "h2:/var/lib/etcd/removed-1", Held(BEFORE, 1500, 1500, 1500), taken="2026-11-25T10:00:00+00:00")
LATER = replace(ASIDE, where="h1:/var/lib/etcd/removed-2", held=Held(0xC, 5, 5, 5), taken="2026-11-26T10:00:00+00:00")
AWAY = backup(25, 850, 800, "copy", store="s3://b", encrypted=True)
OLD = backup(20, 100, 90)


@pytest.mark.parametrize(
    ("scene", "found", "best_first", "loses"),
    [
        pytest.param(
            SCENE,
            [OLD, member("h1", 1000, 900), member("h2", 1200, 1100), backup(26, 1100, 1000)],
            ["h2", "s/home-26.db", "h1", "s/home-20.db"],
            ["nothing that was found is newer", "loses 100 revisions that h2 has", "200 revisions", "1010 revisions"],
            id="by raft index",
        ),
        pytest.param(
            SCENE,
            [member("h1", 1000, 900), member("h2", 1000, 900)],
            ["h1", "h2"],
            ["nothing that was found is newer", "as new as h1"],
            id="equal",
        ),
        pytest.param(
            SCENE,
            [member("h1", 1000, 900), member("h2", 1000, 900, log=40)],
            ["h2", "h1"],
            ["nothing", "loses up to 40 changes in the log of h2"],
            id="more in the log",
        ),
        pytest.param(
            SCENE,
            [member("h1", 1000, 900, log=7), member("h2", 900, 850), backup(26, 1007, 903)],
            ["s/home-26.db", "h1", "h2"],
            ["nothing", "as new as the backup of 2026-11-26 02:00 UTC", "loses 53 revisions that the backup of"],
            id="a backup that has as much comes first",
        ),
        pytest.param(
            SCENE,
            [member("h1", 1000, 900, alarms=("CORRUPT",)), member("h2", 800, 700)],
            ["h2", "h1"],
            ["nothing", "as new as h2; IT MAY BE WRONG: the alarm CORRUPT"],
            id="one that is corrupt comes last",
        ),
        pytest.param(
            SCENE,
            [member("h1", 1000, 900), member("h2", 1000, 500), member("h3", 1000, 899)],
            ["h1", "h2", "h3"],
            ["IT MAY BE WRONG: members differ at raft index 1000 (h1 revision 900, h2 revision 500"] * 3,
            id="members differ, and no two agree",
        ),
        pytest.param(
            SCENE,
            [member("h1", 1000, 900), member("h2", 1000, 500), member("h3", 1000, 900)],
            ["h1", "h3", "h2"],
            ["nothing", "as new as h1", "as new as h1; IT MAY BE WRONG: members differ"],
            id="one differs from two",
        ),
        pytest.param(
            replace(SCENE, markers=((NOW, 1), (NOW, 1), (BEFORE, 0))),
            [ASIDE, LATER, member("h3", 2000, 1900, id=BEFORE), member("h1", 1000, 900)],
            ["h1", "h3", "h1:/var/lib/etcd/removed-2", "h2:/var/lib/etcd/removed-1"],
            ["nothing that was found is newer", "of cluster b, from before a restore or another one", "c,", "b,"],
            id="what is from before a restore does not count as newer",
        ),
        pytest.param(
            SCENE,
            [OLD, AWAY, backup(24, 700, 650)],
            ["home-25.db", "s/home-24.db", "s/home-20.db"],
            ["nothing", "loses 150 revisions that the copy of 2026-11-25", "710 revisions"],
            id="all data are lost",
        ),
        pytest.param(
            SCENE,
            [backup(24, 700, 650, of=BEFORE), backup(26, 60, 55)],
            ["s/home-26.db", "s/home-24.db"],
            ["nothing", "it is of cluster b, from before a restore"],
            id="all is lost, and the newest backup is of the restored cluster",
        ),
        pytest.param(
            replace(SCENE, works=True),
            [member("h1", 1000, 900, runs=True), member("h2", 990, 890), OLD],
            ["s/home-20.db"],
            ["loses 810 revisions that h1 has"],
            id="a cluster that works is not restored from a member",
        ),
    ],
)
def test_the_order_and_what_is_lost(scene: Scene, found: list[Found], best_first: list[str], loses: list[str]) -> None:
    proposal = propose(scene, found)
    commands = [offer.command.partition("restore.py ")[2].partition(" --cluster home")[0] for offer in proposal.offers]
    assert [command.split()[-1] for command in commands] == best_first
    for offer, told in zip(proposal.offers, loses, strict=True):
        assert told in offer.loses


@pytest.mark.parametrize(
    ("found", "command"),
    [
        (member("h1", 9, 9), "--from-member h1 --cluster home --without h3"),
        (ASIDE, "--from-data h2:/var/lib/etcd/removed-1 --cluster home --without h3"),
        (OLD, "s/home-20.db --cluster home --without h3"),
        (AWAY, "home-25.db --cluster home --identity KEYFILE --without h3"),
        (replace(AWAY, encrypted=False), "home-25.db --cluster home --without h3"),
    ],
)
def test_the_command_of_each(found: Found, command: str) -> None:
    (offer,) = propose(replace(SCENE, unread=("h3",)), [found]).offers
    assert offer.command == f"python runbooks/restore.py {command}"


def test_what_a_person_must_know_beside() -> None:
    scene = replace(SCENE, unread=("h3",), lost=("h2",))
    damaged = Found("member", "h4", why="its database is damaged (page 7 is neither branch nor leaf)")
    text = propose(scene, [member("h1", 9, 9, runs=True), damaged, AWAY]).as_text()
    for words in (
        "1. the copy of 2026-11-25 02:00 UTC in s3://b, encrypted: revision 800\n",
        "2. what h1 has, whose etcd answers: revision 9\n",
        "- of no use: h4: its database is damaged (page 7",
        "- h3 cannot be read, so what is newer there is not known",
        "- --identity KEYFILE is the file with the secret key of age",
    ):
        assert words in text
    lone = propose(scene, [member("h1", 9, 9, log=2)])
    assert lone.offers[0].source.endswith("revision 9, and up to 2 changes more in its log")
    assert "h1 may lack the last writes that clients were told were done, for which h2 and h3 had voted" in lone.notes


def test_nothing_is_left() -> None:
    proposal = propose(SCENE, [])
    assert "Nothing was found from which home can be restored" in proposal.title
    assert "nothing has to be restored" in propose(replace(SCENE, works=True), []).title


@pytest.mark.parametrize(
    ("survivor", "file", "words"),
    [
        ("", "s/home-26.db", "s/home-26.db"),
        ("", "", "FILE"),
        ("h2", "s/home-26.db", "--from-member h2"),
        ("h2:/mnt/card", "", "--from-data h2:/mnt/card"),
    ],
)
def test_a_restore_that_is_under_way_is_completed(survivor: str, file: str, words: str) -> None:
    record = RestoreRecord("ab" * 32, "t", 1, "h1", 50, 7, 1, "2026-11-26T18:00:00Z", survivor=survivor)
    (offer,) = to_complete("home", record, file).offers
    assert offer.command == f"python runbooks/restore.py {words} --cluster home"
    assert ("SHA-256 begins with abababababab" in offer.loses) is (words == "FILE")
