from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from etcdfleet.errors import ProtectionError, RemoteError
from etcdfleet.report.record.model import RunRecord, Step
from etcdfleet.report.show import table
from etcdfleet.report.show.format import ASCII, PRETTY, expiry_text, marks_for, member_text, wrapped
from etcdfleet.text import seconds_text, size_text
from tests.unit.support.fake_run import nornir_of, raises, recorder_of, step

NAMES = ("preflight", "install", "certificates", "configure", "start", "verify")
FLEET = {"etcd-az-1": "k8s-home", "etcd-az-2": "k8s-home", "x-k3s-m-1": "k3s-edge"}
FACTS = {
    "version": "3.4.23",
    "member_id": "8e9e05c52164694d",
    "leader": True,
    "db_size_bytes": 20480,
    "certificates": {
        "peer": {"serial": "1", "not_after": "2031-11-22T00:00:00Z", "days_left": 1824.7},
        "server": {"serial": "2", "not_after": "2026-12-03T00:00:00Z", "days_left": 9.5},
    },
}


def recorded(*, check: bool = False) -> RunRecord:
    recorder = recorder_of(FLEET, [Step(name, name.title()) for name in NAMES], check=check)
    nornir = nornir_of(FLEET, threads=3).with_processors([recorder])
    refused = RemoteError(
        "cannot log in: permission denied (publickey)",
        where="pi@192.0.2.2:22",
        remedy="put the public key there:\n  ssh-copy-id -i ~/.ssh/id_ed25519.pub pi@192.0.2.2",
    )
    for name in NAMES:
        special = raises(refused) if name == "install" else None
        does = {"etcd-az-2": special} if special else None
        changes = ("etcd 3.4.23",) if name == "install" else ()
        nornir.run(step(does, changes=changes, facts=FACTS if name == "verify" else {}), name=name)
    recorder.warn("x-k3s-m-1", "disk is slow")
    recorder.warn("etcd-az-1", "disk is slow")
    return recorder.finish()


