"""Certificates that are not used any more are revoked; lists of revoked ones are kept; that one counts is proven."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from etcdfleet.certs import parse_pem_bundle
from etcdfleet.drivers.certificates.files import FilesPki
from etcdfleet.drivers.certificates.vault import VaultSource
from etcdfleet.errors import CertificateError, UsageError, VaultError, VerificationError
from etcdfleet.host.facts import FileFacts, PairFacts
from etcdfleet.host.paths import HostPaths
from etcdfleet.remote import CommandResult
from etcdfleet.settings.vault import VaultPki
from tasks.certificates import revoke as revocation
from tasks.certificates.revoke import refresh_crl, revoke_replaced
from tests.unit.certs.test_crl import crl
from tests.unit.support import certs_ca
from tests.unit.support.site import settings
from tests.unit.support.stand_ins import REFUSED, RUNNING, Place, Scripted, carry_out, error_of, seen

PEERS, CLIENTS = certs_ca.PEERS, certs_ca.CLIENTS
PEER = certs_ca.leaf(PEERS, serial=0x11)
CLIENT = certs_ca.leaf(CLIENTS, serial=0x22)
FOREIGN = certs_ca.leaf(certs_ca.ca("Another CA"), serial=0x33)
ENDED = certs_ca.leaf(CLIENTS, serial=0x44, end=certs_ca.NOW)
USED = certs_ca.leaf(CLIENTS, serial=0x55)
SETS = {"peer-1": PEER, "client-1": CLIENT, "notes": CLIENT}


class Vault:
    """Revokes what it knows; ``refuses`` says what it answers for a serial number."""

    def __init__(self, refuses: dict[str, str] | None = None, missing: dict[str, Any] | None = None) -> None:
        self.refuses, self.missing = refuses or {}, missing or {}
        self.revoked: list[tuple[str, str]] = []
        self.connection = SimpleNamespace(address="https://vault.test")

    def check_access(self, _: object) -> dict[str, Any]:
        return self.missing

    def revoke(self, mount: str, serial: str) -> None:
        if serial in self.refuses:
            raise VaultError(self.refuses[serial])
        self.revoked.append((mount, serial))


class Source(VaultSource):
    """Vault, as far as revocation sees it: two CAs, and a list of each."""

    def __init__(self, vault: Vault | None = None, **lists: str) -> None:
        self.settings = VaultPki()
        self.vault = cast(Any, vault or Vault())
        self.lists = lists

    def issuer(self, side: str) -> Any:
        return parse_pem_bundle((PEERS if side == "peer" else CLIENTS).pem)

    def issuers(self, side: str) -> Any:
        return (tuple(self.issuer(side)),)

    def crl(self, side: str) -> str:
        return self.lists[side]


def with_sets(sets: dict[str, certs_ca.Made]) -> Scripted:
    """A host on which these sets lie."""
    said = "".join(f"= {name}\n{made.pem}" for name, made in sets.items())
    return Scripted({"for set in *": said})


def revoked(host: Scripted, vault: Vault, *, check: bool = False, crl: bool = True, **facts: Any) -> Any:
    place = Place(host, seen(RUNNING, **facts), of=settings(pki=VaultPki(crl=crl)))
    return carry_out(revoke_replaced, place, source=Source(vault), check=check)


@pytest.fixture(autouse=True)
def _tidied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "tidy", lambda site: site.remote.sent.append("tidied"))


def test_all_that_is_not_used_is_revoked_where_it_was_issued() -> None:
    host, vault = with_sets(SETS), Vault()
    result = revoked(host, vault)
    assert not result.failed, result.exception
    assert vault.revoked == [("pki_etcd_peer", "11"), ("pki_etcd_client", "22")], "what is no set is left alone"
    assert result.result.changes == ("peer certificate 11 is revoked", "client certificate 22 is revoked")
    assert result.result.client_set == "client-1"
    assert result.result.facts == {"revoked": ["11", "22"]}
    marks = next(script for script in host.sent if "touch" in script)
    assert "peer-1/" in marks
    assert "client-1/" in marks
    assert host.sent[-1] == "tidied", "only now may the oldest go"


def test_check_asks_vault_for_nothing() -> None:
    host, vault = with_sets(SETS), Vault()
    result = revoked(host, vault, check=True)
    assert (result.changed, len(result.result.changes), vault.revoked) == (True, 2, [])
    assert not host.was_sent("touch")


def test_a_copy_of_what_is_in_use_is_not_revoked() -> None:
    vault = Vault()
    result = revoked(with_sets({"client-1": USED}), vault, pairs={"client": PairFacts(USED.pem, "", "", {})})
    assert (result.result.summary, result.changed, vault.revoked) == ("nothing to revoke", False, [])


def test_what_has_ended_needs_no_revocation() -> None:
    vault = Vault()
    result = revoked(with_sets({"client-1": ENDED}), vault)
    assert (vault.revoked, result.result.facts) == ([], {"revoked": ["44"]})


def test_another_ca_s_certificate_is_left_to_that_ca() -> None:
    host, vault = with_sets({"client-1": FOREIGN}), Vault({"33": "certificate with serial 33 not found"})
    result = revoked(host, vault)
    assert not result.failed, result.exception
    assert "33 is of another CA (CN=Another CA)" in result.result.warnings[0]
    assert host.was_sent("touch"), "it is not tried in each run"


@pytest.mark.parametrize("said", ["permission denied", "certificate with serial 22 not found"])
def test_what_vault_does_not_revoke_is_told_and_the_rest_is_noted(said: str) -> None:
    host, vault = with_sets(SETS), Vault({"22": said})
    result = revoked(host, vault)
    assert isinstance(result.exception, VerificationError)
    assert f"client certificate 22 was not revoked: {said}" in error_of(result)
    marks = next(script for script in host.sent if "touch" in script)
    assert "peer-1/" in marks
    assert "client-1/" not in marks
    assert "tidied" not in host.sent, "nobody would know any more that it is still to be revoked"


def test_that_nobody_looks_at_the_list_is_said() -> None:
    assert "pki.crl: true" in revoked(with_sets(SETS), Vault(), crl=False).result.warnings[0]
    assert not revoked(with_sets(SETS), Vault()).result.warnings


def test_a_token_that_may_not_revoke_is_refused_before_anything() -> None:
    host = with_sets(SETS)
    error = error_of(revoked(host, Vault(missing={"pki_etcd_peer/revoke": ("update",)})))
    assert "may not write to pki_etcd_peer/revoke" in error
    assert "pki.revoke: true" in error
    assert host.sent == []


def test_certificates_from_files_are_revoked_elsewhere() -> None:
    source: Any = SimpleNamespace(title="files")
    result = carry_out(revoke_replaced, Place(of=settings(pki=FilesPki(folder="/pki"))), source=source)
    assert isinstance(result.exception, UsageError)
    assert "--revoke" in error_of(result)


# Lists.

LIVE_LISTS = {"peer": crl(1, by=PEERS), "client": crl(2, by=CLIENTS)}


def refreshed(host: Scripted, *, check: bool = False, refused: dict[str, str] | None = None, **how: Any) -> Any:
    of = settings(pki=VaultPki(crl=how.pop("crl", True)))
    lists = how.pop("lists", LIVE_LISTS)
    place = Place(host, seen(RUNNING, **how), of=of)
    return carry_out(refresh_crl, place, source=Source(**lists), check=check, refused=refused)


def there(pem: str, side: Any) -> dict[str, FileFacts]:
    return {HostPaths.of(settings()).crl(side): FileFacts(pem.encode(), 0o644, "root", "root")}


def test_lists_are_placed_and_then_stay() -> None:
    host = Scripted()
    result = refreshed(host)
    assert not result.failed, result.exception
    assert sorted(host.placed.values()) == sorted(text.encode() for text in LIVE_LISTS.values())
    again = Scripted()
    files = {**there(LIVE_LISTS["peer"], "peer"), **there(LIVE_LISTS["client"], "client")}
    result = refreshed(again, files=files)
    assert (result.changed, again.sent) == (False, [])
    assert result.result.summary == "no list differs"


def test_check_places_no_list() -> None:
    host = Scripted()
    result = refreshed(host, check=True, refused={"az-1": "client-1"})
    assert (result.changed, len(result.result.changes), host.sent) == (True, 2, [])


def test_without_lists_the_step_is_skipped() -> None:
    result = refreshed(host := Scripted(), crl=False)
    assert (result.result.skipped, host.sent) == (True, [])


def test_a_list_of_another_ca_is_not_placed() -> None:
    host = Scripted()
    result = refreshed(host, lists={**LIVE_LISTS, "client": crl(2, by=certs_ca.ca("Stranger"))})
    assert isinstance(result.exception, CertificateError)
    assert "not signed by the CA that issues" in error_of(result)
    assert host.placed == {}


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ({"sets/client-1/": REFUSED}, ""),
        ({"sets/client-1/": ""}, "still serves the revoked client certificate"),
        ({"sets/client-1/": REFUSED, "endpoint health": CommandResult(1, "", "no route")}, "in use is not served: no"),
    ],
    ids=["refused", "served", "nobody is served"],
)
def test_that_a_revoked_client_is_refused_is_tried(answers: dict[str, Any], error: str) -> None:
    result = refreshed(Scripted(answers), refused={"az-1": "client-1"})
    assert result.failed is bool(error)
    if error:
        assert error in error_of(result)
    else:
        assert result.result.summary.endswith("a revoked client is refused")
