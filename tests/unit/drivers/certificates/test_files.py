"""Certificates from files: what is taken, what is refused and what is said to correct it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives import serialization

from etcdfleet.certs import Keep, Renew, check_bundle, parse_pem_bundle
from etcdfleet.drivers.certificates import needed_roles
from etcdfleet.drivers.certificates.files import FilesPki, FilesSource
from etcdfleet.errors import CertificateError
from etcdfleet.host.facts import PairFacts
from etcdfleet.settings.auth import AuthSettings
from etcdfleet.settings.models import HostSettings
from tests.unit.host.test_preflight import GOOD
from tests.unit.support.certs_ca import DAY, YEAR, Made, ca, key, leaf, pem_of
from tests.unit.support.site import MEMBERS, settings

NOW = datetime.now(UTC)
LIFE: dict[str, Any] = {"start": NOW - DAY, "end": NOW + 2 * YEAR}
CA = ca("etcd", label="files", start=NOW - DAY, end=NOW + 5 * YEAR)
OTHER = ca("etcd", label="files too", start=NOW - DAY, end=NOW + 5 * YEAR)
MIDDLE = ca("etcd members", CA, label="files middle", start=NOW - DAY, end=NOW + 4 * YEAR)
BOTH = ("server", "client")
FACTS = replace(GOOD, clock=NOW, read_at=NOW.timestamp())
SERVER_NAMES: dict[str, Any] = {
    "dns": [member.fqdn for member in MEMBERS],
    "ips": [*(member.address for member in MEMBERS), "127.0.0.1"],
}


def server(issuer: Made = CA, **changes: Any) -> Made:
    return leaf(issuer, "etcd", **{"usages": BOTH, "label": "server", **SERVER_NAMES, **LIFE, **changes})


def write(folder: Path, stem: str, *chain: Made | str, key_of: Made | None = None) -> None:
    """``stem.pem``, and the key of the first of ``chain``."""
    text = "".join(part if isinstance(part, str) else part.pem for part in chain)
    (folder / f"{stem}.pem").write_text(text)
    if key_of or isinstance(chain[0], Made):
        path = folder / f"{stem}-key.pem"
        path.write_text(pem_of((key_of or chain[0]).key, pkcs8=False))  # type: ignore[union-attr]
        path.chmod(0o600)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A member's files, all of them good."""
    (tmp_path / "ca.pem").write_text(CA.pem)
    write(tmp_path, "server", server())
    write(tmp_path, "client", leaf(CA, "root", dns=("",), ips=(), usages=("client",), label="client", **LIFE))
    for number, member in enumerate(MEMBERS, 1):
        peer = leaf(CA, member.name, dns=(member.fqdn,), ips=(member.address,), label=f"peer {number}", **LIFE)
        write(tmp_path, member.name, peer)
    return tmp_path


def of(folder: Path, number: int = 1, *, auth: bool | None = None, **pki: Any) -> HostSettings:
    given = {"source": "files", "folder": str(folder), "trust": "single", "renew_before": "30d", **pki}
    given.setdefault("roles", {"server": {"usages": list(BOTH)}})
    return settings(number, pki=FilesPki.model_validate(given), gateway=auth is None, auth=AuthSettings(enabled=auth))


def source(host: HostSettings) -> FilesSource:
    return FilesSource(cast(FilesPki, host.pki), cast(Any, None))


def check(host: HostSettings) -> tuple[str, ...]:
    return source(host).check(host, FACTS, needed_roles(host))


def refused(host: HostSettings) -> CertificateError:
    with pytest.raises(CertificateError) as caught:
        check(host)
    return caught.value


def test_good_files_are_taken_as_they_are(folder: Path) -> None:
    for number in (1, 2, 3):
        host = of(folder, number)
        assert check(host) == ()
        files = source(host)
        for role in needed_roles(host):
            want = files.want(host, role)
            made = files.obtain(host, want, None)
            name = {"peer": f"az-{number}"}.get(role, role)
            assert made.pem == (folder / f"{name}.pem").read_text()
            assert check_bundle(want, made.pem, made.key or "", now=NOW, clock_of_host=NOW) == ()
            assert "PRIVATE KEY" not in repr(made)


def faulty_usages(folder: Path) -> None:
    write(folder, "server", server(usages=("server",)))


def few_names(folder: Path) -> None:
    write(folder, "server", server(dns=["etcd.home"], ips=[member.address for member in MEMBERS]))


