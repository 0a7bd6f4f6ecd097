"""What several hosts say alike is one thing, whatever host it names, and its hosts are sorted."""

from __future__ import annotations

import pytest

from etcdfleet.alike import natural, together

NAMES = {
    "pi-1": ("pi-1", "192.0.2.1", "pi-1.home.test"),
    "pi-2": ("pi-2", "192.0.2.2", "pi-2.home.test"),
    "pi-10": ("pi-10", "192.0.2.10", "pi-10.home.test"),
    "a": ("a", "", "a.home.test"),
    "b": ("b", "", "b.home.test"),
}


@pytest.mark.parametrize(
    ("said", "joined"),
    [
        ({"pi-1": "no key", "pi-2": "no key"}, [("pi-1, pi-2", "no key")]),
        ({"pi-10": "no key", "pi-2": "no key", "pi-1": "no key"}, [("pi-1, pi-2, pi-10", "no key")]),
        ({"pi-1": "no key", "pi-2": "no disk"}, [("pi-1", "no key"), ("pi-2", "no disk")]),
        (
            {"pi-1": "192.0.2.1:22 refuses; ssh pi@pi-1", "pi-10": "192.0.2.10:22 refuses; ssh pi@pi-10"},
            [("pi-1, pi-10", "HOST:22 refuses; ssh pi@HOST")],
        ),
        (
            {"pi-1": "https://pi-1.home.test:2379 is silent", "pi-2": "https://pi-2.home.test:2379 is silent"},
            [("pi-1, pi-2", "https://HOST:2379 is silent")],
        ),
        # Another host's name is what they differ in, or what they have in common.
        (
            {"pi-1": "pi-2 is silent", "pi-2": "pi-1 is silent"},
            [("pi-1", "pi-2 is silent"), ("pi-2", "pi-1 is silent")],
        ),
        ({"pi-1": "pi-10 is silent", "pi-2": "pi-10 is silent"}, [("pi-1, pi-2", "pi-10 is silent")]),
        # Part of a longer name or address is none of its own.
        (
            {"pi-1": "xpi-1 and 192.0.2.1.5 fail", "pi-2": "xpi-2 and 192.0.2.2.5 fail"},
            [("pi-1", "xpi-1 and 192.0.2.1.5 fail"), ("pi-2", "xpi-2 and 192.0.2.2.5 fail")],
        ),
        ({"pi-1": "see pi-1."}, [("pi-1", "see pi-1.")]),
        ({"pi-1": "see pi-1.", "pi-2": "see pi-2."}, [("pi-1, pi-2", "see HOST.")]),
        # A host that is called as an article is.
        ({"a": "a read fails", "b": "a read fails"}, [("a, b", "a read fails")]),
    ],
)
def test_joined(said: dict[str, str], joined: list[tuple[str, str]]) -> None:
    found = together((host, NAMES[host], "step", (text,)) for host, text in said.items())
    assert [(", ".join(one.places), one.texts[0]) for one in found] == joined


def test_other_kinds_stay_apart() -> None:
    found = together([("pi-1", (), "preflight", ("no",)), ("pi-2", (), "start", ("no",))])
    assert [(one.kind, one.places) for one in found] == [("preflight", ("pi-1",)), ("start", ("pi-2",))]


def test_names_are_sorted_as_people_count() -> None:
    assert natural(["pi-10", "az-2", "pi-9", "az-10", "pi", "10", "9"]) == (
        "9",
        "10",
        "az-2",
        "az-10",
        "pi",
        "pi-9",
        "pi-10",
    )
