"""A source of certificates that only this module knows: one class with its settings, one row, and a deploy works."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from etcdfleet.certs import Certificate, Keep, Renew, Want, decide, parse_pem_bundle, want_for
from etcdfleet.client_files import client_files
from etcdfleet.drivers.certificates import Obtained, SourceOf, observed
from etcdfleet.drivers.table import CERTIFICATE_SOURCES, Row
from etcdfleet.errors import UsageError
from etcdfleet.host.facts import HostFacts
from etcdfleet.roles import RoleName, Side, side_of
from etcdfleet.settings.load import open_nornir
from etcdfleet.settings.models import HostSettings
from etcdfleet.settings.pki import PkiSettings
from etcdfleet.settings.problems import SettingsError
from tasks.certificates.client import ClientRequest, client_certificate
from tasks.certificates.issuing import Issuing
from tasks.certificates.revoke import revoke_replaced
from tasks.install import needs_openssl
from tests.unit.support import certs_ca
from tests.unit.support.drill import Drill
from tests.unit.support.settings_files import write_inventory

NOW = datetime.now(UTC)
SPAN: dict[str, Any] = {"start": NOW - timedelta(days=2), "end": NOW + timedelta(days=900)}
CAS = {side: certs_ca.ca(f"Drawer {side} CA", label=f"drawer {side}", **SPAN) for side in ("peer", "client")}
LIFE: dict[str, Any] = {"start": NOW - timedelta(days=1), "end": NOW + timedelta(days=300)}


class DrawerPki(PkiSettings):
    """Certificates out of a drawer, which is a CA in memory here. It makes keys as well."""

    can_revoke: ClassVar[bool] = True
    makes_clients: ClassVar[bool] = True
    tells_issuers: ClassVar[bool] = True
    same_in_cluster: ClassVar[tuple[str, ...]] = (*PkiSettings.same_in_cluster, "drawer")

    source: Literal["drawer"] = "drawer"
    drawer: str


class DrawerSource(SourceOf[DrawerPki]):
    """See `etcdfleet.drivers.certificates.Source`."""

    title = "the drawer"
    revoked: ClassVar[list[str]] = []

    def check(self, settings: HostSettings, _: HostFacts, roles: tuple[RoleName, ...]) -> tuple[str, ...]:
        """A warning, to see that it was asked."""
        return (f"{settings.name} wants {', '.join(roles)} out of {self.settings.drawer}",)

    def anchors(self, side: Side) -> str:
        """The CA of the side."""
        return CAS[side].pem

    def issuers(self, side: Side) -> tuple[tuple[Certificate, ...], ...]:
        """The same."""
        return (parse_pem_bundle(CAS[side].pem),)

    def way(self, _: HostSettings, role: RoleName) -> tuple[Certificate, ...]:
        """The same."""
        return parse_pem_bundle(CAS[side_of(role)].pem)

    def root(self) -> str:
        """No other is above it."""
        return self.anchors("client")

    def crl(self, side: Side) -> str:
        """None."""
        raise UsageError(f"the drawer has no list for {side}")

    def want(self, settings: HostSettings, role: RoleName) -> Want:
        """What etcd needs."""
        return want_for(
            role,
            fqdn=settings.member.fqdn,
            address=settings.member.address,
            usages=self.settings.roles[role].usages,
            trust_anchor=self.anchors(side_of(role)),
            common_name=self.settings.client_common_name if role == "client" else None,
        )

    def decide(self, _: HostSettings, facts: HostFacts, want: Want) -> Keep | Renew:
        """As usual."""
        return decide(want, observed(facts, want), renew_before=self.settings.renew_before)

    def obtain(self, _: HostSettings, want: Want, __: str | None) -> Obtained:
        """A pair."""
        made = certs_ca.leaf(
            CAS[side_of(want.role)],
            want.common_name or "",
            dns=want.dns_names,
            ips=want.ip_addresses,
            usages=tuple(want.usages),
            **LIFE,
        )
        return Obtained(made.pem, certs_ca.pem_of(made.key))

    def revoke(self, role: RoleName, leaf: Certificate) -> bool:
        """Notes it, unless it is of another CA."""
        if leaf.issuer != parse_pem_bundle(CAS[side_of(role)].pem)[0].subject:
            return False
        self.revoked.append(f"{role} {leaf.serial}")
        return True

    def check_client_life(self, ttl: timedelta) -> None:
        """A year at most."""
        if ttl > timedelta(days=365):
            raise UsageError("the drawer gives a year at most")

    def obtain_client(self, name: str, ttl: timedelta, request: str) -> Obtained:
        """For the key of the request."""
        return Obtained(sign(name, ttl, request), warnings=("it creaks",))

    @classmethod
    def issuing(cls, pki: DrawerPki) -> Mapping[Side, Certificate]:
        """Both CAs, if the drawer is open."""
        if pki.drawer == "locked":
            raise ValueError("locked")
        return {"peer": parse_pem_bundle(CAS["peer"].pem)[0], "client": parse_pem_bundle(CAS["client"].pem)[0]}


def sign(name: str, ttl: timedelta, request: str) -> str:
    """A client's certificate for the key of a request."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    authority, now = CAS["client"], datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.certificate.subject)
        .public_key(x509.load_pem_x509_csr(request.encode()).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + ttl)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    from cryptography.hazmat.primitives.serialization import Encoding

    return made.public_bytes(Encoding.PEM).decode()