def peer_by_name_only(folder: Path) -> None:
    write(folder, "az-1", leaf(CA, "az-1", dns=("az-1",), ips=(), label="peer 1", **LIFE))


def expired(folder: Path) -> None:
    write(folder, "server", server(end=NOW - timedelta(hours=1)))


def of_another_ca(folder: Path) -> None:
    write(folder, "server", server(OTHER))


def root_in_the_file(folder: Path) -> None:
    write(folder, "server", server(), CA)


def ca_first(folder: Path) -> None:
    write(folder, "server", CA, server())


def other_key(folder: Path) -> None:
    write(folder, "server", server(), key_of=OTHER)


def encrypted_key(folder: Path) -> None:
    text = key("server").private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    (folder / "server-key.pem").write_bytes(text)


def certificate_as_key(folder: Path) -> None:
    """Its public key fits, of course."""
    (folder / "server-key.pem").write_text(server().pem)


def missing_key(folder: Path) -> None:
    (folder / "server-key.pem").unlink()


def missing_peer(folder: Path) -> None:
    (folder / "az-1.pem").unlink()


def missing_ca(folder: Path) -> None:
    (folder / "ca.pem").unlink()


def ca_is_no_ca(folder: Path) -> None:
    (folder / "ca.pem").write_text(server().pem)


def expired_ca(folder: Path) -> None:
    (folder / "ca.pem").write_text(ca("etcd", label="files", start=NOW - YEAR, end=NOW - DAY).pem)


def json_of_cfssl(folder: Path) -> None:
    (folder / "server.pem").write_text('{"cert": "-----BEGIN CERTIFICATE-----\\nMII=\\n-----END CERTIFICATE-----\\n"}')


def der(folder: Path) -> None:
    (folder / "server.pem").write_bytes(server().certificate.public_bytes(serialization.Encoding.DER))


def client_for_servers_too(folder: Path) -> None:
    """What cfssl makes without a configuration."""
    write(folder, "client", leaf(CA, "root", dns=(), ips=(), label="client", **LIFE))


GENCERT = (
    "cfssl gencert -ca=ca.pem -ca-key=ca-key.pem -config=ca-config.json -profile=server server.json | "
    "cfssljson -bare server"
)
REFUSED: list[tuple[Callable[[Path], None], str, str, str]] = [
    (
        faulty_usages,
        "server.pem",
        "etcd's gateway connects to etcd itself with it, as a client: etcd would log \"certificate specifies an "
        'incompatible key usage" and refuse it',
        'write "usages": ["signing", "key encipherment", "server auth", "client auth"] for the profile of server '
        f"certificates in ca-config.json; then make it again: {GENCERT}",
    ),
    (
        few_names,
        "server.pem",
        "it is not valid for etcd.az1.k8s.home, 127.0.0.1",
        'add "etcd.az1.k8s.home", "etcd.az2.k8s.home", "etcd.az3.k8s.home", "127.0.0.1" to "hosts" in server.json',
    ),
    (
        peer_by_name_only,
        "az-1.pem",
        "it is not valid for etcd.az1.k8s.home, 198.51.100.11",
        'add "etcd.az1.k8s.home", "198.51.100.11" to "hosts" in az-1.json; then make it again: cfssl gencert '
        "-ca=ca.pem -ca-key=ca-key.pem -config=ca-config.json -profile=peer az-1.json | cfssljson -bare az-1",
    ),
    (expired, "server.pem", "it expired at", GENCERT),
    (
        of_another_ca,
        "server.pem",
        "certificate signed by unknown authority",
        "have it signed by 'etcd', or put the certificate of the CA that signed it into ca.pem",
    ),
    (
        root_in_the_file,
        "server.pem",
        "the root 'etcd' is in the bundle",
        "leave nothing in server.pem but the certificate itself, then its intermediates, no root",
    ),
    (ca_first, "server.pem", "the leaf has to be first", "let server.pem begin with the server certificate"),
    (
        other_key,
        "server.pem",
        "the key does not belong to the certificate",
        "put the key there that server.pem was made with (cfssljson -bare server writes both)",
    ),
    (encrypted_key, "server-key.pem", "the private key is encrypted", "openssl pkey -in"),
    (certificate_as_key, "server-key.pem", "there is no private key in it", "cfssljson -bare NAME"),
    (missing_key, "server-key.pem", "cannot be read: No such file", "put it there"),
    (
        missing_peer,
        "",
        "there is no peer certificate for az-1: none of etcd.az1.k8s.home.pem, az-1.pem",
        "such as az-1-key.pem",
    ),
    (missing_ca, "ca.pem", "cannot be read: No such file", "docs/settings.md"),
    (ca_is_no_ca, "ca.pem", "'etcd' is not the certificate of a CA", "cfssl gencert -initca"),
    (expired_ca, "ca.pem", "'etcd' is expired at", "put the certificate of the CA that signs yours there"),
    (json_of_cfssl, "server.pem", "this is what cfssl prints, JSON", "cfssljson -bare server"),
    (der, "server.pem", "it is not text, so not PEM", "openssl x509 -inform der"),
    (
        client_for_servers_too,
        "client.pem",
        "it may also be used as a server certificate",
        'write "usages": ["signing", "key encipherment", "client auth"] for the profile of client certificates in '
        "ca-config.json (or pki.roles.client.usages: [server, client] in the inventory, if it may do both)",
    ),
]


