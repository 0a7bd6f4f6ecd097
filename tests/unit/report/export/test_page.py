from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from etcdfleet.errors import RemoteError
from etcdfleet.report.export.expiry import expiries
from etcdfleet.report.export.page import Page, diff_lines, diff_size, render
from etcdfleet.report.export.timeline import covered, lanes, length, ticks
from etcdfleet.report.record.model import record_of
from tests import report_samples as samples
from tests.unit.support.fake_run import nornir_of, raises, recorder_of, step, validated

SAMPLES = [samples.failed_deploy, samples.check_run, samples.rotation, samples.hostile]


class Elements(HTMLParser):
    """Elements with their attributes, ids, and whether they are closed in order."""

    VOID = frozenset({"meta", "link", "br", "path", "line", "use", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("sample", SAMPLES)
def test_pages_are_well_formed_and_need_nothing_else(sample: Any) -> None:
    document = validated(sample())
    page = Elements(render(document))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert tag not in {"script", "img", "iframe", "object", "form", "base", "a:"}
        assert not {name for name in attributes if name.startswith("on") or name in {"style", "src", "xlink:href"}}
        target = attributes.get("href")
        if target and not target.startswith("data:image/svg+xml,"):
            assert target.startswith("#")
            assert target[1:] in ids
    for text in ("preflight", "rotate"):
        if any(step["name"] == text for step in document["steps"]):
            assert text in page.texts


def test_hostile_texts_stay_texts() -> None:
    page = Elements(render(samples.hostile()))
    assert samples.HOSTILE in "".join(page.texts)
    assert "49" not in "".join(page.texts).replace("x1049", "")


def test_the_policy_forbids_what_the_page_does_not_have() -> None:
    text = render(samples.failed_deploy())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert policy[1].startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy[1]


def test_what_to_do_is_at_the_top() -> None:
    text = "".join(Elements(render(samples.failed_deploy())).texts)
    for early, late in (
        ("deploy: stopped to protect k3s-edge after 1m11s, exit code 3", "by ana@desk"),
        ("by ana@desk", "etcd would lose its quorum"),
        ("wait until all members are healthy", "no answer to SSH within 30 s"),
        ("no answer to SSH within 30 s", "Timeline"),
        ("Timeline", "heartbeat-interval: 500"),
    ):
        assert early in text
        assert text.index(early) < text.index(late)


@pytest.mark.parametrize(
    ("status", "code", "state", "check", "says"),
    [
        ("ok", 0, None, False, ""),
        ("ok", 0, None, True, "Nothing was changed. Without --check"),
        ("failed", 2, None, False, "Correct the command"),
        ("interrupted", 130, None, False, "Do what is said below, then run the same command again"),
        ("running", None, "killed", False, "Do what is said below, then run the same command again"),
        ("running", None, "running", False, "still at work"),
    ],
)
def test_the_next_step(status: str, code: int | None, state: str | None, check: bool, says: str) -> None:
    document = samples.failed_deploy() if status in ("interrupted", "running") else samples.check_run()
    error = {"kind": "UsageError", "what": "no", "where": "", "remedy": "", "expected": True} if code == 2 else None
    document |= {"status": status, "exit_code": code, "check": check, "error": error}
    if status == "running":
        document |= {"finished": None, "protections": []}
    page = Page(record_of(document), state)
    assert says in page.next_step
    assert bool(page.next_step) == bool(says)
    if state == "killed":
        assert "killed after 1m11s" in page.verdict


def test_a_run_that_was_killed_at_once_has_a_page() -> None:
    document = recorder_of().as_json()
    page = "".join(Elements(render(document, "killed")).texts)
    assert "killed" in page
    assert "not begun" in page


def test_lanes_show_what_ran_and_what_waited() -> None:
    record = record_of(samples.rotation())
    numbers = {"decide": 1, "trust": 2, "rotate": 3, "start": 4, "verify": 5}
    found = lanes(record, numbers)
    first, second = found["etcd-az-1"], found["etcd-az-2"]
    assert [bar.number for bar in first.bars] == [1, 3, 5]
    assert first.bars[1].x == pytest.approx(100 * 2 / 25)
    assert first.bars[1].width == pytest.approx(100 * 6.1 / 25)
    assert second.bars[1].x > first.bars[1].x + first.bars[1].width
    assert first.busy == pytest.approx(8.1)
    assert first.waited == pytest.approx(16.9)
    assert all(bar.x >= 0 and bar.x + bar.width <= 100.001 for lane in found.values() for bar in lane.bars)


@pytest.mark.parametrize(
    ("spans", "seconds"),
    [([], 0), ([(0, 2), (1, 3)], 3), ([(5, 6), (0, 1)], 2), ([(0, 9), (1, 2)], 9), ([(1, 1)], 0)],
)
def test_time_is_counted_once(spans: list[tuple[float, float]], seconds: float) -> None:
    assert covered(spans) == seconds


@pytest.mark.parametrize("seconds", [0.001, 0.3, 0.95, 7, 61, 600, 5000, 90_000, 3_000_000])
def test_scales_have_round_numbers_that_are_few(seconds: float) -> None:
    marks = ticks(seconds)
    assert marks[0].x == 0
    assert all(0 <= mark.x <= 100 for mark in marks)
    assert len({mark.label for mark in marks}) == len(marks)
    assert len(marks) <= 7 or seconds > 86400 * 6


def test_the_scale_covers_steps_that_ended_after_the_last_report() -> None:
    document = samples.rotation()
    document["seconds"] = 1.0
    assert length(record_of(document)) == pytest.approx(24.2)


def test_certificates_soonest_first_and_those_of_a_day_together() -> None:
    found = expiries(record_of(samples.rotation()))
    rows = [(row.host, row.roles, row.urgency, row.beyond) for row in found.rows]
    assert rows[0] == ("etcd-az-1", ("peer",), "expired", False)
    assert rows[2] == ("etcd-az-2", ("peer",), "due", False)
    assert rows[4] == ("etcd-az-2", ("server", "client"), "good", False)
    assert rows[-1] == ("k3s-m-1", ("server", "client"), "good", True)
    assert [row.days for row in found.rows] == sorted(row.days for row in found.rows)
    assert found.rows[0].left == "expired"
    assert found.rows[0].width == 0
    assert found.urgent == 4


@pytest.mark.parametrize(
    ("certificate", "urgency"),
    [
        ({"not_after": "2026-12-03T00:00:00+00:00", "due": False}, "good"),
        ({"not_after": "2026-12-03T00:00:00+00:00"}, "due"),
        ({"not_after": "2027-12-03T00:00:00+00:00", "due": True}, "due"),
        ({"not_after": "2026-11-03T00:00:00+00:00", "due": False}, "expired"),
        ({"not_after": "2026-11-03T00:00:00"}, "expired"),
        ({"not_after": "soon"}, None),
        ("text", None),
    ],
)
def test_a_certificate_says_itself_whether_it_is_due(certificate: Any, urgency: str | None) -> None:
    document = samples.check_run()
    for host in document["hosts"].values():
        host["facts"] = {"certificates": {"peer": certificate}}
    found = expiries(record_of(document)).rows
    assert {row.urgency for row in found} == ({urgency} if urgency else set())


def test_diffs() -> None:
    lines = diff_lines(samples.DIFF)
    assert [kind for kind, _ in lines[:6]] == ["file", "file", "hunk", "same", "del", "del"]
    assert "".join(f"{line}\n" for _, line in lines) == samples.DIFF
    assert diff_size(samples.DIFF) == "2 files, +5 −2"


def test_a_step_that_no_host_did_is_a_line_and_no_column() -> None:
    document = samples.failed_deploy()
    page = Page(record_of(document))
    everywhere = {
        name
        for name in page.steps
        if all(
            step["status"] == "skipped"
            for host in document["hosts"].values()
            for step in host["steps"]
            if step["name"] == name
        )
    }
    assert everywhere
    assert set(page.steps) - {name for name, _ in page.columns} == everywhere
    texts = " ".join("".join(Elements(render(document)).texts).split())
    assert all(f"{name} ({why})" in texts for name, why in page.left_out.items())


def test_what_failed_alike_is_one_finding_whatever_host_it_names() -> None:
    recorder = recorder_of()
    lost = {
        name: raises(RemoteError(f"{name} does not answer", where=name, remedy=f"ssh pi@{name}"))
        for name in ("edge-1", "az-2", "az-1")
    }
    nornir_of().with_processors([recorder]).run(step(lost), name="preflight")
    recorder.finish()
    ((_, place, found, _),) = Page(record_of(recorder.as_json())).findings
    assert (place, found.what, found.remedy) == (
        "az-1, az-2, edge-1 · preflight",
        "HOST does not answer",
        "ssh pi@HOST",
    )
    assert "does not answer" in render(recorder.as_json())
