"""Every mistake is reported where it was written, and with a text that a person can act on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.settings.load import open_nornir
from etcdfleet.settings.problems import Problem, SettingsError
from tests.unit.support.settings_files import DROP, write_inventory

SHA = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def _no_vault_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULT_ADDR", raising=False)


def mistakes(folder: Path, edits: Mapping[str, Any]) -> tuple[Problem, ...]:
    try:
        open_nornir(write_inventory(folder, edits))
    except SettingsError as error:
        return error.problems
    return ()


@dataclass(frozen=True)
class Case:
    """One edit of the sound inventory, and what must be said about it."""

    edits: Mapping[str, Any]
    place: str
    key: str
    what: str
    remedy: str = ""


def archive(**amd64: str) -> dict[str, Any]:
    return {"method": "archive", "version": "3.5.1", "source": {"amd64": amd64}}


def releases(**amd64: str) -> dict[str, Any]:
    return {"method": "archive", "version": "3.5.1", "releases": {"3.5.1": {"amd64": amd64}}}


def at(path: str, value: Any, place: str, key: str, what: str, remedy: str = "") -> Case:
    return Case({path: value}, place, key, what, remedy)


MEMBER = "hosts/b/data/member"
CLUSTER = "groups/home/data/cluster"
ROLES = "defaults/data/pki/roles"
CASES = {
    # one value
    "name in listen address": at(
        f"{MEMBER}/address",
        "b.home.test",
        "host b",
        "member.address",
        "'b.home.test' is not an IP address; etcd can only listen on an IP address: "
        'it refuses a name with "expected IP in URL for binding"',
        "names belong in member.fqdn",
    ),
    "wildcard address": at(f"{MEMBER}/address", "0.0.0.0", "host b", "member.address", "cannot be reached"),  # noqa: S104
    "fqdn missing": at(f"{MEMBER}/fqdn", DROP, "host b", "member.fqdn", "is missing", "etcd-1.example.home"),
    "member missing": Case({"hosts/b/data": DROP, "hosts/b/port": 22}, "host b", "member.address", "is missing"),
    "fqdn is the address": at(f"{MEMBER}/fqdn", "192.0.2.2", "host b", "member.fqdn", "is an address, not a DNS name"),
    "fqdn short": at(f"{MEMBER}/fqdn", "b", "host b", "member.fqdn", "is not a full DNS name"),
    "fqdn with port": at(f"{MEMBER}/fqdn", "b.home.test:2380", "host b", "member.fqdn", "is not a DNS name", "alone"),
    "fqdn final dot": at(f"{MEMBER}/fqdn", "b.home.test.", "host b", "member.fqdn", "dot", "write b.home.test:"),
    "fqdn too long for a file": at(
        f"{MEMBER}/fqdn", ".".join(["x" * 60] * 4), "host b", "member.fqdn", "has 243 characters", "at most 240"
    ),
    "name with =": at(f"{MEMBER}/name", "a=b", "host b", "member.name", "it contains '='", "letters, digits"),
    "name with comma": at(f"{MEMBER}/name", "a,b", "host b", "member.name", "initial-cluster is a list"),
    "data_dir top level": at(f"{MEMBER}/data_dir", "/var", "host b", "member.data_dir", "top-level folder"),
    "data_dir in memory": at(f"{MEMBER}/data_dir", "/run/etcd", "host b", "member.data_dir", "a reboot takes"),
    "data_dir hidden by the unit": at(
        f"{MEMBER}/data_dir", "/home/pi/etcd", "host b", "member.data_dir", "ProtectHome="
    ),
    "data_dir with a space": at(f"{MEMBER}/data_dir", "/var/my etcd", "host b", "member.data_dir", "plain absolute"),
    "unknown key": at(
        f"{MEMBER}/adress", "x", "host b", "member.adress", "unknown key adress (did you mean address?)", "allowed in"
    ),
    "unknown section": at(
        "hosts/b/data/plattform", {}, "host b", "plattform", "unknown section plattform (did you mean platform?)"
    ),
    "port as text": at(
        f"{CLUSTER}/peer_port",
        "2380",
        "group home",
        "cluster.peer_port",
        "must be a whole number, not '2380'",
        "quotes",
    ),
    "port out of range": at(f"{CLUSTER}/peer_port", 70000, "group home", "cluster.peer_port", "70000 is too large"),
    "ports equal": at(f"{CLUSTER}/client_port", 2380, "group home", "cluster.client_port", "both 2380"),
    "true as text": at(f"{CLUSTER}/gateway", "on", "group home", "cluster.gateway", "must be true or false, not 'on'"),
    "no unit": at(
        f"{CLUSTER}/auto_compaction", 8, "group home", "cluster.auto_compaction", "8 has no unit", "such as 8h"
    ),
    "quota": at(
        f"{CLUSTER}/quota_bytes",
        "9GiB",
        "group home",
        "cluster.quota_bytes",
        "9GiB is too large",
        "at most 8589934592 (8GiB)",
    ),
    "size unit": at(
        f"{CLUSTER}/quota_bytes", "1GB", "group home", "cluster.quota_bytes", "'1GB' is not a size", "1GiB"
    ),
    "log level": at(
        f"{CLUSTER}/log_level",
        "warning",
        "group home",
        "cluster.log_level",
        "not allowed (did you mean warn?)",
        "debug",
    ),
    "unknown cipher suite": at(
        f"{CLUSTER}/cipher_suites",
        ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA512"],
        "group home",
        "cluster.cipher_suites",
        "is none that etcd knows, and it would not start (did you mean TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256?)",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    ),
    "openssl's name of a cipher suite": at(
        f"{CLUSTER}/cipher_suites",
        ["ECDHE-RSA-AES128-GCM-SHA256"],
        "group home",
        "cluster.cipher_suites",
        "'ECDHE-RSA-AES128-GCM-SHA256' is none that etcd knows",
    ),
    "a suite of TLS 1.3": at(
        f"{CLUSTER}/cipher_suites",
        ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"],
        "group home",
        "cluster.cipher_suites",
        "TLS_AES_128_GCM_SHA256 is a suite of TLS 1.3",
        "leave it out",
    ),
    "no cipher suites": at(f"{CLUSTER}/cipher_suites", [], "group home", "cluster.cipher_suites", "is empty"),
    "a cipher suite twice": at(
        f"{CLUSTER}/cipher_suites",
        ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"] * 2,
        "group home",
        "cluster.cipher_suites",
        "named twice",
    ),
    "cipher suites as text": at(
        f"{CLUSTER}/cipher_suites",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "group home",
        "cluster.cipher_suites",
        "must be a list",
    ),
    # etcd ends: "TLSConfig.CipherSuites is missing an HTTP/2-required AES_128_GCM_SHA256 cipher".
    "what HTTP/2 demands": at(
        f"{CLUSTER}/cipher_suites",
        ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"],
        "group home",
        "cluster.cipher_suites",
        "none of the suites that HTTP/2 demands, and etcd would not start",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    ),
    "suites for another kind of key": at(
        f"{CLUSTER}/cipher_suites",
        ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"],
        "group home",
        "cluster.cipher_suites",
        "none of these suites works with the keys of this cluster (pki.key_type: rsa-2048)",
        "add TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    ),
    "suites for another kind of key, the other way": Case(
        {
            f"{CLUSTER}/cipher_suites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
            "defaults/data/pki/key_type": "ec-p256",
        },
        "group home",
        "cluster.cipher_suites",
        "none of these suites works with the keys of this cluster (pki.key_type: ec-p256)",
        "add TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    ),
    "suites and TLS 1.3 alone": Case(
        {
            f"{CLUSTER}/cipher_suites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
            f"{CLUSTER}/tls_min_version": "TLS1.3",
        },
        "group home",
        "cluster.cipher_suites",
        "no effect with tls_min_version: TLS1.3",
        "remove one",
    ),
    "an old version of TLS": at(
        f"{CLUSTER}/tls_min_version", "TLS1.1", "group home", "cluster.tls_min_version", "not allowed", "TLS1.2"
    ),
    "null": at(f"{CLUSTER}/peer_port", None, "group home", "cluster.peer_port", "has no value", "remove the line"),
    "section is a list": at(f"{CLUSTER}", ["x"], "group home", "cluster", "must be a mapping"),
    "election": at(
        f"{CLUSTER}/election_ms",
        2000,
        "group home",
        "cluster.election_ms",
        "the election time-out of 2000 ms is less than 5 heartbeats of 500 ms; etcd refuses to start",
        "set election_ms to 5000",
    ),
    "service name of one member": at(
        f"{CLUSTER}/service_name", "a.home.test", "group home", "cluster.service_name", "is the FQDN of a"
    ),
    # Vault
    "vault address missing": at(
        "defaults/data/pki/address", DROP, "defaults", "pki.address", "is missing, and VAULT_ADDR is not set"
    ),
    "vault address misspelt": Case(
        {"defaults/data/pki": {"adress": "https://vault.test:8200"}}, "defaults", "pki.adress", "did you mean address?"
    ),
    "token in the inventory": at(
        "defaults/data/pki/token", "hvs.SECRET", "defaults", "pki.token", "secrets do not belong", "VAULT_TOKEN"
    ),
    "peer role for servers only": at(
        f"{ROLES}/peer/usages",
        ["server"],
        "defaults",
        "pki.roles.peer.usages",
        "needs usage client",
        "[server, client]",
    ),
    "server role for clients": at(
        f"{ROLES}/server/usages", ["client"], "defaults", "pki.roles.server.usages", "needs usage server"
    ),
    "client role for servers": at(
        f"{ROLES}/client/usages", ["server"], "defaults", "pki.roles.client.usages", "needs usage client"
    ),
    "unknown usage": at(f"{ROLES}/peer/usages", ["sever"], "defaults", "pki.roles.peer.usages", "did you mean server?"),
    "ttl beyond the limit": at(
        f"{ROLES}/server/ttl",
        "4000d",
        "defaults",
        "pki.roles.server.ttl",
        "the TTL 96000h is beyond the role's max_ttl 87600h",
    ),
    "always renewing": at(
        "defaults/data/pki/renew_before", "50000h", "defaults", "pki.renew_before", "every run would renew"
    ),
    "two trust anchors": at(
        "defaults/data/pki/trust_anchor",
        {"mount": "a", "file": "b"},
        "defaults",
        "pki.trust_anchor",
        "both a mount and",
    ),
    "trust anchor file": at(
        "defaults/data/pki/trust_anchor", {"file": "ca.pem"}, "defaults", "pki.trust_anchor.file", "there is no file"
    ),
    "gateway with a server-only role": at(
        f"{CLUSTER}/gateway",
        True,
        "group home",
        "cluster.gateway",
        'floods the log with "bad certificate / incompatible key usage"',
        "either set gateway: false (only the JSON API below /v3/ is lost, which Patroni and other JSON clients need; "
        "/health stays), or give pki.roles.server usages: [server, client] and run python runbooks/setup_pki.py",
    ),
    "source unknown": at("defaults/data/pki/source", "valt", "defaults", "pki.source", "did you mean vault?", "files"),
    "key of another source": at(
        "defaults/data/pki/folder",
        "certs",
        "defaults",
        "pki.folder",
        "folder belongs to the source files, but the source here is vault",
        "remove it, or change pki.source; vault knows: source, trust,",
    ),
    "files from no folder": at(
        "groups/home/data/pki",
        {"source": "files"},
        "group home",
        "pki.folder",
        "is missing: with source: files, certificates are taken from a folder",
    ),
    "key of Vault beside files": at(
        "groups/home/data/pki",
        {"source": "files", "folder": ".", "key_type": "ec-p256"},
        "group home",
        "pki.key_type",
        "key_type belongs to the source vault, but the source here is files",
    ),
    "files cannot be revoked": at(
        "groups/home/data/pki",
        {"source": "files", "folder": ".", "revoke": True},
        "group home",
        "pki.revoke",
        "what comes from files cannot be revoked from here",
    ),
    # install
    "apk on systemd": at(
        "groups/systemd/data/install/method",
        "apk",
        "group systemd",
        "install.method",
        "apk is for hosts of group openrc",
    ),
    "method unknown": at(
        "groups/systemd/data/install/method", "atp", "group systemd", "install.method", "did you mean apt?"
    ),
    "method missing": at(
        "groups/systemd/data/install", {}, "group systemd", "install.method", "is missing", "apt, apk"
    ),
    "key of another method": at(
        "groups/systemd/data/install/repository",
        "https://mirror.test/x",
        "group systemd",
        "install.repository",
        "repository belongs to the method apk, but the method here is apt",
    ),
    "archive without a source for the host": Case(
        {
            "hosts/b/data/install": archive(url="https://mirror.test/x", sha256=SHA),
            "hosts/b/data/platform": {"architecture": "arm"},
        },
        "host b",
        "install.source",
        "b is arm (platform.architecture), and there is no archive for that",
        "add install.source.arm",
    ),
    "archive without sha256": at(
        "hosts/b/data/install",
        archive(url="https://mirror.test/x"),
        "host b",
        "install.source.amd64.sha256",
        "is missing",
        "what is not checked is not installed",
    ),
    "archive without url": at(
        "hosts/b/data/install", archive(sha256=SHA), "host b", "install.source.amd64", "neither a url nor a file"
    ),
    "archive with both": at(
        "hosts/b/data/install",
        archive(url="https://mirror.test/x", file="x", sha256=SHA),
        "host b",
        "install.source.amd64",
        "names both a url and a file",
    ),
    "archive file": at(
        "hosts/b/data/install", archive(file="x.tar.gz", sha256=SHA), "host b", "install.source.amd64.file", "no file"
    ),
    "archives of one version and of several": Case(
        {
            "hosts/b/data/install": {
                **archive(url="https://mirror.test/x", sha256=SHA),
                **releases(url="https://mirror.test/x", sha256=SHA),
            }
        },
        "host b",
        "install.source",
        "install.releases, those of several",
        "move what is below install.source to install.releases.3.5.1",
    ),
    "no archive at all": at(
        "hosts/b/data/install", {"method": "archive", "version": "3.5.1"}, "host b", "install.source", "are empty"
    ),
    "a version without archives": Case(
        {"hosts/b/data/install": {**releases(url="https://mirror.test/x", sha256=SHA), "version": "3.6.14"}},
        "host b",
        "install.version",
        "is 3.6.14, and install.releases has no such version",
        "add install.releases.3.6.14, or choose one that is there: 3.5.1",
    ),
    "release without an archive for the host": Case(
        {
            "hosts/b/data/install": releases(url="https://mirror.test/x", sha256=SHA),
            "hosts/b/data/platform": {"architecture": "arm"},
        },
        "host b",
        "install.releases.3.5.1",
        "b is arm (platform.architecture), and there is no archive for that",
        "add install.releases.3.5.1.arm",
    ),
    "file of a release": at(
        "hosts/b/data/install",
        releases(file="x.tar.gz", sha256=SHA),
        "host b",
        "install.releases.3.5.1.amd64.file",
        "no file",
    ),
    "name of a release": at(
        "hosts/b/data/install",
        {"method": "archive", "version": "3.5.1", "releases": {"v3.5.1": {}}},
        "host b",
        "install.releases.v3.5.1",
        "'v3.5.1' is not a release",
        "without a v",
    ),
    "release without sha256": at(
        "hosts/b/data/install",
        releases(url="https://mirror.test/x"),
        "host b",
        "install.releases.3.5.1.amd64.sha256",
        "is missing",
        "what is not checked is not installed",
    ),
    "archive version": Case(
        {"hosts/b/data/install": {**archive(url="https://mirror.test/x", sha256=SHA), "version": "v3.5.1"}},
        "host b",
        "install.version",
        "'v3.5.1' is not a release",
        "without a v",
    ),
    # groups
    "neither init system": at("hosts/b/groups", ["home"], "host b", "groups", "is in neither of the groups systemd"),
    "no cluster": at("hosts/b/groups", ["systemd"], "host b", "groups", "is in no cluster"),
    "two clusters": Case(
        {"groups/edge": {"data": {"cluster": {"token": "edge"}}}, "hosts/b/groups": ["home", "edge", "systemd"]},
        "host b",
        "groups",
        "is in 2 clusters: home, edge",
    ),
    "both init systems, one nested": Case(
        {"groups/pi": {"groups": ["openrc"]}, "hosts/b/groups": ["home", "systemd", "pi"]},
        "host b",
        "groups",
        "is in both groups systemd and openrc",
    ),
    # between hosts
    "one address": at(f"{MEMBER}/address", "192.0.2.1", "host b", "member.address", "is that of a too (host a, "),
    "one fqdn": at(f"{MEMBER}/fqdn", "A.home.test", "host b", "member.fqdn", "FQDN a.home.test is that of a too"),
    "one name": at(f"{MEMBER}/name", "a", "host b", "member.name", "member name a is that of a too"),
    "one machine": at("hosts/b/hostname", "192.0.2.1", "host b", "hostname", "192.0.2.1:22 is that of a too"),
    "tokens differ": at(
        "hosts/b/data/cluster",
        {"token": "other"},
        "host b",
        "cluster.token",
        "members of cluster home differ: 'other' for b (host b, ",
        "set cluster.token once, in group home",
    ),
    "tls differs": at(
        "hosts/b/data/cluster", {"client_tls": False}, "host b", "cluster.client_tls", "differ: false for b"
    ),
    "heartbeats differ": at(
        "hosts/b/data/cluster", {"heartbeat_ms": 400}, "host b", "cluster.heartbeat_ms", "400 for b (host b"
    ),
    "trust anchors differ": at(
        "hosts/b/data/pki",
        {"trust_anchor": {"mount": "x"}},
        "host b",
        "pki.trust_anchor",
        "members of cluster home differ",
    ),
    "backups differ": at(
        "hosts/b/data/backup", {"daily": 30}, "host b", "backup.daily", "members of cluster home differ: 30 for b"
    ),
    "a count below zero": at(
        "groups/home/data/backup", {"weekly": -1}, "group home", "backup.weekly", "-1 is too small"
    ),
    "a folder without a name": at("groups/home/data/backup", {"folder": ""}, "group home", "backup.folder", ""),
    "an age without a unit": at("groups/home/data/backup", {"max_age": 36}, "group home", "backup.max_age", "no unit"),
    "a store with a key": at(
        "groups/home/data/backup", {"url": "s3://key:secret@b"}, "group home", "backup.url", "holds credentials"
    ),
    "a store of another kind": at(
        "groups/home/data/backup", {"url": "ftp://backups"}, "group home", "backup.url", "not the address of a store"
    ),
    "a secret key of age": at(
        "groups/home/data/backup",
        {"url": "s3://b", "recipients": ["AGE-SECRET-KEY-1XYZ"]},
        "group home",
        "backup.recipients",
        "holds a secret key",
        "age-keygen -y",
    ),
    "no key of age": at(
        "groups/home/data/backup",
        {"url": "s3://b", "recipients": ["ssh-ed25519 AAAA"]},
        "group home",
        "backup.recipients",
        "is not a public key of age",
    ),
    # the files' shape
    "host without value": at("hosts/b", None, "host b", "", "has no value", "hostname, groups and data"),
    "misspelt attribute": at(
        "hosts/b/host_name", "x", "host b", "host_name", "did you mean hostname?); Nornir would ignore it silently"
    ),
    "unknown group": at(
        "hosts/b/groups", ["hom", "systemd"], "host b", "groups", "there is no group hom (did you mean home?)"
    ),
    "section beside data": at(
        "hosts/b/cluster", {}, "host b", "cluster", "stands beside data:", "indent it below data:"
    ),
    "data without value": at("groups/home/data", None, "group home", "data", "has no value"),
    "groups as text": at("hosts/b/groups", "home", "host b", "groups", "must be a list of names"),
    "group in itself": at("groups/home/groups", ["home"], "group home", "groups", "is its own parent"),
    "connection option": at(
        "hosts/b/connection_options",
        {"netmiko": {"key_file": "x"}},
        "host b",
        "connection_options.netmiko.key_file",
        "unknown key key_file",
        "below extras:",
    ),
}
FILES = {"host": "hosts.yaml", "group": "groups.yaml", "defaults": "defaults.yaml"}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_mistake_is_reported_where_it_was_written(case: Case, tmp_path: Path) -> None:
    found = [problem for problem in mistakes(tmp_path, case.edits) if problem.key == case.key]

    assert len(found) == 1, found
    assert found[0].place == case.place
    assert found[0].file.rpartition(":")[0].endswith(FILES[case.place.split()[0]])
    assert case.what in found[0].what
    assert case.remedy in found[0].remedy
    assert found[0].remedy


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"member missing", "two clusters"}))
def test_one_mistake_causes_no_others(name: str, tmp_path: Path) -> None:
    assert len(mistakes(tmp_path, CASES[name].edits)) == 1


def test_a_name_that_is_wrong_is_not_compared_with_other_clusters_and_members(tmp_path: Path) -> None:
    edits: dict[str, Any] = {"groups/edge": {"data": {"cluster": {"name": "a:b"}}}, f"{CLUSTER}/name": "x:y"}
    edits["hosts/x"] = {
        "groups": ["edge", "openrc"],
        "data": {"member": {"fqdn": "x.edge.test", "address": "192.0.2.11"}},
    }

    assert [problem.place for problem in mistakes(tmp_path, edits)] == ["group home", "group edge"]
    alone = mistakes(tmp_path, {"hosts/b/data/cluster": {"name": "x:y"}})
    assert [problem.key for problem in alone] == ["cluster.name"]


def test_sound_inventory_has_no_mistake(tmp_path: Path) -> None:
    assert mistakes(tmp_path, {}) == ()


def test_line_is_that_of_the_key(tmp_path: Path) -> None:
    (problem,) = mistakes(tmp_path, {f"{MEMBER}/address": "x.test"})
    file, _, line = problem.file.rpartition(":")

    assert "x.test" in Path(file).read_text().splitlines()[int(line) - 1]


def test_all_mistakes_of_all_files_at_once_in_file_order(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        {
            f"{MEMBER}/address": "192.0.2.1",
            f"{MEMBER}/nmae": "x",
            "hosts/c": None,
            f"{CLUSTER}/election_ms": 2000,
            f"{CLUSTER}/quota_bytes": "1GB",
            f"{ROLES}/peer/usages": ["server"],
            "defaults/data/pki/mont": "x",
        },
    )

    assert [(problem.place, problem.key) for problem in found] == [
        ("defaults", "pki.roles.peer.usages"),
        ("defaults", "pki.mont"),
        ("group home", "cluster.election_ms"),
        ("group home", "cluster.quota_bytes"),
        ("host b", "member.address"),
        ("host b", "member.nmae"),
        ("host c", ""),
    ]


def test_secret_in_the_inventory_is_not_repeated(tmp_path: Path) -> None:
    edits = {"defaults/data/pki/token": "hvs.SECRET", "defaults/data/pki/address": "https://me:SECRET@vault.test"}
    found = mistakes(tmp_path, edits)

    assert len(found) == 2
    assert "SECRET" not in "".join(map(str, found))


def test_error_as_a_person_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as caught:
        open_nornir(write_inventory(tmp_path, {f"{CLUSTER}/peer_port": 0, "hosts/b/data/member/nmae": "x"}))

    assert str(caught.value) == (
        "2 mistakes in the settings\n"
        "1. groups.yaml:13, group home, cluster.peer_port: 0 is too small\n"
        "  remedy: at least 1\n"
        "2. hosts.yaml:19, host b, member.nmae: unknown key nmae (did you mean name?)\n"
        "  remedy: allowed in member: name, fqdn, address, data_dir\n"
        "correct what is listed and run again; no host was touched"
    )


WARNINGS = {
    "even": (
        {"hosts/c": DROP},
        "cluster home has 2 members: its quorum is 2, so it survives the loss of 0; 1 would survive as many",
    ),
    "single": ({"hosts/c": DROP, "hosts/b": DROP}, "cluster home has a single member"),
    "election": ({f"{CLUSTER}/election_ms": 3000}, "less than 10 heartbeats"),
    "quota": ({f"{CLUSTER}/quota_bytes": "4GiB"}, "the quota is 4GiB"),
    "quota on arm": (
        {f"{CLUSTER}/quota_bytes": "2GiB", "hosts/b/data/platform": {"architecture": "arm"}},
        "b is 32-bit ARM",
    ),
    "client tls only": ({f"{CLUSTER}/peer_tls": False}, "in the clear"),
    "http vault": ({"defaults/data/pki/address": "http://vault.test:8200"}, "plain http"),
    "copies in clear": ({"groups/home/data/backup": {"url": "s3://b/etcd"}}, "leave this machine in clear"),
    "a key for nothing": (
        {"groups/home/data/backup": {"recipients": [f"age1{'q' * 58}"]}},
        "nothing is encrypted",
    ),
    "empty cluster": ({"groups/edge": {"data": {"cluster": {}}}}, "cluster edge has no members"),
}


@pytest.mark.parametrize(("edits", "what"), WARNINGS.values(), ids=WARNINGS.keys())
def test_warning(edits: Mapping[str, Any], what: str, tmp_path: Path) -> None:
    _, fleet = open_nornir(write_inventory(tmp_path, edits))

    assert [problem for problem in fleet.warnings if what in problem.what]
    assert len(fleet.warnings) == 1


def test_two_clusters_with_one_token_are_a_warning_and_with_one_name_a_mistake(tmp_path: Path) -> None:
    edits: dict[str, Any] = {"groups/edge": {"data": {"cluster": {"token": "home"}}}}
    for number, name in enumerate("xyz", 11):
        edits[f"hosts/{name}"] = {
            "groups": ["edge", "openrc"],
            "data": {"member": {"fqdn": f"{name}.edge.test", "address": f"192.0.2.{number}"}},
        }
    _, fleet = open_nornir(write_inventory(tmp_path, edits))

    assert [problem.key for problem in fleet.warnings] == ["cluster.token"]
    assert {name: len(hosts) for name, hosts in fleet.clusters.items()} == {"home": 3, "edge": 3}

    edits["groups/edge"]["data"]["cluster"] = {"name": "home", "token": "edge"}
    (problem,) = mistakes(tmp_path, edits)
    assert problem.key == "cluster.name"
    assert "two clusters are named home" in problem.what


@pytest.mark.parametrize(
    ("folder", "used"), [("backups", "{here}/backups"), ("/srv/backups", "/srv/backups"), ("~/b", "{home}/b")]
)
def test_the_folder_of_backups_is_made_absolute(folder: str, used: str, tmp_path: Path) -> None:
    _, fleet = open_nornir(write_inventory(tmp_path, {"groups/home/data/backup": {"folder": folder}}))
    assert {host.backup.folder for host in fleet.hosts.values()} == {used.format(here=tmp_path, home=Path.home())}
    assert {host.backup.daily for host in fleet.hosts.values()} == {7}
