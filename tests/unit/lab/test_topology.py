from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from lab import names, network, topology
from lab.errors import LabUsageError
from lab.images import debian
from lab.state import Lab, LabHost, check_name

HOST = "hosts: {a: {kind: debian, fqdn: a.home}}"


def lab_of(text: str) -> Lab:
    return topology.lay_out(topology.parse(text, "t.yaml"), "t", Path("/p/.lab/t"), IPv4Network("198.51.100.32/27"))


def test_default_topology_is_the_two_clusters_of_the_documents() -> None:
    lab = topology.lay_out(topology.read(topology.DEFAULT), "demo", Path("/p/.lab/demo"), IPv4Network("203.0.113.0/27"))
    assert [host.kind for host in lab.hosts] == ["debian", "debian", "debian-armhf", "alpine", "alpine", "alpine"]
    assert [host.fqdn for host in lab.hosts][:3] == ["etcd.az1.k8s.home", "etcd.az2.k8s.home", "etcd.az3.k8s.home"]
    assert {host.cluster for host in lab.hosts} == {"k8s-home", "k3s-edge"}
    assert [host.init for host in lab.hosts] == ["systemd"] * 3 + ["openrc"] * 3
    assert lab.address == "203.0.113.1"
    assert lab.hosts[0].address == "203.0.113.2"


def test_limits_and_sudo_password_reach_the_host() -> None:
    text = "hosts: {a: {kind: debian, fqdn: a.home, disk: 64M, memory: 1G, sudo_password: true}}"
    assert lab_of(text).hosts == (
        LabHost("a", "debian", "a.home", "198.51.100.34", None, 0, sudo_password=True, disk=64 * 2**20, memory=2**30),
    )


def test_a_time_out_of_elections_is_for_every_cluster() -> None:
    text = "clusters: {c: {}, d: {}}\nhosts: {a: {kind: debian, fqdn: a.home}}"
    assert [cluster.election_ms for cluster in lab_of(f"election_ms: 2500\n{text}").clusters] == [2500, 2500]
    assert [cluster.election_ms for cluster in lab_of(text).clusters] == [None, None]


def test_the_kind_of_keys_is_for_every_cluster_that_does_not_say() -> None:
    text = "clusters: {c: {}, d: {}}\nhosts: {a: {kind: debian, fqdn: a.home}}"
    assert [cluster.ec_keys for cluster in lab_of(f"ec_keys: true\n{text}").clusters] == [True, True]
    assert [cluster.ec_keys for cluster in lab_of(text).clusters] == [False, False]
    one = text.replace("d: {}", "d: {ec_keys: false}")
    assert [cluster.ec_keys for cluster in lab_of(f"ec_keys: true\n{one}").clusters] == [True, False]
    assert [cluster.ec_keys for cluster in lab_of(one.replace("false", "true")).clusters] == [False, True]


def test_a_host_has_the_packages_as_its_topology_says_or_itself() -> None:
    text = (
        "preinstalled: true\n"
        "hosts: {a: {kind: debian, fqdn: a.home}, b: {kind: alpine, fqdn: b.home, preinstalled: false}}"
    )
    assert [host.image for host in lab_of(text).hosts] == ["debian+etcd", "alpine"]
    assert [host.image for host in lab_of(text.replace("true", "false")).hosts] == ["debian", "alpine"]
    assert lab_of("hosts: {a: {kind: alpine, fqdn: a.home, preinstalled: true}}").hosts[0].image == "alpine+etcd"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hosts: {}", "hosts: "),
        ("hosts: [", "not valid YAML"),
        ("hosts: {a: {kind: debian, fqdn: a.home}, a: {kind: alpine, fqdn: b.home}}", "'a' is given twice"),
        ("hosts: {a: {kind: fedora, fqdn: a.home}}", "hosts > a > kind: Input should be 'debian'"),
        ("hosts: {a: {kind: debian, fqdn: a.home, dsik: 64M}}", "hosts > a > dsik: unknown key"),
        ("hosts: {a: {kind: debian, fqdn: a.home, disk: 64MB}}", "a size is a number with K, M or G"),
        ("hosts: {a: {kind: debian, fqdn: a.home, disk: 1M}}", "hosts > a > disk: "),
        ("hosts: {a: {kind: debian, fqdn: a}}", "at least two labels"),
        ("hosts: {A_1: {kind: debian, fqdn: a.home}}", "lower-case letters"),
        ("hosts: {a: {kind: debian, fqdn: a.home, cluster: c}}", "no cluster c under clusters (there: none)"),
        ("hosts: {a: {kind: alpine, fqdn: a.home, sudo_password: true}}", "sudo_password is for Debian kinds"),
        ("hosts: {a: {kind: debian, fqdn: a.home}, b: {kind: debian, fqdn: a.home}}", "a.home: used 2 times"),
        (f"{HOST}\nvault: a.home", "a.home: used 2 times"),
        (f"{HOST}\nsubnet: 198.51.100.0/31", "too small for 1 hosts"),
        (f"{HOST}\nsubnet: 198.51.100.1/24", "has host bits set"),
        (f"{HOST}\nsubnet: 8.8.8.0/24", "these belong to others"),
        (f"{HOST}\nsubnets: 198.51.100.0/24", "subnets: unknown key"),
    ],
)
def test_mistakes_are_named(text: str, expected: str) -> None:
    with pytest.raises(LabUsageError) as caught:
        topology.parse(text, "t.yaml")
    assert expected in str(caught.value)
    assert str(caught.value).startswith("t.yaml: ")


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(LabUsageError) as caught:
        topology.parse("hosts: {a: {kind: fedora, fqdn: a}}\nfoo: 1", "t.yaml")
    assert all(part in caught.value.what for part in ("a > kind", "a > fqdn", "foo"))