@pytest.fixture(autouse=True)
def row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        CERTIFICATE_SOURCES, "drawer", Row(f"{__name__}:DrawerSource", settings=f"{__name__}:DrawerPki")
    )
    monkeypatch.setattr(DrawerSource, "revoked", [])


def drawer(**more: Any) -> dict[str, Any]:
    return {"groups/home/data/pki": {"source": "drawer", "drawer": "the top one", **more}}


INSTALLED = {"packages": "ii  etcd-server 3.5.16-4\nii  etcd-client 3.5.16-4\n"}


def test_a_deploy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drill = Drill(tmp_path, monkeypatch, drawer(), answers=INSTALLED)
    host = drill.fleet.hosts["a"]
    assert (host.pki.source, host.pki.renew_before) == ("drawer", PkiSettings(source="x").renew_before)
    assert not needs_openssl(host), "the drawer makes keys"
    done = drill.deploy()
    assert "a wants peer, server, client out of the top one" in done["preflight"].warnings
    assert done["certificates"].summary.startswith("3 good, ")
    placed = {path.rpartition("/")[2]: file for path, file in drill.host.files.items() if "/sets/" in path}
    assert set(placed) == {"a.home.test.key", "a.home.test.pem", "note.json"}
    anchors = {path: file.content.decode() for path, file in drill.host.files.items() if path.endswith("CA.pem")}
    assert anchors == {f"/etc/etcd/certs/{side}CA.pem": CAS[side].pem for side in ("peer", "client")}


def test_what_was_replaced_is_revoked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drill = Drill(tmp_path, monkeypatch, drawer(revoke=True), answers=INSTALLED)
    other = certs_ca.ca("Cupboard CA", label="cupboard", **SPAN)
    leaves = {"peer-1": certs_ca.leaf(CAS["peer"], "a", **LIFE), "client-2": certs_ca.leaf(other, "a", **LIFE)}
    listing = "".join(f"= {name}\n{made.pem}" for name, made in leaves.items())
    run = drill.host.run

    def says(script: str, **how: Any) -> Any:
        return replace(run(script, **how), stdout=listing if "used=" in script and "cat" in script else "")

    monkeypatch.setattr(drill.host, "run", says)
    outcome = drill.run(revoke_replaced)
    (serial,) = (certificate.serial for certificate in parse_pem_bundle(leaves["peer-1"].pem)[:1])
    assert DrawerSource.revoked == [f"peer {serial}"]
    assert outcome.summary == "1 revoked"
    assert "is of another CA" in outcome.warnings[0]


def test_a_client_gets_its_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drill = Drill(tmp_path, monkeypatch, drawer(), answers=INSTALLED)
    files = client_files(tmp_path / "alice", "alice")

    def made(days: int) -> Any:
        request = ClientRequest("alice", timedelta(days=days), files)
        return drill.run(client_certificate, settings=drill.fleet.hosts["a"], request=request)

    with pytest.raises(UsageError, match="a year at most"):
        made(700)
    assert "it creaks" in made(30).warnings
    assert parse_pem_bundle(files.certificate.read_text())[0].common_name == "alice"


def test_who_issues_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, sides in (("open", {"peer", "client"}), ("locked", set())):
        drill = Drill(tmp_path, monkeypatch, drawer(drawer=name))
        began = time.monotonic()
        assert set(Issuing().of(drill.fleet.hosts["a"])) == sides
        assert time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        (drawer(source="draver"), ("did you mean drawer?", "one of: vault, files, drawer")),
        (drawer(folder="x"), ("folder belongs to the source files, but the source here is drawer",)),
        ({"defaults/data/pki/drawer": "x"}, ("drawer belongs to the source drawer, but the source here is vault",)),
        ({"groups/home/data/pki": {"source": "drawer"}}, ("pki.drawer: is missing",)),
        (
            {**drawer(), "hosts/b/data/pki": {"drawer": "another"}},
            ("members of cluster home differ: 'another' for b",),
        ),
    ],
)
def test_mistakes(tmp_path: Path, edits: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError) as caught:
        open_nornir(write_inventory(tmp_path, edits))
    for each in words:
        assert each in str(caught.value)