@pytest.mark.parametrize(("spoil", "file", "what", "remedy"), REFUSED, ids=[case[0].__name__ for case in REFUSED])
def test_what_is_not_fit_is_refused_with_file_reason_and_remedy(
    folder: Path, spoil: Callable[[Path], None], file: str, what: str, remedy: str
) -> None:
    spoil(folder)
    error = refused(of(folder))
    assert error.where == str(folder / file)
    assert what in error.what
    assert remedy in error.remedy
    assert "PRIVATE" not in str(error)
    assert "Vault" not in str(error)


def test_all_faulty_files_are_said_at_once(folder: Path) -> None:
    faulty_usages(folder)
    peer_by_name_only(folder)
    error = refused(of(folder))
    assert re.search(r"\[1\] \S+/az-1.pem: .*; \[2\] \S+/server.pem: ", error.what)
    assert re.search(r"\[1\] add .*; \[2\] write ", error.remedy)


def test_a_missing_ca_is_said_once(folder: Path) -> None:
    missing_ca(folder)
    assert refused(of(folder)).what.count("cannot be read") == 1


def test_with_separate_trust_each_side_has_its_own_ca(folder: Path) -> None:
    error = refused(of(folder, trust="separate"))
    assert "write pki.trust: single" in error.remedy
    (folder / "peer-ca.pem").write_text(CA.pem)
    (folder / "client-ca.pem").write_text(OTHER.pem)
    error = refused(of(folder, trust="separate"))
    assert "server.pem" in error.what
    assert "az-1.pem" not in error.what
    assert "into client-ca.pem" in error.remedy
    write(folder, "server", server(OTHER))
    write(folder, "client", leaf(OTHER, "root", dns=(), ips=(), usages=("client",), label="client", **LIFE))
    assert check(of(folder, trust="separate")) == ()


def test_more_names_any_common_name_and_wildcards_are_welcome(folder: Path) -> None:
    write(folder, "server", server(dns=["*.k8s.home", "more.example"]))
    assert "etcd.az1.k8s.home" in refused(of(folder)).what, "a wildcard is for one label"
    write(folder, "server", server(dns=[*(f"*.{member.fqdn.partition('.')[2]}" for member in MEMBERS), "more.example"]))
    assert check(of(folder)) == ()


def test_a_certificate_for_one_host_goes_before_that_for_all(folder: Path) -> None:
    own = server(dns=[MEMBERS[0].fqdn], ips=[MEMBERS[0].address, "127.0.0.1"], label="own")
    write(folder, "etcd.az1.k8s.home-server", own)
    for number, name in ((1, "etcd.az1.k8s.home-server.pem"), (2, "server.pem")):
        host = of(folder, number)
        files = source(host)
        assert files.obtain(host, files.want(host, "server"), None).where == str(folder / name)
        assert check(host) == ()


def test_intermediates_are_placed_with_the_certificate(folder: Path) -> None:
    write(folder, "server", server(MIDDLE), MIDDLE)
    host = of(folder)
    assert check(host) == ()
    assert len(parse_pem_bundle(source(host).obtain(host, source(host).want(host, "server"), None).pem)) == 2


