"""One CA with two certificates, signed by an old and a new root: which of the two is placed, and who accepts it."""

from __future__ import annotations

import itertools
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.certs import (
    Certificate,
    MemberTrust,
    Renew,
    accepts,
    bundle,
    chain_problems,
    check_bundle,
    decide,
    must_trust_first,
    parse_pem_bundle,
    still_shown,
    want_for,
    way_of,
)
from etcdfleet.certs.chain import find_path, order_problems, ways
from etcdfleet.certs.decide import Keep, Observed
from etcdfleet.renewal import RenewBefore
from tests.unit.support import certs_ca
from tests.unit.support.certs_ca import DAY, NOW, YEAR, Made

OLD, NEW = certs_ca.ca("Old Root"), certs_ca.ca("New Root")
SELF, CROSS = certs_ca.ca("Issuing CA", OLD, label="issuing"), certs_ca.ca("Issuing CA", NEW, label="issuing")
LEAF = certs_ca.leaf(SELF, usages=("server", "client"))
CHAINS = {"self": (SELF, OLD), "self,xc": (SELF, OLD, CROSS), "xc,self": (CROSS, NEW, SELF), "xc": (CROSS,)}


def read(*made: Made) -> tuple[Certificate, ...]:
    return parse_pem_bundle("".join(one.pem for one in made)) if made else ()


def placed(chain: tuple[Made, ...], *wanted: tuple[Made, ...]) -> str:
    return bundle(LEAF.pem, [one.pem for one in chain], wanted=[read(*anchors) for anchors in wanted], at=NOW)


@pytest.mark.parametrize(
    ("chain", "anchors", "intermediate"),
    [
        ("self", (OLD,), SELF),
        ("self,xc", (OLD,), SELF),
        ("self,xc", (NEW,), CROSS),  # the first of the two would not lead there
        ("xc,self", (OLD,), SELF),
        ("xc,self", (NEW,), CROSS),
        ("xc", (NEW,), CROSS),
        ("self,xc", (OLD, NEW), SELF),  # both do: the first in Vault's order
        ("xc,self", (OLD, NEW), CROSS),
    ],
)
def test_the_intermediate_that_leads_to_the_anchors_is_placed(
    chain: str, anchors: tuple[Made, ...], intermediate: Made
) -> None:
    text = placed(CHAINS[chain], anchors)
    assert text == LEAF.pem + intermediate.pem
    assert way_of(read(*CHAINS[chain]), [read(*anchors)], at=NOW) == read(intermediate)
    want = want_for(
        "peer",
        fqdn="etcd.az1.k8s.home",
        address="10.240.1.2",
        usages=("server", "client"),
        trust_anchor="".join(anchor.pem for anchor in anchors),
        issuing_ca=CHAINS[chain][0].pem,
    )
    assert check_bundle(want, text, certs_ca.pem_of(LEAF.key), now=NOW, clock_of_host=NOW) == ()
    fingerprint = parse_pem_bundle(text)[0].public_key
    kept = decide(want, Observed(text, fingerprint, NOW), renew_before=RenewBefore.parse("1d"))
    assert isinstance(kept, Keep), "a second run changes nothing"


def test_what_leads_elsewhere_is_renewed() -> None:
    want = want_for(
        "peer",
        fqdn="etcd.az1.k8s.home",
        address="10.240.1.2",
        usages=("server", "client"),
        trust_anchor=NEW.pem,
        issuing_ca=CROSS.pem,
    )
    text = placed(CHAINS["self"], (OLD,))
    pair = Observed(text, parse_pem_bundle(text)[0].public_key, NOW)
    decision = decide(want, pair, renew_before=RenewBefore.parse("1d"))
    assert isinstance(decision, Renew)
    assert "'Issuing CA' was issued by 'CN=Old Root'; the trust anchor holds 'New Root'" in decision.reasons[0]


def test_of_anchors_for_members_and_the_root_for_clients_both_count() -> None:
    """With separate trust any certificate of the CA is accepted by members, and clients know the root."""
    assert placed(CHAINS["self,xc"], (SELF,), (NEW,)) == LEAF.pem + CROSS.pem
    assert placed(CHAINS["xc,self"], (CROSS,), (OLD,)) == LEAF.pem + SELF.pem
    assert placed(CHAINS["xc,self"], (OLD,), (NEW,)) == LEAF.pem + SELF.pem, "what members trust counts first"


def test_an_expired_one_of_the_two_is_not_taken() -> None:
    ended = certs_ca.ca("Issuing CA", OLD, label="issuing", end=NOW - DAY)
    assert placed((ended, OLD, CROSS), (OLD, NEW)) == LEAF.pem + CROSS.pem


@pytest.mark.parametrize("order", list(itertools.permutations((SELF, CROSS))))
@pytest.mark.parametrize("root", [OLD, NEW])
def test_a_chain_with_both_is_no_broken_one(order: tuple[Made, ...], root: Made) -> None:
    chain = read(LEAF, *order)
    assert order_problems(chain) == []
    assert chain_problems(chain, read(root), at=NOW) == ()
    path = find_path(chain, read(root), at=NOW)
    assert path == read(LEAF, SELF if root is OLD else CROSS, root)