@pytest.mark.parametrize(
    ("hosts", "used", "expected"),
    [
        (6, [], "198.51.100.0/27"),
        (6, ["198.51.100.0/27"], "198.51.100.32/27"),
        (6, ["198.51.100.0/24"], "203.0.113.0/27"),
        (6, ["198.51.100.0/24", "203.0.113.80/32"], "203.0.113.0/27"),
        (6, ["198.51.100.0/24", "203.0.113.0/26", "192.0.2.0/24"], "203.0.113.64/27"),
        (29, [], "198.51.100.0/27"),
        (30, [], "198.51.100.0/26"),
        (250, ["198.51.100.64/27"], "203.0.113.0/24"),
    ],
)
def test_first_free_subnet_is_taken(hosts: int, used: list[str], expected: str) -> None:
    assert topology.free_subnet(hosts, [IPv4Network(network) for network in used]) == IPv4Network(expected)


def test_no_free_subnet_is_an_error() -> None:
    with pytest.raises(LabUsageError, match="in use"):
        topology.free_subnet(1, [IPv4Network("0.0.0.0/0")])


@pytest.mark.parametrize("name", ["", "Demo", "-a", "a/b", "..", "a" * 32])
def test_lab_names_that_are_refused(name: str) -> None:
    with pytest.raises(LabUsageError):
        check_name(name)


def test_everything_of_a_lab_has_a_short_mark_of_its_own() -> None:
    one, other = (
        lab_of(HOST),
        topology.lay_out(topology.parse(HOST, "t.yaml"), "t", Path("/other/.lab/t"), IPv4Network("198.51.100.64/27")),
    )
    assert one.bridge != other.bridge
    assert len(one.veth(one.hosts[0])) <= 15
    assert len(network.mac(one, 255)) == 17


def test_only_what_leaves_the_lab_is_masqueraded() -> None:
    rules = network.ruleset(lab_of(HOST))
    assert "ip saddr 198.51.100.32/27 ip daddr != 198.51.100.32/27 masquerade" in rules


def test_service_name_stands_for_all_members() -> None:
    text = """
clusters: {c: {service_name: c.home}}
hosts:
  a: {kind: debian, fqdn: a.home, cluster: c}
  b: {kind: debian, fqdn: b.home, cluster: c}
  x: {kind: debian, fqdn: x.home}
"""
    found = names.records(lab_of(text))
    assert [address for address, name in found if name == "c.home"] == ["198.51.100.34", "198.51.100.35"]
    assert ("198.51.100.33", "vault.home") in found


MINE = "127.0.0.1 localhost\n# a comment\n10.0.0.1 a.home\n"


@pytest.mark.parametrize("cut", [False, True], ids=["whole block", "cut off block"])
def test_hosts_file_is_restored_exactly(cut: bool) -> None:
    block = names.block("abcdef", [("198.51.100.34", "b.home")])
    if cut:
        block = "".join(block.splitlines(keepends=True)[:-1])
    assert names.without_block(MINE + block, "abcdef") == MINE
    assert names.without_block(MINE + block + "# next\n10.0.0.2 c\n", "abcdef") == MINE + "# next\n10.0.0.2 c\n"


def test_other_labs_block_stays() -> None:
    text = MINE + names.block("123456", [("198.51.100.2", "b.home")])
    assert names.without_block(text, "abcdef") == text
    assert names.claimed(text) == {"localhost", "a.home", "b.home"}


def test_only_debians_own_archives_are_used() -> None:
    key = debian.KEYRING
    targets = "\n".join(
        [
            f"Debian|trixie|http://mirror.example/debian/|main|{key}",
            f"Debian|trixie|http://mirror.example/debian/|contrib|{key}",
            f"Debian|trixie-updates|http://mirror.example/debian/|main|{key}",
            f"Debian|trixie-security|http://mirror.example/security/|main|{key}",
            "Vendor|trixie|http://vendor.example/|main|/etc/keys/vendor.gpg",
            "|trixie|http://other.example/debian/|main|",
            f"Debian|sid|http://mirror.example/debian/|main|{key}",
        ]
    )
    assert debian.debian_lines(targets, "trixie") == (
        f"deb [signed-by={key}] http://mirror.example/debian/ bookworm main",
        f"deb [signed-by={key}] http://mirror.example/debian/ bookworm-updates main",
        "deb http://other.example/debian/ bookworm main",
    )
    assert debian.debian_lines(targets, "") == ()
    # A host kind of another release, and the newest of all, which has no updates beside it.
    assert debian.debian_lines(targets, "trixie", debian.SUITES["debian13"])[1].endswith(" trixie-updates main")
    assert [line.split()[-2] for line in debian.debian_lines(targets, "trixie", debian.UNSTABLE)] == ["sid", "sid"]


def test_a_host_of_debian_13_is_managed_as_one_of_debian_12() -> None:
    (host,) = lab_of("hosts: {a: {kind: debian13, fqdn: a.home, sudo_password: true}}").hosts
    assert (host.kind, host.init, host.login) == ("debian13", "systemd", "pi")
