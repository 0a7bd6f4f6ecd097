"""What a change of etcd's configuration file means."""

from __future__ import annotations

import pytest

from etcdfleet.etcd.configuration import (
    PEER_URL,
    addresses_in,
    anchors_in,
    client_port_in,
    names_of,
    needs_restart,
    pair_files_in,
    state_in,
    wanted_addresses,
)
from tests.unit.support.site import settings

FILE = b"""# a comment
name: a
initial-cluster: a=https://a:2380
initial-cluster-token: t
initial-cluster-state: new
peer-transport-security:
  cert-file: /x
"""


@pytest.mark.parametrize(
    ("old", "new", "restart"),
    [
        (b"# a comment", b"# another", False),
        (b"initial-cluster-state: new", b"initial-cluster-state: existing", False),
        (b"a=https://a:2380", b"a=https://a:2380,b=https://b:2380", False),
        (b"token: t", b"token: u", False),
        (b"name: a", b"name: 'a'", False),
        (b"name: a", b"name: a\nexperimental-initial-corrupt-check: true", False),
        (b"name: a", b"name: a\nfeature-gates: CompactHashCheck=true,InitialCorruptCheck=true", False),
        (b"name: a", b"name: a\nfeature-gates: CompactHashCheck=true,LeaseCheckpoint=true", True),
        (b"name: a", b"name: a\nexperimental-compact-hash-check-time: 5", True),
        (b"name: a", b"name: a\nfeature-gates: ''", False),
        (b"name: a", b"name: b", True),
        (b"cert-file: /x", b"cert-file: /y", True),
        (b"name: a", b"name: a\nquota-backend-bytes: 1", True),
        (b"name: a\n", b"", True),
        (b"name: a", b"name: [", True),
        (FILE, b"just text", True),
    ],
)
def test_only_what_a_running_etcd_would_read_asks_for_a_restart(old: bytes, new: bytes, restart: bool) -> None:
    changed = FILE.replace(old, new)
    assert changed != FILE
    assert needs_restart(FILE, changed) is restart
    assert needs_restart(changed, FILE) is restart


@pytest.mark.parametrize(
    ("content", "state"),
    [(FILE, "new"), (b"initial-cluster-state: existing", "existing"), (b"a: b", None), (b"[", None), (None, None)],
)
def test_the_state_in_a_file(content: bytes | None, state: str | None) -> None:
    assert state_in(content) == state


NAMED = b"client-transport-security: {trusted-ca-file: /etc/etcd/certs/clientCA.pem}\n"


@pytest.mark.parametrize(
    ("content", "files"),
    [
        (NAMED, {"client": "/etc/etcd/certs/clientCA.pem"}),
        (b"name: a\n", {}),
        (b"\xef\xbb\xbf" + NAMED, {"client": "/etc/etcd/certs/clientCA.pem"}),
        (b"peer-transport-security:\nclient-transport-security: {trusted-ca-file: }\n", {}),
        (b"peer-transport-security: {auto-tls: true}\n" + NAMED, {"client": "/etc/etcd/certs/clientCA.pem"}),
        # No etcd starts with these.
        (None, None),
        (b"", None),
        (b"# nothing but a comment\n", None),
        (b"\0" * 512, None),
        (NAMED + b"# \xff\xfe\n", None),
        (b"- name: a\n", None),
        (b"a: [\n", None),
        (b"a: " + b"[" * 3000, None),
        (NAMED + b"x: 2001-13-45\n", None),
        (NAMED + b"x: !unknown 1\n", None),
        (NAMED + b"---\nname: a\n", None),
        (NAMED + b"peer-transport-security: text\n", None),
        (NAMED + b"peer-transport-security: [a]\n", None),
        (NAMED + b"peer-transport-security: {trusted-ca-file: 7}\n", None),
    ],
)
def test_a_file_that_no_etcd_starts_with_is_not_taken_for_one_without_anchors(
    content: bytes | None, files: dict[str, str] | None
) -> None:
    assert anchors_in(content) == files


ADDRESSES = b"""listen-peer-urls: https://198.51.100.11:2380
listen-client-urls: https://198.51.100.11:2379, https://127.0.0.1:2379
initial-advertise-peer-urls: https://etcd.AZ1.k8s.home:2380/
advertise-client-urls: https://etcd.az1.k8s.home:2379
"""


def test_where_a_member_is_reached_is_compared_without_scheme_order_and_case() -> None:
    assert addresses_in(ADDRESSES) == wanted_addresses(settings(1))
    assert addresses_in(ADDRESSES.replace(b"https", b"http")) == wanted_addresses(settings(1, client_tls=False))
    other = addresses_in(ADDRESSES.replace(b"etcd.AZ1", b"old"))
    assert {key for key, there in other.items() if there != wanted_addresses(settings(1))[key]} == {PEER_URL}
    assert addresses_in(ADDRESSES) != wanted_addresses(settings(1, client_port=2381))
    assert addresses_in(b"listen-peer-urls: 7\nname: a") == {"listen-peer-urls": frozenset()}
    assert addresses_in(b"[") == addresses_in(None) == {}


def test_the_names_of_a_member_are_those_by_which_other_hosts_reach_it() -> None:
    assert names_of(addresses_in(ADDRESSES)) == {"198.51.100.11", "etcd.az1.k8s.home"}
    assert names_of({"listen-client-urls": frozenset({"[::1]:2379", "0.0.0.0:2379", "localhost:1", ":2379"})}) == set()


@pytest.mark.parametrize(
    ("content", "port"),
    [
        (ADDRESSES, 2379),
        (ADDRESSES.replace(b"127.0.0.1:2379", b"127.0.0.1:12379"), 12379),
        (b"listen-client-urls: http://0.0.0.0:4001", 4001),
        (b"listen-client-urls: http://[::]:4001", 4001),
        (b"listen-client-urls: http://198.51.100.11:4001", None),
        (b"name: a", None),
        (None, None),
    ],
)
def test_the_port_for_etcdctl_on_the_host(content: bytes | None, port: int | None) -> None:
    assert client_port_in(content) == port


def test_the_pairs_that_a_file_names() -> None:
    assert pair_files_in(FILE) == {"peer": "/x"}
    assert pair_files_in(b"client-transport-security: {cert-file: /y}\npeer-transport-security: 7") == {"client": "/y"}
    assert pair_files_in(b"[") == pair_files_in(None) == {}