def test_the_path_that_holds_longest_counts() -> None:
    """The old root is about to end: the certificate is good for as long as the other path is."""
    ending = certs_ca.ca("Ending Root", end=NOW + DAY)
    first = certs_ca.ca("Issuing CA", ending, label="issuing", end=NOW + DAY)
    path = find_path(read(LEAF, first, CROSS), read(ending, NEW), at=NOW)
    assert path == read(LEAF, CROSS, NEW)
    later = NOW + 2 * DAY
    assert chain_problems(read(LEAF, first, CROSS), read(ending, NEW), at=later) == ()


def test_out_of_order_and_strangers_are_still_named() -> None:
    upper = certs_ca.ca("Upper", OLD)
    lower = certs_ca.ca("Lower", upper)
    leaf = certs_ca.leaf(lower)
    assert order_problems(read(leaf, lower, upper)) == []
    assert "not in issuing order" in order_problems(read(leaf, upper, lower))[0]
    assert "'Issuing CA' in the bundle is not part" in order_problems(read(leaf, lower, upper, CROSS))[0]


def test_roots_that_signed_each_other_end_the_search() -> None:
    """Old and new root each have a certificate by the other: no way passes a CA twice."""
    by_new, by_old = certs_ca.ca("Old Root", NEW, label="Old Root"), certs_ca.ca("New Root", OLD, label="New Root")
    paths = ways(read(LEAF)[0], read(SELF, CROSS, by_new, by_old))
    assert paths == (read(LEAF, SELF, by_new, by_old), read(LEAF, CROSS, by_old, by_new))


def member(name: str, trusted: tuple[Made, ...], shows: Made, **more: Any) -> MemberTrust:
    return MemberTrust(name, **{"live": True, **more}, trusted=read(*trusted), leaves=(read(LEAF, shows),))


@pytest.mark.parametrize(
    ("trusted", "shows", "way", "late"),
    [
        ((OLD,), SELF, SELF, ""),
        ((OLD,), SELF, CROSS, "abc"),  # one name and one key, and another root: before, nobody had to trust it first
        ((OLD, NEW), SELF, CROSS, ""),
        ((SELF,), SELF, CROSS, ""),  # separate trust: whoever trusts the CA accepts it, by whomever it was signed
        ((CROSS,), SELF, SELF, ""),
        ((OLD,), CROSS, CROSS, ""),  # shown by all already: nothing is new to anybody
    ],
)
def test_who_must_trust_the_other_root_first(trusted: tuple[Made, ...], shows: Made, way: Made, late: str) -> None:
    members = [member(name, trusted, shows) for name in "abc"]
    assert "".join(one.name for one in must_trust_first(members, read(way), at=NOW)) == late


def test_a_restart_that_is_due_hides_what_is_trusted() -> None:
    members = [member("a", (OLD, NEW), SELF), member("b", (OLD, NEW), SELF, restart_due=True)]
    assert [one.name for one in must_trust_first(members, read(CROSS), at=NOW)] == ["b"]
    moved = [replace(each, leaves=(read(LEAF, CROSS),)) for each in members]
    assert must_trust_first(moved, read(CROSS), at=NOW) == ()


def test_an_anchor_that_has_ended_vouches_for_nothing() -> None:
    ended = certs_ca.ca("Old Root", end=NOW - DAY)
    assert accepts(read(SELF), read(OLD), at=NOW)
    assert not accepts(read(SELF), read(ended), at=NOW)
    assert accepts(read(SELF), read(ended, OLD), at=NOW), "renewed under its key"
    assert not accepts(read(SELF), read(OLD), at=NOW + 100 * YEAR)


def test_a_leaf_below_the_old_root_alone_keeps_it_trusted() -> None:
    assert [one.name for one in still_shown([member("a", (OLD, NEW), SELF)], read(NEW), at=NOW)] == ["a"]
    assert still_shown([member("a", (OLD, NEW), CROSS)], read(NEW), at=NOW) == ()


@pytest.mark.parametrize("root", [OLD, NEW])
@pytest.mark.parametrize("order", list(itertools.permutations((SELF, CROSS))))
def test_why_only_one_is_placed(root: Made, order: tuple[Made, Made], tmp_path: Path) -> None:
    """OpenSSL takes the first of two that fit, and does not go back: with both placed, the order decides for it."""
    files = {"root": root.pem, "leaf": LEAF.pem, "both": "".join(one.pem for one in order)}
    right = SELF if root is OLD else CROSS
    files["one"] = right.pem
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    def verifies(untrusted: str) -> bool:
        argv = ["openssl", "verify", "-attime", str(int(NOW.timestamp())), "-CAfile", "root"]
        return subprocess.run([*argv, "-untrusted", untrusted, "leaf"], cwd=tmp_path, check=False).returncode == 0

    assert verifies("one")
    assert verifies("both") is (order[0] is right)