def printed(show: Callable[[Console], None], width: int, **options: Any) -> str:
    file = io.StringIO()
    show(Console(file=file, width=width, highlight=False, markup=False, **options))
    return file.getvalue()


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("width", [40, 80, 100, 140, 200])
def test_table_fits_and_leaves_nothing_out(width: int, check: bool) -> None:
    record = recorded(check=check)
    text = printed(lambda console: table.print_table(console, record, PRETTY), width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    for word in (
        *NAMES,
        *FLEET,
        "k8s-home",
        "k3s-edge",
        "failed",
        "skipped",
        "3.4.23",
        "8e9e05c52164694d",
        "20 KiB",
        "9 d",
    ):
        assert word in text, word
    assert text.count("★") == 2
    if check:
        assert "would" in text
        assert "changed" not in text
    else:
        assert "changed" in text


def test_one_table_where_there_is_room() -> None:
    record = recorded()
    wide = printed(lambda console: table.print_table(console, record, ASCII), 160)
    assert re.search(r"etcd-az-1 .*ok .*changed .*3\.4\.23 .*\* .*20 KiB", wide)
    assert wide.isascii()


def test_totals_are_for_machines_too() -> None:
    lines = printed(lambda console: table.print_totals(console, recorded()), 40).splitlines()
    assert lines == [
        "etcd-az-1 ok=5 changed=1 failed=0 skipped=0",
        "etcd-az-2 ok=1 changed=0 failed=1 skipped=4",
        "x-k3s-m-1 ok=5 changed=1 failed=0 skipped=0",
    ]


def test_findings_join_equal_warnings_and_keep_commands_whole() -> None:
    text = printed(lambda console: table.print_findings(console, recorded(), width=40), 40)
    assert "warning  etcd-az-1, x-k3s-m-1: disk is" in text
    assert "FAILED  etcd-az-2  install\n" in text
    assert "  where   pi@192.0.2.2:22\n" in text
    assert "  ssh-copy-id -i ~/.ssh/id_ed25519.pub pi@192.0.2.2\n" in text


EVERY = ("az-1", "az-2", "edge-1")


def test_what_failed_alike_on_several_hosts_is_said_once() -> None:
    recorder = recorder_of()
    lost = {name: raises(RemoteError("no answer", where=name, remedy="turn it on")) for name in EVERY}
    nornir_of().with_processors([recorder]).run(step(lost), name="preflight")
    text = printed(lambda console: table.print_findings(console, recorder.finish(), width=80), 80)
    assert text.count("no answer") == 1
    assert f"FAILED  {', '.join(EVERY)}  preflight\n" in text
    assert "where" not in text, "it is the hosts themselves"


def test_steps_that_were_done_nowhere_are_one_line() -> None:
    recorder = recorder_of()
    lost = {name: raises(RemoteError("no answer")) for name in EVERY}
    nornir_of().with_processors([recorder]).run(step(lost), name="preflight")
    text = printed(lambda console: table.print_table(console, recorder.finish(), PRETTY), 100)
    assert text.startswith("not done on any host: install, ")
    assert text.count("install") == 1


def test_protection_is_shown_as_such() -> None:
    recorder = recorder_of()
    stop = ProtectionError("two members are down", remedy="start them")
    nornir_of().with_processors([recorder]).run(step({"az-1": raises(stop)}), name="preflight")
    record = recorder.finish()
    text = printed(lambda console: table.print_findings(console, record, width=80), 80)
    assert "STOPPED to protect  home\n  what    two members are down\n  remedy  start them\n" in text
    assert table.closing_line(record).plain.startswith("deploy: stopped to protect home")


def test_a_table_of_nothing() -> None:
    record = recorder_of({}, []).finish()
    text = printed(lambda console: table.print_table(console, record, PRETTY), 80)
    assert not text.strip()
    assert "0 hosts" in table.closing_line(record).plain


def test_text_of_hosts_is_not_markup() -> None:
    recorder = recorder_of({"az-1": "home"})
    nornir = nornir_of({"az-1": "home"}).with_processors([recorder])
    nornir.run(raises(RemoteError("bad [/bold] option [red]")), name="preflight")
    text = printed(lambda console: table.print_findings(console, recorder.finish(), width=80), 80)
    assert "bad [/bold] option [red]" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.0, "0.00s"), (0.04, "0.04s"), (1.24, "1.2s"), (9.96, "10s"), (59.6, "1m00s"), (125, "2m05s")],
)
def test_seconds(seconds: float | None, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (20480, "20 KiB"), (1_300_000, "1.2 MiB"), (2**30, "1.0 GiB"), (1023 * 1024, "1.0 MiB")],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("certificates", "expected"),
    [
        ({}, ("", "")),
        ({"peer": {"days_left": 400}, "server": {"days_left": 12.9}}, ("12 d", "yellow")),
        ({"peer": {"days_left": 400}}, ("400 d", "green")),
        ({"peer": {"days_left": 400, "due": True}}, ("400 d", "yellow")),
        ({"peer": {"days_left": 5, "due": False}}, ("5 d", "green")),
        ({"peer": {"days_left": 0.5}}, ("12.0 h", "yellow")),
        ({"peer": {"days_left": -0.1}, "server": {"days_left": 3}}, ("expired", "bold red")),
        ({"peer": {"serial": "1"}, "server": None}, ("", "")),
    ],
)
def test_expiry_is_that_of_the_first_to_expire(certificates: dict[str, Any], expected: tuple[str, str]) -> None:
    assert expiry_text({"certificates": certificates}) == expected


def test_member_ids_are_hexadecimal() -> None:
    assert member_text({"member_id": 0x8E9E05C52164694D}) == "8e9e05c52164694d"
    assert member_text({}) == ""


def test_marks_fall_back_to_ascii() -> None:
    assert marks_for("utf-8") is PRETTY
    assert marks_for("ascii") is ASCII
    assert marks_for("iso-8859-1") is ASCII
    assert marks_for("no such encoding") is ASCII


def test_wrapping_keeps_indented_lines() -> None:
    assert wrapped("one two three four five\n  a command that stays whole", 24, 8) == (
        "one two three\n        four five\n          a command that stays whole"
    )
