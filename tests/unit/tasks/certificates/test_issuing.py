"""Which CA issues today, asked of a real OpenBao without a token; and of a Vault that does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from etcdfleet.certs import parse_pem_bundle
from etcdfleet.checks.overview.data import Level, Machine, MemberView
from etcdfleet.checks.overview.host import host_concerns
from etcdfleet.drivers.certificates.files import FilesPki
from etcdfleet.etcd.answers import ExpectedMember
from etcdfleet.settings.models import HostSettings
from etcdfleet.settings.vault import VaultPki
from tasks.certificates.issuing import Issuing, other_issuers
from tasks.verify.tls import _issuers
from tests.unit.support import vault_server
from tests.unit.support.certs_ca import CLIENTS, PEERS, leaf
from tests.unit.support.site import settings
from tests.unit.support.vault_server import Server

MOUNT = "pki_intermediate_ca"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with vault_server.running(tmp_path_factory.mktemp("bao")) as running:
        vault_server.set_up_pki(running)
        yield running


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VAULT_ADDR", "VAULT_TOKEN", "VAULT_ROLE_ID", "VAULT_SECRET_ID", "VAULT_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)


def site(address: str, mount: str = MOUNT) -> HostSettings:
    return settings(pki=VaultPki(trust="single", mount=mount, address=address))


def test_the_ca_of_a_mount_is_read_without_a_token(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_CACERT", str(server.ca_file))
    found = Issuing().of(site(server.address))
    wanted = server.call("GET", f"{MOUNT}/ca/pem", token="")
    assert {ca.pem.strip() for ca in found.values()} == {wanted.strip()}
    assert set(found) == {"peer", "client"}


@pytest.mark.parametrize("mount", ["nowhere", MOUNT])
def test_without_an_answer_nothing_is_known(server: Server, monkeypatch: pytest.MonkeyPatch, mount: str) -> None:
    """A mount that is not there; and a Vault whose certificate is from a CA that is not known here."""
    if mount != MOUNT:
        monkeypatch.setenv("VAULT_CACERT", str(server.ca_file))
    else:
        monkeypatch.delenv("VAULT_CACERT", raising=False)
    assert Issuing().of(site(server.address, mount)) == {}


def test_a_vault_that_hangs_is_asked_once_and_not_waited_for() -> None:
    with vault_server.misbehaving("hang") as badly:
        asked = Issuing()
        assert [asked.of(site(badly.address)) for _ in range(5)] == [{}] * 5
        assert badly.heard() == [f"/v1/{MOUNT}/ca/pem"]


def test_where_certificates_come_from_files_nobody_is_asked() -> None:
    assert Issuing().of(settings(pki=FilesPki(folder="certs"))) == {}


def shown(**pems: str) -> Any:
    pairs = {role: SimpleNamespace(pem=pem) for role, pem in pems.items()}
    return SimpleNamespace(facts=SimpleNamespace(pairs=pairs))


(PEER_CA,), (CLIENT_CA,) = parse_pem_bundle(PEERS.pem), parse_pem_bundle(CLIENTS.pem)
OF_PEERS, OF_CLIENTS = leaf(PEERS).pem + PEERS.pem, leaf(CLIENTS).pem + CLIENTS.pem


@pytest.mark.parametrize(
    ("seen", "issuing", "due"),
    [
        (shown(peer=OF_PEERS, server=OF_CLIENTS), {"peer": PEER_CA, "client": CLIENT_CA}, {}),
        (shown(peer=OF_PEERS, server=OF_CLIENTS), {}, {}),
        (shown(), {"peer": PEER_CA}, {}),
        (shown(peer="damaged"), {"peer": PEER_CA}, {}),
        (shown(peer=OF_PEERS), {"peer": CLIENT_CA}, {"peer": "Peers CA"}),
        (shown(peer=OF_CLIENTS, server=OF_CLIENTS, client=OF_PEERS), {"client": CLIENT_CA}, {"client": "Peers CA"}),
        (shown(peer=leaf(PEERS).pem), {"peer": CLIENT_CA}, {"peer": "CN=Peers CA"}),
    ],
)
def test_certificates_of_another_ca(seen: Any, issuing: Any, due: dict[str, str]) -> None:
    assert other_issuers(seen, issuing) == due
    findings = {finding.check: finding for finding in _issuers(seen, issuing)}
    assert set(findings) == {f"{side} CA in Vault" for side in issuing}
    assert {check.split()[0] for check, finding in findings.items() if finding.status == "warning"} == set(due)
    assert all(finding.ok for finding in findings.values()), "members go on to work: a warning"


def test_status_says_that_a_change_is_due() -> None:
    changed = (("peer", "New CA", "Old CA"), ("client", "New CA", "Old CA"))
    machine = Machine(running=True, enabled=True, due_ca=changed)
    view = MemberView("a", ExpectedMember("a", "https://a:2380", "https://a:2379"), machine=machine)
    (concern,) = [one for one in host_concerns(view, 7.0, cluster_lives=True) if "issues by" in one.what]
    assert concern.level is Level.SOON
    assert concern.what == (
        "Vault issues by 'New CA' now for peers and clients, and the certificates on the host are of 'Old CA'"
    )
    assert "rotate_certs --ca" in concern.remedy
