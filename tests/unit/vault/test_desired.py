"""What must be in Vault, and how what is there differs: pure functions."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from etcdfleet.certs import Certificate, parse_pem_bundle
from etcdfleet.certs.authority import authority_problems
from etcdfleet.settings.models import HostSettings
from etcdfleet.settings.vault import VaultPki
from etcdfleet.vault import desired as wanted
from etcdfleet.vault.desired import as_diff, conflicts, differences
from tests.unit.support.certs_ca import NOW, PEERS, ROOT, ca
from tests.unit.support.site import settings

ADDRESS = "https://vault.home:8200"
NAMES = ["etcd.az1.k8s.home", "etcd.az2.k8s.home", "etcd.az3.k8s.home"]


def cluster(name: str = "k8s-home", *, service: str | None = None, **pki: Any) -> tuple[HostSettings, ...]:
    """The members of a cluster."""
    chosen = VaultPki.model_validate(pki).for_cluster(name)
    return tuple(settings(number, pki=chosen, name=name, service_name=service) for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("pki", "mounts"),
    [
        (
            {},
            {
                "pki_etcd_k8s-home_peer": "etcd k8s-home peer CA",
                "pki_etcd_k8s-home_client": "etcd k8s-home client CA",
            },
        ),
        (
            {"mounts": {"peer": "team/peers"}},
            {"team/peers": "etcd k8s-home peer CA", "pki_etcd_k8s-home_client": "etcd k8s-home client CA"},
        ),
        ({"trust": "single"}, {"pki_intermediate_ca": "etcd CA"}),
    ],
)
def test_mounts(pki: dict[str, Any], mounts: dict[str, str]) -> None:
    issuing = wanted.mounts(cluster(**pki), ADDRESS)
    assert {mount.path: mount.ca_name for mount in issuing} == mounts
    for mount in issuing:
        assert mount.urls["issuing_certificates"] == [f"{ADDRESS}/v1/{mount.path}/ca"]
        assert mount.root == "pki_root"


def test_addresses_of_another_base() -> None:
    (mount,) = wanted.mounts(cluster(trust="single", setup={"urls": "http://pki.home/"}), ADDRESS)
    assert mount.urls["crl_distribution_points"] == ["http://pki.home/v1/pki_intermediate_ca/crl"]


@pytest.mark.parametrize(
    ("key_type", "kind", "bits", "usage"),
    [
        ("rsa-2048", "rsa", 2048, ["DigitalSignature", "KeyEncipherment"]),
        ("rsa-4096", "rsa", 4096, ["DigitalSignature", "KeyEncipherment"]),
        ("ec-p256", "ec", 256, ["DigitalSignature"]),
        ("ec-p384", "ec", 384, ["DigitalSignature"]),
    ],
)
def test_keys_of_roles(key_type: str, kind: str, bits: int, usage: list[str]) -> None:
    peer, server, client = wanted.roles(cluster(key_type=key_type))
    for role in (peer, server, client):
        assert (role.parameters["key_type"], role.parameters["key_bits"]) == (kind, bits)
    assert peer.parameters["key_usage"] == server.parameters["key_usage"] == usage
    assert client.parameters["key_usage"] == ["DigitalSignature"]


def test_names_of_roles() -> None:
    peer, server, client = wanted.roles(cluster(service="etcd.home"))
    assert peer.parameters["allowed_domains"] == NAMES
    assert server.parameters["allowed_domains"] == [*NAMES, "etcd.home"]
    assert client.parameters["allow_any_name"]
    assert not client.parameters["allow_ip_sans"]
    assert "allowed_domains" not in client.parameters


@pytest.mark.parametrize(("length", "demands"), [(64, True), (65, False)])
def test_a_role_demands_no_common_name_that_cannot_be(length: int, demands: bool) -> None:
    first, *others = cluster()
    fqdn = f"{'x' * 50}.".ljust(length, "y")
    member = first.member.model_copy(update={"fqdn": fqdn})
    peer, server, client = wanted.roles([replace(first, members=(member, *first.members[1:])), *others])
    assert [role.parameters["require_cn"] for role in (peer, server, client)] == [demands, demands, True]


def test_names_of_authorities_are_no_longer_than_a_common_name_may_be() -> None:
    first = cluster()[0]
    names = []
    for end in "ab":
        settings = first.cluster.model_copy(update={"name": "x" * 62 + end})
        names += [mount.ca_name for mount in wanted.mounts([replace(first, cluster=settings)])]
    assert max(map(len, names)) <= 64
    assert len(set(names)) == 4
    assert [mount.ca_name for mount in wanted.mounts([first])] == ["etcd k8s-home peer CA", "etcd k8s-home client CA"]


def test_a_role_that_clusters_share_allows_the_names_of_all() -> None:
    one, other = cluster("one", service="one.home", trust="single"), cluster("two", service="two.home", trust="single")
    for members, others in ((one, other), (other, one)):
        _, server, _ = wanted.roles(members, [others])
        assert sorted(server.parameters["allowed_domains"]) == sorted([*NAMES, "one.home", "two.home"])
    _, server, _ = wanted.roles(one, [cluster("two", service="two.home")])
    assert "two.home" not in server.parameters["allowed_domains"], "another mount's role"


@pytest.mark.parametrize(
    ("pki", "there", "not_there"),
    [
        ({}, {"pki_etcd_k8s-home_peer/sign/etcd-peer", "pki_root/ca/pem"}, {"/issue/", "_peer/revoke", "*", "+"}),
        ({"revoke": True}, {"pki_etcd_k8s-home_peer/revoke", "pki_etcd_k8s-home_client/revoke"}, {"*", "+"}),
        ({"key_origin": "vault"}, {"pki_etcd_k8s-home_peer/issue/etcd-peer"}, {"*", "+"}),
        ({"trust": "single"}, {"pki_intermediate_ca/sign/etcd-client"}, {"pki_etcd_", "/issue/"}),
        ({"trust_anchor": {"file": "root.pem"}}, {"pki_etcd_k8s-home_client/sign/etcd-client"}, {"pki_root"}),
    ],
)
def test_policy(pki: dict[str, Any], there: set[str], not_there: set[str]) -> None:
    text = wanted.policy(cluster(**pki))
    for words in there:
        assert f'path "{words}"' in text
    for words in not_there:
        assert words not in text


ROLE = {"allowed_domains": ["a", "b"], "ttl": 3600, "max_ttl": 7200, "require_cn": True, "key_bits": 2048}


@pytest.mark.parametrize(
    ("there", "different"),
    [
        (ROLE, []),
        ({**ROLE, "allowed_domains": ["b", "a"]}, []),
        ({**ROLE, "allowed_domains": "a,b"}, []),
        ({**ROLE, "max_ttl": "2h", "ttl": "1h0m0s"}, []),
        ({**ROLE, "no_store": True}, []),
        ({**ROLE, "ttl": 0}, []),
        ({**ROLE, "ttl": "30m"}, ["ttl"]),
        ({**ROLE, "max_ttl": 0}, ["max_ttl"]),
        ({**ROLE, "allowed_domains": "a, b, evil"}, ["allowed_domains"]),
        ({**ROLE, "require_cn": False, "key_bits": 0}, ["require_cn", "key_bits"]),
        ({}, ["allowed_domains", "max_ttl", "require_cn", "key_bits"]),
    ],
)
def test_differences(there: dict[str, Any], different: list[str]) -> None:
    assert [one.key for one in differences(ROLE, there)] == different


@pytest.mark.parametrize("there", ["192.0.2.1", "192.0.2.1/32", ["192.0.2.1"]])
def test_a_network_of_one_address(there: object) -> None:
    assert differences({"token_bound_cidrs": ["192.0.2.1/32"]}, {"token_bound_cidrs": there}) == ()


def test_a_diff() -> None:
    changes = differences(ROLE, {**ROLE, "require_cn": False, "allowed_domains": []})
    lines = ["--- role (Vault)", "+++ role (wanted)", "-allowed_domains = nothing", "+allowed_domains = a, b"]
    assert as_diff("role", changes).splitlines() == [*lines, "-require_cn = false", "+require_cn = true"]
    assert as_diff("role", ()) == ""


SINGLE = {"trust": "single"}


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ({}, {}, ""),
        (SINGLE, SINGLE, ""),
        (SINGLE, {**SINGLE, "setup": {"subject": {}}}, ""),
        ({}, {"key_type": "ec-p256"}, ""),
        (SINGLE, {**SINGLE, "key_type": "ec-p256"}, "role etcd-peer of pki_intermediate_ca"),
        (SINGLE, {**SINGLE, "setup": {"urls": "http://x.home"}}, "mount pki_intermediate_ca"),
        (SINGLE, {**SINGLE, "trust_anchor": {"mount": "other_root"}}, "mount pki_intermediate_ca"),
        (
            SINGLE,
            {**SINGLE, "key_type": "ec-p256", "roles": {role: {"name": role} for role in ("peer", "server", "client")}},
            "",
        ),
        ({}, {"setup": {"approle": {"token_ttl": timedelta(minutes=5)}}}, "AppRole etcdfleet"),
        ({}, {"setup": {"approle": {"token_ttl": timedelta(minutes=5), "name": "mine"}}}, ""),
    ],
)
def test_conflicts(one: dict[str, Any], other: dict[str, Any], words: str) -> None:
    problems = conflicts([cluster("one", **one), cluster("two", **other)])
    assert bool(problems) == bool(words), problems
    if words:
        assert any(words in text and "clusters one and two" in text for text in problems), problems


SOON, LATE = NOW + timedelta(hours=1), NOW + timedelta(days=100_000)


def certificate(pem: str) -> Certificate:
    return parse_pem_bundle(pem)[0]


@pytest.mark.parametrize(
    ("change", "key", "root", "until", "words"),
    [
        ({}, True, ROOT.pem, SOON, ""),
        ({}, False, ROOT.pem, SOON, ""),
        ({"public_key": "other"}, True, ROOT.pem, SOON, "another key"),
        ({"public_key": "other"}, False, ROOT.pem, SOON, ""),
        ({"is_ca": False}, True, ROOT.pem, SOON, "no CA's certificate"),
        ({"key_usage": frozenset({"digital_signature"})}, True, ROOT.pem, SOON, "keyCertSign"),
        ({"not_before": LATE}, True, ROOT.pem, SOON, "not valid before"),
        ({}, True, ROOT.pem, LATE, "ends at"),
        ({}, True, ca("Another Root").pem, SOON, "trust anchor"),
    ],
)
def test_what_a_root_signed(change: dict[str, Any], key: bool, root: str, until: datetime, words: str) -> None:
    signed = certificate(PEERS.pem)
    expected = signed.public_key if key else ""
    problems = authority_problems([replace(signed, **change)], [certificate(root)], key=expected, until=until, now=NOW)
    assert bool(problems) == bool(words), problems
    assert words in "; ".join(problems)


def test_names_that_a_role_signs_for_may_stay() -> None:
    peer, _, client = wanted.roles(cluster())
    there = {"allowed_domains": ["old.home", NAMES[0]], "ttl": 7}
    kept = wanted.with_names_of(peer.parameters, there)
    assert kept == {**peer.parameters, "allowed_domains": [*NAMES, "old.home"]}
    assert wanted.with_names_of(peer.parameters, {}) == peer.parameters
    assert wanted.with_names_of(client.parameters, there) == client.parameters, "a client may have any name"
