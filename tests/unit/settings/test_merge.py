"""The deep merge of defaults, groups and host, and where each value came from."""

from __future__ import annotations

from typing import Any

import pytest

from etcdfleet.settings.merge import Layer, Origin, merge

HOST, NEAR, FAR, DEFAULTS = Origin("host", "a"), Origin("group", "near"), Origin("group", "far"), Origin("defaults")
SHA = "0" * 64


def merged(*layers: tuple[Origin, dict[str, Any]]) -> dict[str, Any]:
    return dict(merge([Layer(origin, data) for origin, data in layers], HOST).data)


@pytest.mark.parametrize(
    ("near", "far", "result"),
    [
        pytest.param({"cluster": {"a": 1}}, {"cluster": {"a": 2, "b": 3}}, {"cluster": {"a": 1, "b": 3}}, id="keys"),
        pytest.param({"x": {"y": {"z": 1}}}, {"x": {"y": {"w": 2}}}, {"x": {"y": {"z": 1, "w": 2}}}, id="deep"),
        pytest.param({"x": {"l": [1]}}, {"x": {"l": [2, 3]}}, {"x": {"l": [1]}}, id="lists are replaced"),
        pytest.param({"x": {"a": None}}, {"x": {"a": 1}}, {"x": {"a": None}}, id="null overrides"),
        pytest.param({"cluster": None}, {"cluster": {"a": 1}}, {"cluster": {"a": 1}}, id="empty section"),
        pytest.param(
            {"install": {"method": "archive", "version": "3.5.1"}},
            {"install": {"method": "apk", "repository": "x"}},
            {"install": {"method": "archive", "version": "3.5.1"}},
            id="another method replaces",
        ),
        pytest.param(
            {"install": {"version": "1"}},
            {"install": {"method": "apk", "repository": "x"}},
            {"install": {"method": "apk", "repository": "x", "version": "1"}},
            id="the same method merges",
        ),
        pytest.param(
            {"pki": {"source": "files", "folder": "f"}},
            {"pki": {"address": "a", "mounts": {"peer": "p"}, "renew_before": "1/4"}},
            {"pki": {"source": "files", "folder": "f", "renew_before": "1/4"}},
            id="keys of the former source go",
        ),
        pytest.param(
            {"pki": {"source": "files"}},
            {"pki": {"folder": "f", "address": "a"}},
            {"pki": {"source": "files", "folder": "f"}},
            id="keys of the chosen source stay",
        ),
        pytest.param(
            {"pki": {"trust_anchor": {"file": "f"}}},
            {"pki": {"trust_anchor": {"mount": "m"}, "mount": "p"}},
            {"pki": {"trust_anchor": {"file": "f"}, "mount": "p"}},
            id="trust anchor",
        ),
        pytest.param(
            {"install": {"source": {"arm": {"file": "f", "sha256": SHA}}}},
            {"install": {"source": {"arm": {"url": "u", "sha256": SHA}, "amd64": {"url": "v"}}}},
            {"install": {"source": {"arm": {"file": "f", "sha256": SHA}, "amd64": {"url": "v"}}}},
            id="archive source",
        ),
        pytest.param(
            {"install": {"releases": {"3.6.14": {"arm": {"file": "f"}}, "3.7.1": {"arm": {"file": "n"}}}}},
            {"install": {"releases": {"3.6.14": {"arm": {"url": "u"}, "amd64": {"url": "v"}}, "3.5.33": {}}}},
            {
                "install": {
                    "releases": {
                        "3.6.14": {"arm": {"file": "f"}, "amd64": {"url": "v"}},
                        "3.7.1": {"arm": {"file": "n"}},
                        "3.5.33": {},
                    }
                }
            },
            id="archives of releases",
        ),
    ],
)
def test_merge(near: dict[str, Any], far: dict[str, Any], result: dict[str, Any]) -> None:
    assert merged((HOST, near), (DEFAULTS, far)) == result


def test_nearest_of_four_layers_wins_and_is_remembered() -> None:
    result = merge(
        [
            Layer(HOST, {"s": {"a": "host"}}),
            Layer(NEAR, {"s": {"a": "near", "b": "near"}}),
            Layer(FAR, {"s": {"b": "far", "c": "far"}}),
            Layer(DEFAULTS, {"s": {"c": "defaults", "d": "defaults"}}),
        ],
        HOST,
    )

    assert result.data == {"s": {"a": "host", "b": "near", "c": "far", "d": "defaults"}}
    assert [result.origin(("s", key)) for key in "abcd"] == [HOST, NEAR, FAR, DEFAULTS]
    assert not result.written(("s", "e"))
    assert result.origin(("s", "e")) == HOST
    assert result.origin(("nothing",)) == HOST


def test_what_was_replaced_is_forgotten() -> None:
    result = merge(
        [
            Layer(HOST, {"install": {"method": "apt"}}),
            Layer(DEFAULTS, {"install": {"method": "apk", "repository": "x"}}),
        ],
        HOST,
    )

    assert not result.written(("install", "repository"))


def test_layers_are_not_changed() -> None:
    far: dict[str, Any] = {"s": {"t": {"a": 1}}}
    merged((HOST, {"s": {"t": {"a": 2}}}), (DEFAULTS, far))

    assert far == {"s": {"t": {"a": 1}}}