def test_a_file_that_ends_soon_is_warned_of(folder: Path) -> None:
    write(folder, "client", leaf(CA, "root", dns=(), ips=(), usages=("client",), start=NOW - YEAR, end=NOW + 9.5 * DAY))
    (warning,) = check(of(folder))
    assert re.search(r"client.pem expires at .* UTC, in 9 days: make a new one, put it there, and deploy", warning)


def test_a_ca_that_ends_first_is_warned_of_once_however_many_certificates_it_has(folder: Path) -> None:
    """Cfssl's default: a CA of five years, whatever the certificates say."""
    short = ca("etcd", label="files", start=NOW - YEAR, end=NOW + YEAR)
    (folder / "ca.pem").write_text(short.pem)
    (warning,) = check(of(folder))
    assert "ca.pem: the CA 'etcd' ends at" in warning
    (folder / "ca.pem").write_text(ca("etcd", label="files", start=NOW - YEAR, end=NOW + 9.5 * DAY).pem)
    assert sum("ends with its CA 'etcd'" in warning and "in 9 days" in warning for warning in check(of(folder))) == 3


def test_a_key_that_others_may_read_is_warned_of(folder: Path) -> None:
    path = folder / "az-1-key.pem"
    path.chmod(0o640)
    assert check(of(folder)) == (f"others may read the private key {path}: chmod 600 {path}",)


def test_what_else_is_in_the_files_stays_on_the_controller(folder: Path) -> None:
    (folder / "ca.pem").write_text(f"a note\n{CA.pem}{pem_of(CA.key)}")
    write(folder, "server", pem_of(key("server")), server(), key_of=server())
    host = of(folder)
    assert source(host).anchors("client") == CA.pem
    assert source(host).obtain(host, source(host).want(host, "server"), None).pem.count("BEGIN") == 1
    assert check(host) == ()


def test_with_authentication_the_client_certificate_is_of_the_user_that_may_do_everything(folder: Path) -> None:
    write(folder, "server", server(usages=("server",)))
    roles: dict[str, Any] = {}
    assert check(of(folder, auth=True, roles=roles)) == ()
    write(folder, "client", leaf(CA, "client", dns=(), ips=(), usages=("client",), label="client", **LIFE))
    error = refused(of(folder, auth=True, roles=roles))
    assert "its common name is 'client'" in error.what
    assert 'write "CN": "root" in client.json' in error.remedy
    assert check(of(folder, auth=True, roles=roles, client_common_name="client")) == ()
    assert check(of(folder, auth=False, roles=roles)) == ()


def pair(made: Made) -> PairFacts:
    note = {"public_key": parse_pem_bundle(made.pem)[0].public_key, "key_sha256": "0"}
    return PairFacts(made.pem, "0", "600 etcd", note)


def test_a_pair_stays_as_long_as_the_file_is_the_same(folder: Path) -> None:
    host, placed = of(folder), server(serial=1)
    write(folder, "server", placed)
    facts = replace(FACTS, pairs={"server": pair(placed)})
    files = source(host)
    assert isinstance(files.decide(host, facts, files.want(host, "server")), Keep)
    write(folder, "server", server(serial=2))
    decision = files.decide(host, facts, files.want(host, "server"))
    assert isinstance(decision, Keep), "a file is read once in a run"
    files = source(host)
    decision = files.decide(host, facts, files.want(host, "server"))
    assert isinstance(decision, Renew)
    assert decision.reasons == (f"another certificate is in {folder / 'server.pem'}",)
    assert isinstance(files.decide(host, FACTS, files.want(host, "server")), Renew)


def test_a_pair_near_its_end_stays_while_there_is_no_other(folder: Path) -> None:
    host, placed = of(folder, renew_before="1/3"), server(start=NOW - YEAR, end=NOW + DAY)
    write(folder, "server", placed)
    facts = replace(FACTS, pairs={"server": pair(placed)})
    files = source(host)
    assert isinstance(files.decide(host, facts, files.want(host, "server")), Keep)


def test_every_ca_of_the_file_may_have_issued(folder: Path) -> None:
    """The new CA beside the old one: certificates of either are good, and each must be trusted before it is used."""
    (folder / "ca.pem").write_text(OTHER.pem + CA.pem)
    write(folder, "server", server(OTHER))
    host = of(folder)
    assert check(host) == ()
    assert [issuer[0].fingerprint for issuer in source(host).issuers("peer")] == [
        parse_pem_bundle(made.pem)[0].fingerprint for made in (OTHER, CA)
    ]
