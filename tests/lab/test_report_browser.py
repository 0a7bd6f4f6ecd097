"""report.html in a real browser: on a phone, in the dark, on paper, with hostile texts. Needs no lab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.report.export.page import render
from tests import report_samples as samples
from tests.lab.browser import Browser, browser

SAMPLES = {
    "failed": samples.failed_deploy,
    "check": samples.check_run,
    "rotation": samples.rotation,
    "many": samples.many_hosts,
    "hostile": samples.hostile,
}
PNG = b"\x89PNG\r\n\x1a\n"
# Contrast as WCAG defines it, of each element that has text of its own, against what is painted behind it.
PALE = """
(() => {
  const light = c => { const v = c.map(x => x / 255).map(x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
    return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
  const rgb = t => t.match(/[\\d.]+/g).map(Number);
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const says = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (e.closest('svg') || !says || !e.checkVisibility()) continue;
    let back = e, colour = [0, 0, 0, 0];
    while (back && (colour = rgb(getComputedStyle(back).backgroundColor), colour.length === 4 && colour[3] === 0))
      back = back.parentElement;
    const pair = [light(rgb(getComputedStyle(e).color)), light(colour)].sort((a, b) => b - a);
    const contrast = (pair[0] + .05) / (pair[1] + .05);
    if (contrast < 4.5) found.push(e.tagName + '.' + e.className + ' ' + contrast.toFixed(2));
  }
  return [...new Set(found)];
})()
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pages")
    for name, sample in SAMPLES.items():
        (folder / f"{name}.html").write_text(render(sample()), encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in SAMPLES}


def is_dark(browser: Browser) -> bool:
    colours: Any = browser.ask("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    return bool(sum(colours) < 200)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_page_fits_a_phone_and_asks_for_nothing(chromium: Browser, pages: dict[str, str], name: str) -> None:
    chromium.show(pages[name], width=390, height=844)
    assert chromium.ask("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
    assert not is_dark(chromium)
    chromium.ask("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert chromium.ask("document.documentElement.scrollWidth") == 390, "with everything unfolded"
    assert {url for url in chromium.requests if url.startswith(("http", "file"))} == {pages[name]}
    assert chromium.complaints == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_texts_can_be_read(chromium: Browser, pages: dict[str, str], dark: bool) -> None:
    for name in ("failed", "rotation"):
        chromium.show(pages[name], dark=dark)
        assert is_dark(chromium) is dark
        chromium.ask("document.querySelectorAll('details').forEach(e => e.open = true)")
        assert chromium.ask(PALE) == []


def test_what_is_wrong_is_seen_first(chromium: Browser, pages: dict[str, str], tmp_path: Path) -> None:
    chromium.show(pages["failed"], width=390, height=844)
    first = chromium.ask("document.elementFromPoint(195, 60).closest('h1').innerText")
    assert first == "deploy: stopped to protect k3s-edge after 1m11s, exit code 3"
    seen = chromium.ask("document.body.innerText")
    assert "etcd would lose its quorum" in seen
    assert "ssh -v root@10.241.7.12" in seen
    assert chromium.ask("document.querySelectorAll('.matrix tbody tr:not(.cluster)').length") == 6
    assert chromium.ask("document.querySelectorAll('.matrix td.failed').length") == 2
    chromium.picture(tmp_path / "phone.png")
    assert (tmp_path / "phone.png").read_bytes().startswith(PNG)


def test_a_cell_leads_to_its_evidence(chromium: Browser, pages: dict[str, str]) -> None:
    chromium.show(pages["failed"])
    link = "document.querySelector('.matrix tbody tr:nth-child(2) a[title*=\"Configure\"]')"
    evidence = f"document.querySelector({link}.getAttribute('href'))"
    assert chromium.ask(f"{evidence}.checkVisibility({{contentVisibilityAuto: true}})") is False
    chromium.ask(f"{link}.click()")
    assert chromium.ask(f"{evidence}.checkVisibility({{contentVisibilityAuto: true}})") is True
    assert "/etc/etcd/conf.yml is replaced" in chromium.ask(f"{evidence}.innerText")
    chromium.ask(f"{evidence}.querySelector('.diff').open = true")
    assert "+heartbeat-interval: 500" in chromium.ask(f"{evidence}.innerText")
    top = chromium.ask(f"{evidence}.getBoundingClientRect().top")
    assert 0 <= top < 900


def test_pictures_show_who_waited_and_what_ends_first(chromium: Browser, pages: dict[str, str]) -> None:
    chromium.show(pages["rotation"])
    bars = chromium.ask(
        "[...document.getElementById('timeline').closest('section').querySelectorAll('.lane')]"
        ".map(l => [...l.querySelectorAll('.bar')].map(b => b.querySelector('rect').getBoundingClientRect().toJSON()))"
    )
    assert [len(lane) for lane in bars] == [3] * 6
    one, two = bars[0][1], bars[1][1]
    assert one["right"] <= two["left"], "one member after the other"
    assert abs(bars[0][1]["left"] - bars[3][1]["left"]) < 1, "clusters side by side"
    ends = chromium.ask("[...document.querySelectorAll('.expiry .life')].map(e => e.getBoundingClientRect().width)")
    assert ends == sorted(ends)
    assert ends[0] == 0
    notes = chromium.ask("[...document.querySelectorAll('.expiry .note')].map(e => e.innerText.trim())")
    assert notes[1].startswith("expired")
    assert notes[3].startswith("due: 6 days")


def test_paper_shows_what_is_folded(chromium: Browser, pages: dict[str, str], tmp_path: Path) -> None:
    folded = "document.querySelector('.host:not([open]) .diff pre').checkVisibility({contentVisibilityAuto: true})"
    chromium.show(pages["failed"], width=720)
    assert chromium.ask(folded) is False
    chromium.show(pages["failed"], width=720, paper=True, dark=True)
    assert chromium.ask(folded) is True
    assert not is_dark(chromium)
    assert chromium.ask("document.documentElement.scrollWidth") == 720
    chromium.print_to(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_hostile_texts_do_nothing(chromium: Browser, pages: dict[str, str]) -> None:
    chromium.show(pages["hostile"])
    assert chromium.ask("document.title").startswith("<script>")
    assert chromium.ask("document.querySelectorAll('script, img').length") == 0
    assert "{{ 7*7 }}" in chromium.ask("document.body.innerText")
    assert chromium.complaints == []
