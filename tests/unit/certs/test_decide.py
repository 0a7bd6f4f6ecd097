"""The renewal decision and the check before placing, case by case."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from etcdfleet.certs import (
    Keep,
    Observed,
    Renew,
    Want,
    bundle,
    check_bundle,
    decide,
    public_key_fingerprint,
    want_for,
)
from etcdfleet.errors import CertificateError
from etcdfleet.renewal import RenewBefore
from tests.unit.support.certs_ca import CLIENTS, DAY, NOW, PEERS, ROOT, YEAR, Made, ca, key, leaf, pem_of, public_pem

FQDN = "etcd.az1.k8s.home"
LONG = f"{'x' * 53}.k8s.home.io"
"""By one character too long for a common name: certificates for it have none."""
THIRD = RenewBefore.parse("1/3")


def want(role: str = "peer", *, fqdn: str = FQDN, **changes: object) -> Want:
    usages: dict[str, tuple[str, ...]] = {"peer": ("server", "client"), "server": ("server",), "client": ("client",)}
    made = want_for(
        role,  # type: ignore[arg-type]
        fqdn=fqdn,
        address="10.240.1.2",
        usages=usages[role],  # type: ignore[arg-type]
        trust_anchor=ROOT.pem,
        service_name="etcd.home",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def observed(made: Made, *chain: Made, **changes: object) -> Observed:
    full = made.pem + "".join(c.pem for c in chain or (PEERS,))
    pair = Observed(full, public_key_fingerprint(public_pem(made.key)), NOW)
    return replace(pair, **changes)  # type: ignore[arg-type]


SERVER = leaf(PEERS, dns=(FQDN, "etcd.home"), ips=("10.240.1.2", "127.0.0.1"), usages=("server",))
CLIENT = leaf(PEERS, dns=(FQDN,), ips=(), usages=("client",), key_usage=("digital_signature",))


def test_the_names_that_each_role_needs() -> None:
    assert (want("peer").dns_names, want("peer").ip_addresses) == ((FQDN,), ("10.240.1.2",))
    assert (want("server").dns_names, want("server").ip_addresses) == (
        (FQDN, "etcd.home"),
        ("10.240.1.2", "127.0.0.1"),
    )
    assert (want("client").dns_names, want("client").ip_addresses) == ((), ())
    assert want("server").alt_names == ("etcd.home",)
    assert want("peer").alt_names == ()
    assert want("server").forbidden_usages == {"client"}
    assert want("peer").forbidden_usages == frozenset()


def test_names_are_compared_by_meaning_and_wrong_addresses_refused() -> None:
    assert replace(want(), ip_addresses=("FD00:0::1",)).ip_addresses == ("fd00::1",)
    assert replace(want(), dns_names=("ETCD.home.", "etcd.home")).dns_names == ("etcd.home",)
    with pytest.raises(ValueError, match="etcd"):
        replace(want(), ip_addresses=("etcd.home",))


@pytest.mark.parametrize(
    ("wanted", "pair"),
    [
        (want("peer"), observed(leaf(PEERS))),
        (want("server"), observed(SERVER)),
        (want("client"), observed(CLIENT)),
        (want("client", common_name="etcdctl"), observed(leaf(PEERS, "etcdctl", dns=(), ips=(), usages=("client",)))),
        (want("peer"), observed(leaf(PEERS, usages=None, key_usage=None))),
        (want("peer", issuing_ca=PEERS.pem), observed(leaf(PEERS))),
        (want("peer", issuing_ca=CLIENTS.pem + PEERS.pem), observed(leaf(PEERS))),
        (want("peer", issuing_ca=ca("Peers CA", ROOT).pem), observed(leaf(PEERS))),
        (want("peer", trust_anchor=PEERS.pem), observed(leaf(PEERS))),
        (want("peer", trust_anchor=CLIENTS.pem + ROOT.pem), observed(leaf(PEERS, kind="rsa"))),
        (want("peer", fqdn=LONG), observed(leaf(PEERS, "", dns=(LONG,)))),
        (want("peer", fqdn=LONG[1:]), observed(leaf(PEERS, LONG[1:], dns=(LONG[1:],)))),
    ],
    ids=[
        *("peer", "server", "client", "cn", "no-eku", "ca", "ca-of-two", "ca-renewed", "anchor-int", "anchors-rsa"),
        *("long-name", "longest-cn"),
    ],
)
def test_good_ones_are_kept(wanted: Want, pair: Observed) -> None:
    kept = decide(wanted, pair, renew_before=THIRD)
    assert isinstance(kept, Keep)
    assert kept.renew_at < kept.certificate.not_after
    assert check_bundle(wanted, pair.bundle or "", pair.key_fingerprint or "", now=NOW, clock_of_host=NOW) == ()


CASES: dict[str, tuple[Want, Observed, str]] = {
    "nothing": (want(), Observed(None, None, NOW), "there is no certificate yet"),
    "key only": (want(), Observed(None, "ab" * 32, NOW), "the certificate is missing"),
    "empty": (want(), observed(leaf(PEERS), bundle="\n"), "the certificate is missing"),
    "garbage": (want(), observed(leaf(PEERS), bundle="garbage"), "unreadable: there is no certificate"),
    "cut off": (want(), observed(leaf(PEERS), bundle=leaf(PEERS).pem[:300]), "unreadable"),
    "expired": (want(), observed(leaf(PEERS, start=NOW - YEAR, end=NOW - 3 * DAY)), r"it expired at .*\(3 days ago"),
    "not yet": (
        want(),
        observed(leaf(PEERS, start=NOW + DAY)),
        "not valid before 2026-06-02 12:00:00 UTC.*host's clock",
    ),
    "last third": (
        want(),
        observed(leaf(PEERS, start=NOW - 68 * DAY, end=NOW + 32 * DAY)),
        "in 32 days, within the renewal threshold of 1/3 of its life$",
    ),
    "other name": (want(), observed(leaf(PEERS, dns=("etcd.az2.k8s.home",))), f"not valid for {re.escape(FQDN)}"),
    "address gone": (want(), observed(leaf(PEERS, ips=())), "not valid for 10.240.1.2.*does not match any"),
    "address changed": (want(), observed(leaf(PEERS, ips=("10.240.1.9",))), "10.240.1.2.*also valid for 10.240.1.9"),
    "extra name": (want(), observed(leaf(PEERS, dns=(FQDN, "x.home"))), "also valid for x.home"),
    "common name": (want(), observed(leaf(PEERS, "old.home")), "common name is 'old.home' instead of"),
    "service name": (
        want("server"),
        observed(leaf(PEERS, ips=("10.240.1.2", "127.0.0.1"), usages=("server",))),
        "not valid for etcd.home",
    ),
    "no loopback": (
        want("server"),
        observed(leaf(PEERS, dns=(FQDN, "etcd.home"), usages=("server",))),
        "not valid for 127.0.0.1",
    ),
    "client with address": (want("client"), observed(leaf(PEERS, usages=("client",))), "also valid for 10.240.1.2"),
    "too little": (
        want(),
        observed(leaf(PEERS, usages=("server",))),
        "not be used as a client.*incompatible key usage",
    ),
    "too much": (
        want("server"),
        observed(leaf(PEERS, dns=(FQDN, "etcd.home"), ips=("10.240.1.2", "127.0.0.1"))),
        "may also be used as a client.*ServerAuth, ClientAuth.*which a server certificate must not",
    ),
    "any": (
        want("client"),
        observed(leaf(PEERS, dns=(), ips=(), usages=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE.dotted_string,))),
        "may also be used as a server.*any usage",
    ),
    "no signature": (want(), observed(leaf(PEERS, key_usage=("key_encipherment",))), "may not make digital signatures"),
    "a CA": (want(), observed(leaf(PEERS, basic=x509.BasicConstraints(True, None))), "CA's certificate"),
    "another root": (want("peer", trust_anchor=ca("Other Root").pem), observed(leaf(PEERS)), "does not build"),
    "no intermediate": (want(), observed(leaf(PEERS), bundle=leaf(PEERS).pem), "does not build.*unknown authority"),
    "another CA issues": (
        want("peer", issuing_ca=CLIENTS.pem),
        observed(leaf(PEERS)),
        "CA that issues today.*Clients CA",
    ),
    "CA rekeyed": (
        want("peer", issuing_ca=ca("Peers CA", ROOT, label="new").pem),
        observed(leaf(PEERS)),
        "issues today",
    ),
    "root inside": (want(), observed(leaf(PEERS), PEERS, ROOT), "the root 'Test Root' is in the bundle"),
    "stranger inside": (want(), observed(leaf(PEERS), PEERS, CLIENTS), "'Clients CA' in the bundle is not part"),
    "twice": (want(), observed(leaf(PEERS), PEERS, PEERS), "more than once"),
    "key missing": (want(), observed(leaf(PEERS), key_fingerprint=None), "key is missing or unreadable"),
    "key of another": (want(), observed(leaf(PEERS), key_fingerprint="ab" * 32), "key does not belong"),
    "key inside": (
        want(),
        observed(leaf(PEERS), bundle=leaf(PEERS).pem + PEERS.pem + pem_of(key("leaf"))),
        "private key in the certificate file",
    ),
}
ABSENT = ("nothing", "key only", "empty", "garbage", "cut off")
REFUSED = ("other name", "address gone", "address changed", "service name", "no loopback", "too little")


@pytest.mark.parametrize("name", CASES)
def test_reasons_to_renew(name: str) -> None:
    wanted, pair, says = CASES[name]
    made = decide(wanted, pair, renew_before=THIRD)
    assert isinstance(made, Renew)
    assert re.search(says, "\n".join(made.reasons), re.DOTALL)
    assert len(made.reasons) <= (2 if name in ("address changed", "a CA", "other name") else 1)
    assert (made.certificate is None) == (name in ABSENT)
    assert made.unusable == (name in (*ABSENT, *REFUSED, "expired", "not yet", "key missing", "key of another"))


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("nothing", "key only", "last third", "key missing")])
def test_what_would_be_renewed_is_not_placed(name: str) -> None:
    wanted, pair, _ = CASES[name]
    problems = check_bundle(wanted, pair.bundle or "", pair.key_fingerprint or "", now=NOW, clock_of_host=NOW)
    assert problems


def test_all_reasons_are_named_at_once() -> None:
    pair = observed(
        leaf(PEERS, "x", dns=("x",), ips=(), usages=("server",), end=NOW - timedelta(hours=1)), key_fingerprint=None
    )
    made = decide(want("peer", trust_anchor=ca("Other").pem), pair, renew_before=THIRD)
    assert isinstance(made, Renew)
    assert len(made.reasons) == 7


@pytest.mark.parametrize(
    ("rule", "keeps"),
    [
        ("1/2", True),
        ("2/3", False),
        ("720h", True),
        ("1440h", False),
    ],
)
def test_thresholds(rule: str, keeps: bool) -> None:
    pair = observed(leaf(PEERS, start=NOW - 40 * DAY, end=NOW + 60 * DAY))
    made = decide(want(), pair, renew_before=RenewBefore.parse(rule))
    assert isinstance(made, Keep) == keeps
    if isinstance(made, Renew):
        assert "None" not in made.reasons[0]


def test_the_moment_of_renewal_is_exact() -> None:
    pair = observed(leaf(PEERS, start=NOW, end=NOW + 90 * DAY))
    kept = decide(want(), pair, renew_before=THIRD)
    assert isinstance(kept, Keep)
    assert kept.renew_at == NOW + 60 * DAY
    second = timedelta(seconds=1)
    assert isinstance(decide(want(), pair, renew_before=THIRD, now_host=kept.renew_at - second), Keep)
    assert isinstance(decide(want(), pair, renew_before=THIRD, now_host=kept.renew_at), Renew)


def test_a_threshold_beyond_the_whole_life_is_explained() -> None:
    made = decide(want(), observed(leaf(PEERS, end=NOW + DAY)), renew_before=RenewBefore.parse("30d"))
    assert isinstance(made, Renew)
    assert "at every run: ask for a longer TTL" in made.reasons[0]


def test_a_ca_that_ends_first_counts_as_the_end() -> None:
    short = ca("Short", ROOT, end=NOW + 10 * DAY)
    pair = observed(leaf(short), short)
    made = decide(want(), pair, renew_before=THIRD)
    assert isinstance(made, Renew)
    assert made.reasons[0].startswith("its CA expires at 2026-06-11")
    (problem,) = check_bundle(want(), pair.bundle or "", pair.key_fingerprint or "", now=NOW, clock_of_host=NOW)
    assert "the CA 'Short' ends at 2026-06-11" in problem


def test_clocks() -> None:
    pair = observed(leaf(PEERS))
    with pytest.raises(ValueError, match="time zone"):
        decide(want(), pair, renew_before=THIRD, now_host=datetime(2026, 6, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="clock is needed"):
        decide(want(), replace(pair, clock=None), renew_before=THIRD)
    with pytest.raises(CertificateError):
        decide(want("peer", trust_anchor="nothing"), pair, renew_before=THIRD)


@pytest.mark.parametrize(
    ("host", "says"),
    [
        (NOW - YEAR, "not valid before .* but the host's clock says 2025-06-01 12:00:00 UTC, 365 days behind"),
        (NOW + 3 * YEAR, "valid until .*the host's clock says 2029-05-31 12:00:00 UTC, 1095 days ahead of"),
    ],
)
def test_a_wrong_clock_of_the_host_is_explained(host: datetime, says: str) -> None:
    pair = observed(leaf(PEERS))
    problems = check_bundle(want(), pair.bundle or "", pem_of(key("leaf")), now=NOW, clock_of_host=host)
    assert re.search(says, problems[0])
    assert "certificate has expired or is not yet valid" in problems[0]


def test_clock_of_this_machine() -> None:
    pair = observed(leaf(PEERS))
    (problem,) = check_bundle(want(), pair.bundle or "", pem_of(key("leaf")), now=NOW - 3 * DAY, clock_of_host=NOW)
    assert "this machine's clock or that of the CA is wrong" in problem


def test_keys_in_any_form_and_never_quoted() -> None:
    text = bundle(leaf(PEERS).pem, [ROOT.pem, PEERS.pem])
    for form in (pem_of(key("leaf")), pem_of(key("leaf")).encode(), public_pem(key("leaf"))):
        assert check_bundle(want(), text, form, now=NOW, clock_of_host=NOW) == ()
    secret = pem_of(key("other"))
    problems = check_bundle(want(), text, secret, now=NOW, clock_of_host=NOW)
    assert problems == (
        'the key does not belong to the certificate: etcd would not start ("private key does not match public key")',
    )
    (problem,) = check_bundle(want(), text, "SECRETJUNK", now=NOW, clock_of_host=NOW)
    assert "cannot be read" in problem
    assert "SECRETJUNK" not in problem


def test_wrong_order_and_unreadable_anchor() -> None:
    below = ca("Below", PEERS)
    made = leaf(below)
    text = made.pem + PEERS.pem + below.pem
    (problem,) = check_bundle(want(), text, pem_of(made.key), now=NOW, clock_of_host=NOW)
    assert "issuing order" in problem
    problems = check_bundle(want(), PEERS.pem + leaf(PEERS).pem, pem_of(key("leaf")), now=NOW, clock_of_host=NOW)
    assert any("the leaf has to be first" in p for p in problems)
    good = bundle(leaf(PEERS).pem, [PEERS.pem])
    problems = check_bundle(want("peer", trust_anchor="x"), good, pem_of(key("leaf")), now=NOW, clock_of_host=NOW)
    assert problems == ("the trust anchor: there is no certificate in this PEM text",)


@pytest.mark.parametrize(
    ("kind", "wanted", "reason"),
    [
        ("ec", "", None),
        ("ec", "ec-p256", None),
        ("rsa", "rsa-2048", None),
        ("ec", "ec-p384", "its key is ec-p256 instead of ec-p384"),
        ("rsa", "rsa-3072", "its key is rsa-2048 instead of rsa-3072"),
        ("rsa", "ec-p256", "its key is rsa-2048 instead of ec-p256"),
    ],
)
def test_another_kind_of_key_is_a_reason_to_renew_where_one_is_wanted(
    kind: str, wanted: str, reason: str | None
) -> None:
    made = leaf(PEERS, kind=kind, label=f"kind-{kind}")
    decision = decide(want(key_kind=wanted), observed(made), renew_before=THIRD)
    assert (decision.reasons if isinstance(decision, Renew) else ()) == ((reason,) if reason else ())
    now = {"now": NOW, "clock_of_host": NOW}
    problems = check_bundle(want(key_kind=wanted), made.pem + PEERS.pem, pem_of(made.key), **now)
    assert problems == ((reason,) if reason else ())
