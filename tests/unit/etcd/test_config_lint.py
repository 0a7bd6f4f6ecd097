"""What each release of etcd makes of a configuration file: keys that it ignores, keys and values that it refuses.

All but URLs and cipher suites was tried with 3.4.23, 3.5.33, 3.6.14 and 3.7.1: which of these files they start with.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from etcdfleet.etcd.config_keys import MINORS
from etcdfleet.etcd.config_lint import lint

V4, V5, V6, V7 = MINORS
CHECK = "experimental-initial-corrupt-check"


def kinds(text: str, version: Sequence[int] | None) -> list[str]:
    return [f"{finding.kind} {finding.key}" for finding in lint(text, version)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # For 3.4, 3.5, 3.6 and 3.7: what is said of the key, by its first letter; "" for nothing.
        ("name: az-1", ("", "", "", "")),
        ("Data-Dir: /var/lib/etcd", ("", "", "", "")),  # Go's decoder takes any case
        ("ClientTLSInfo: {CRLFile: /etc/crl}", ("", "", "", "")),  # and the names of its own fields
        ("max-snapshots: 5", ("", "", "", "")),
        ("snapshot-count: 1", ("", "", "", "")),
        ("nmae: az-1", ("u", "u", "u", "u")),
        ("cert-file: a", ("i", "i", "i", "i")),  # a flag
        ("debug: true", ("d", "i", "i", "i")),
        ("enable-v2: true", ("", "d", "i", "i")),
        ("discovery: http://x", ("", "", "d", "i")),
        (f"{CHECK}: true", ("", "", "d", "i")),
        ("experimental-corrupt-check-time: 3600000000000", ("", "", "d", "i")),
        ("corrupt-check-time: 3600000000000", ("i", "i", "", "")),
        ("feature-gates: InitialCorruptCheck=true", ("i", "i", "", "")),
        ("experimental-peer-skip-client-san-verification: true", ("i", "i", "d", "i")),
        ("log-format: console", ("i", "i", "", "")),
        ("v2-deprecation: not-yet", ("i", "", "i", "i")),
        ("v2-deprecation: write-only", ("i", "", "", "")),
        ("v2-deprecation: write-only-skip-check", ("i", "", "", "i")),
        ("v2-deprecation: sometime", ("i", "i", "i", "i")),
        ("log-outputs: [default, stderr]\nlogger: zap", ("r", "r", "r", "r")),
        ("log-outputs: [default, stderr]", ("r", "r", "r", "r")),
        ("log-outputs: [/var/log/etcd.log]", ("r", "", "", "")),
        ("log-outputs: [/var/log/etcd.log]\nlogger: zap", ("", "", "", "")),
        ("peer-transport-security:", ("", "", "r", "r")),
        ("client-transport-security:", ("", "", "", "")),
        (f"{CHECK}:", ("", "", "rd", "i")),
        ("next-cluster-version-compatible: true", ("d", "i", "i", "i")),
        ("logger: capnslog", ("", "r", "r", "r")),
        ("log-package-levels: etcdserver=DEBUG", ("d", "i", "i", "i")),
        ("log-level: loud", ("r", "r", "r", "r")),
        ("log-level: INFO", ("r", "", "", "")),
        ("log-format: text", ("i", "i", "r", "r")),
        ('auto-compaction-mode: ""', ("", "", "r", "r")),
        ("auto-compaction-mode: daily", ("r", "r", "r", "r")),
        ("initial-cluster-state: old", ("r", "r", "r", "r")),
        ("tls-min-version: TLS1.1", ("r", "r", "r", "r")),
        ("tls-min-version: TLS1.3\ntls-max-version: TLS1.2", ("r", "r", "r", "r")),
        ("tls-min-version: TLS1.3\ncipher-suites: [TLS_RSA]", ("r", "r", "r", "r")),
        ("experimental-compact-hash-check-time: 0", ("i", "r", "rd", "i")),
        ("compact-hash-check-time: 0", ("i", "i", "r", "r")),
        ("proxy: off", ("r", "r", "i", "i")),  # a switch for YAML
        ("proxy: 'off'", ("", "d", "i", "i")),
        ("force-new-cluster: true", ("r", "r", "r", "r")),
        ("force-new-cluster: false", ("", "", "", "")),
        ("initial-cluster: a=http://b\ndiscovery-srv: k8s.home", ("r", "r", "r", "r")),
        ("initial-cluster: a=http://b\ndiscovery: http://x", ("r", "r", "rd", "i")),
        ("experimental-enable-lease-checkpoint-persist: true", ("r", "r", "rd", "i")),
        ("feature-gates: LeaseCheckpointPersist=true", ("i", "i", "r", "r")),
        ("feature-gates: LeaseCheckpointPersist=true,LeaseCheckpoint=true", ("i", "i", "", "")),
    ],
)
def test_what_each_minor_makes_of_a_key(text: str, expected: tuple[str, ...]) -> None:
    for minor, letters in zip(MINORS, expected, strict=True):
        found = lint(text, minor)
        assert sorted(finding.kind[0] for finding in found) == sorted(letters), (minor, found)
        assert all(finding.what and finding.remedy for finding in found)


@pytest.mark.parametrize(
    ("text", "debian", "alpine"),
    [
        ("max-concurrent-streams: 64", "", "ignored"),  # 3.5.1 is the newer minor, and the older release
        ("log-package-levels: etcdserver=DEBUG", "deprecated", "ignored"),
        ("logger: capnslog", "", "refused"),
    ],
)
def test_what_the_releases_of_distributions_make_of_a_key(text: str, debian: str, alpine: str) -> None:
    """One file for all hosts of a project is judged by each host's own release."""
    for version, kind in (((3, 4, 23), debian), ((3, 5, 1), alpine)):
        assert [finding.kind for finding in lint(text, version)] == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("heartbeat-interval: 500\nelection-timeout: 5000", True),
        ("heartbeat-interval: 500ms", False),
        ("heartbeat-interval: -1", False),
        ("heartbeat-interval: 0\nelection-timeout: 5000", False),
        ("heartbeat-interval: 500", False),  # five times that is more than etcd's own election time-out
        ("heartbeat-interval: 500\nelection-timeout: 60000", False),
        ("grpc-keepalive-interval: 1m", False),
        ("grpc-keepalive-interval: 60000000000", True),
        ("grpc-keepalive-interval: 1.5", False),
        ("auto-compaction-retention: 8", False),
        ("auto-compaction-retention: '8'", True),
        ("auto-compaction-retention: [8h]", False),
        ("name: 5", False),
        ("name: yes", False),
        ("name: 2026-11-26", True),
        ("name:", True),
        ("pre-vote: true", True),
        ("pre-vote: 'true'", False),
        ("pre-vote: 1", False),
        ("log-outputs: stderr", False),
        ("log-outputs: [stderr]", True),
        ("quota-backend-bytes: -1", True),
        ("quota-backend-bytes: 1GiB", False),
        ("snapshot-count: 1e4", True),
        ("snapshot-count: 1_000", True),
        ("snapshot-count: 1.5e0", False),
        ("cipher-suites: [5]", False),
        ("peer-transport-security: yes", False),
        ("peer-transport-security: {client-cert-auth: 'true'}", False),
        ("a: [", False),
        ("- name", False),
        ("", True),
    ],
)
def test_what_go_s_decoder_takes(text: str, fits: bool) -> None:
    for minor in MINORS:
        assert any(finding.stops for finding in lint(text, minor)) is not fits


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("log-outputs: [/a]\nenable-log-rotation: true\nlog-rotation-config-json: '{\"MaxSize\": 5}'", True),
        ("log-outputs: [/a]\nenable-log-rotation: true\nlog-rotation-config-json: '{}'", False),
        ("log-outputs: [/a]\nenable-log-rotation: true\nlog-rotation-config-json: '{\"size\": 5}'", False),
        ("log-outputs: [/var/log/etcd.log]\nenable-log-rotation: true", True),
        ("log-outputs: [stderr]\nenable-log-rotation: true", False),
        ("log-outputs: [/a, /b]\nenable-log-rotation: true", False),
        ("log-outputs: [/a]\nenable-log-rotation: true\nlog-rotation-config-json: '{'", False),
        ("enable-v2: true\nv2-deprecation: write-only", False),
        ("enable-v2: true\nv2-deprecation: not-yet", True),
    ],
)
def test_what_3_5_takes_together(text: str, fits: bool) -> None:
    assert any(finding.stops for finding in lint(text, V5)) is not fits


