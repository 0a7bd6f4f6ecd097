"""The page of status.py for any width, and how long a certificate on a host is good for."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import pytest
from rich.console import Console
from rich.text import Text

from etcdfleet.certs import Certificate, parse_pem_bundle
from etcdfleet.checks.overview.cluster import overview
from etcdfleet.checks.overview.data import ClusterOverview, LastRun, Life
from etcdfleet.checks.overview.host import life_of
from etcdfleet.renewal import RenewBefore
from etcdfleet.report.show import overview as pages
from etcdfleet.report.show.format import ASCII, PRETTY
from tests.unit.checks.test_overview import MACHINE, NOW, down, expected, life, member, stopped
from tests.unit.support.certs_ca import DAY, PEERS, ROOT, ca, leaf
from tests.unit.support.certs_ca import NOW as CERT_NOW

RULE = RenewBefore(fraction=Fraction(1, 3))
TRUSTED = parse_pem_bundle(ROOT.pem)


def cluster(name: str = "k8s-home", **changes: object) -> ClusterOverview:
    lives = (life(40.0), life(3.0, role="client"))
    run = LastRun("x", "deploy", NOW - timedelta(hours=3), "ok")
    one = replace(member("a", machine=replace(MACHINE, lives=lives, drift=("/etc/x",))), last_run=run, **changes)  # type: ignore[arg-type]
    return overview(name, [one, down("b"), stopped("c")], expected())


def printed(lines: Sequence[Text], width: int, **options: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, **options)  # type: ignore[arg-type]
    for line in lines:
        console.print(line, soft_wrap=True)
    return file.getvalue()


@pytest.mark.parametrize("width", [30, 44, 60, 80, 100, 200])
def test_every_width_shows_everything_and_nothing_is_wider(width: int) -> None:
    sound = overview("k3s", [member(name) for name in "abc"], expected())
    text = printed(pages.lines([cluster(), sound], ASCII, width, NOW), width)
    assert max(map(len, text.splitlines())) <= max(width, 46), text
    words = text.split()
    for word in ("k8s-home", "serves", "down", "stopped", "20", "KiB", "3.0d", "deploy", "3h", "3.5.1", "100"):
        assert word in words or f"{word}," in words or f"{word};" in words, (word, text)
    together = " ".join(words)
    for sentence in (
        "BROKEN b: cannot be reached by SSH: timed out",
        "remedy: check power",
        "BROKEN c: etcd does not run there",
        "/etc/x differs from what deploy would write",
        "soon a: the client certificate ends in 3.0 days",
        "all well",
    ):
        assert sentence in together, (sentence, text)


def test_80_columns_hold_one_table_with_a_row_per_host() -> None:
    text = printed(pages.lines([cluster()], PRETTY, 80, NOW), 80)
    rows = [line for line in text.splitlines() if line[:4] in {"  a ", "  b ", "  c "}]
    assert len(rows) == 3
    assert rows[0].split() == ["a", "serves", "★", "100", "20", "KiB", "0%", "10ms", "3.0d", "ok", "1", "differ",
                               "deploy", "3h"]  # fmt: skip
    assert rows[1].split() == ["b", "down"]


def test_members_of_different_terms_are_shown_with_their_terms() -> None:
    views = [member("a"), member("b"), member("c", term=9)]
    text = printed(pages.lines([overview("x", views, expected())], ASCII, 80, NOW), 80)
    assert "term" in next(line for line in text.splitlines() if line.startswith("  host")).split()


def test_colours_only_where_the_console_has_them() -> None:
    lines = pages.lines([cluster()], ASCII, 80, NOW)
    assert "\x1b[" not in printed(lines, 80)
    assert "\x1b[" in printed(lines, 80, force_terminal=True)


def test_findings_are_only_the_sentences_of_clusters_that_have_any() -> None:
    sound = overview("k3s", [member(name) for name in "abc"], expected())
    assert pages.findings([sound], 80) == []
    text = printed(pages.findings([sound, cluster()], 80), 80)
    assert "k3s" not in text
    assert "BROKEN" in text
    assert "index" not in text


def test_the_closing_line() -> None:
    sound = overview("k3s", [member(name) for name in "abc"], expected())
    assert pages.closing_line([sound], "1.2s").plain == "status: all well on 3 hosts, looked at in 1.2s"
    text = pages.closing_line([sound, cluster(), cluster("x")], "1.2s").plain
    assert text == "status: k8s-home and x need attention, exit code 1"


def good_for(pem: str | None, trusted: Sequence[Certificate] = TRUSTED, *, after: timedelta = DAY) -> Life:
    return life_of("peer", pem, trusted, CERT_NOW + after, RULE)


def test_the_earliest_end_of_leaf_chain_and_ca_counts() -> None:
    short = leaf(PEERS, end=CERT_NOW + 100 * DAY)
    found = good_for(short.pem + PEERS.pem)
    assert (found.ca, found.due, round(found.days_left), found.problem) == ("", False, 99, "")
    assert found.serial == parse_pem_bundle(short.pem)[0].serial
    assert good_for(short.pem + PEERS.pem, after=80 * DAY).due
    old = ca("Old CA", ROOT, end=CERT_NOW + 10 * DAY)
    found = good_for(leaf(old).pem + old.pem)
    assert (found.ca, found.due, round(found.days_left)) == ("Old CA", True, 9)
    cut = good_for(leaf(old, end=CERT_NOW + 10 * DAY).pem + old.pem)  # to the end of its CA, as Vault may do
    assert (cut.ca, round(cut.days_left)) == ("Old CA", 9), "another certificate of that CA would end with it, too"
    # The root is no part of the pair; it is among what the host trusts.
    root = ca("Short Root", end=CERT_NOW + 3 * DAY)
    found = good_for(leaf(root).pem, parse_pem_bundle(root.pem))
    assert (found.ca, round(found.days_left)) == ("Short Root", 2)


@pytest.mark.parametrize(
    ("pem", "problem"),
    [
        (None, "is missing"),
        ("nonsense", "cannot be read"),
        (leaf(ca("Stranger")).pem, "does not lead to a CA that the host trusts"),
        (leaf(PEERS, start=CERT_NOW + 3 * DAY).pem + PEERS.pem, "is not valid before"),
    ],
)
def test_a_pair_that_is_good_for_nothing(pem: str | None, problem: str) -> None:
    assert good_for(pem).problem.startswith(problem)
    assert good_for(pem).due is False