@pytest.mark.parametrize(
    ("gates", "refused"),
    [
        ("InitialCorruptCheck=true,CompactHashCheck=false", (False, False)),
        (" InitialCorruptCheck = T ,", (False, False)),
        ("AllAlpha=true", (False, False)),
        ("InitialCoruptCheck=true", (True, True)),
        ("InitialCorruptCheck", (True, True)),
        ("InitialCorruptCheck=on", (True, True)),
        ("FastLeaseKeepAlive=false", (True, False)),
    ],
)
def test_feature_gates(gates: str, refused: tuple[bool, bool]) -> None:
    found = [lint(f"feature-gates: '{gates}'", minor) for minor in (V6, V7)]
    assert tuple(any(finding.stops for finding in each) for each in found) == refused


def test_a_gate_and_the_key_before_it() -> None:
    text = f"feature-gates: InitialCorruptCheck=true\n{CHECK}: true"
    assert kinds(text, V6) == [f"deprecated {CHECK}", f"refused {CHECK}"]
    assert kinds(text, V7) == [f"ignored {CHECK}"]
    assert kinds(text, V5) == ["ignored feature-gates"]


@pytest.mark.parametrize(
    ("text", "version", "words"),
    [
        ("dta-dir: /", V5, ("no key of etcd's", "did you mean data-dir?")),
        ("heartbeat_interval: 5", V5, ("did you mean heartbeat-interval?",)),
        ("something: 5", V5, ("no key", "take it out")),
        ("peer-transport-security: {cert-fil: a}", V5, ("peer-transport-security.cert-fil", "did you mean cert-file?")),
        ("peer-trusted-ca-file: a", V5, ("is a flag", "peer-transport-security: {trusted-ca-file: …}")),
        ("raft-read-timeout: 5", V5, ("is a flag", "cannot be set")),
        (f"{CHECK}: true", V7, ("3.6 was the last one", 'feature-gates: "InitialCorruptCheck=true"')),
        (f"{CHECK}: true", (3, 6, 14), ("3.6 is the last one", "3.7 ignores it", "InitialCorruptCheck=true")),
        (
            "enable-v2: true",
            (3, 6, 14),
            ("etcd 3.6.14 ignores enable-v2", "3.5 was the last one", "nothing replaces it"),
        ),
        ("corrupt-check-time: 5", V5, ("from 3.6.0 on", "write experimental-corrupt-check-time for this version")),
        (
            "max-concurrent-streams: 5",
            (3, 5, 1),
            ("etcd 3.5.1 ignores", "from 3.4.20 and 3.5.5 on", "install a version"),
        ),
        (
            "log-package-levels: etcdserver=DEBUG",
            (3, 5, 1),
            ("etcd 3.5.1 ignores", "3.4 was the last one", "write log-level in its place"),
        ),
        ("logger: capnslog", (3, 5, 1), ("etcd 3.5.1 does not start", "it knows zap", "correct the value")),
        ("experimental-corrupt-check-time: 1h", V5, ("whole number of nanoseconds", "1 h is 3600000000000")),
        ("log-outputs: stderr", V5, ("a list of texts is wanted", "[stderr]")),
        ("feature-gates: FastLeaseKeepAlive=true", V6, ("does not know", "from 3.7.0 on")),
        ("feature-gates: CompactHashChek=true", V6, ("did you mean CompactHashCheck?",)),
    ],
)
def test_what_is_said(text: str, version: Sequence[int], words: tuple[str, ...]) -> None:
    (finding,) = lint(text, version)
    for word in words:
        assert word in f"{finding.what}; {finding.remedy}"


def test_a_version_that_is_not_known() -> None:
    text = f"nmae: a\n{CHECK}: true\nheartbeat-interval: 1s\nenable-v2: true\nlogger: capnslog"
    assert kinds(text, None) == ["unknown nmae", "refused heartbeat-interval"]
    assert lint(text, (3, 8, 0)) == ()
    assert lint(text, (3, 3, 27)) == ()
