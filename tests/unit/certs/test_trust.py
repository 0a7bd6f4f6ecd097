from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from etcdfleet.certs import (
    MemberTrust,
    besides,
    leads_to,
    merge_pem,
    must_trust_first,
    parse_or_empty,
    parse_pem_bundle,
    shown_by_all,
    still_shown,
)
from tests.unit.support import certs_ca
from tests.unit.support.certs_ca import NOW, Made

ROOT, OTHER_ROOT = certs_ca.ca("Root"), certs_ca.ca("Other Root")
SINGLE, PEERS, NEW_PEERS = (certs_ca.ca(name, ROOT) for name in ("Single CA", "Peers CA", "New Peers CA"))
FOREIGN = certs_ca.ca("Foreign CA", OTHER_ROOT)


def certificates(*made: Made):  # type: ignore[no-untyped-def]
    return parse_pem_bundle("".join(one.pem for one in made))


def member(name: str, trusted: tuple[Made, ...], by: Made, **more: Any) -> MemberTrust:
    leaf = certificates(certs_ca.leaf(by, label=f"{name}-{by.certificate.subject}"), by)
    return MemberTrust(
        name, **{"live": True, **more}, trusted=certificates(*trusted) if trusted else (), leaves=(leaf,)
    )


def cluster(trusted: tuple[Made, ...], by: Made) -> list[MemberTrust]:
    return [member(name, trusted, by) for name in ("a", "b", "c")]


@pytest.mark.parametrize(
    ("trusted", "shows", "issuer", "late"),
    [
        ((ROOT,), SINGLE, (SINGLE, ROOT), ""),  # nothing changes
        ((ROOT,), SINGLE, (PEERS, ROOT), ""),  # the root above both is trusted: from one CA to separate ones
        ((PEERS,), PEERS, (SINGLE, ROOT), "abc"),  # and back
        ((PEERS,), PEERS, (NEW_PEERS, ROOT), "abc"),  # a new CA for the peers
        ((PEERS, NEW_PEERS), PEERS, (NEW_PEERS, ROOT), ""),  # both are trusted already
        ((ROOT,), SINGLE, (FOREIGN, OTHER_ROOT), "abc"),  # another root
        ((ROOT, OTHER_ROOT), SINGLE, (FOREIGN, OTHER_ROOT), ""),
        ((), SINGLE, (PEERS, ROOT), "abc"),  # the file is gone or cannot be read
        ((), PEERS, (PEERS, ROOT), ""),  # but nobody shows anything new
    ],
)
def test_who_must_trust_a_ca_before_it_is_used(
    trusted: tuple[Made, ...], shows: Made, issuer: tuple[Made, ...], late: str
) -> None:
    members = must_trust_first(cluster(trusted, shows), certificates(*issuer), at=NOW)
    assert "".join(one.name for one in members) == late


def test_an_etcd_that_is_due_for_a_restart_may_trust_less_than_its_file_says() -> None:
    members = cluster((PEERS, NEW_PEERS), PEERS)
    members[1] = replace(members[1], restart_due=True)
    assert [one.name for one in must_trust_first(members, certificates(NEW_PEERS, ROOT), at=NOW)] == ["b"]
    assert not must_trust_first(members, certificates(PEERS, ROOT), at=NOW), "no CA is new to anybody"


def test_a_host_that_never_was_a_member_waits_for_nobody() -> None:
    fresh = MemberTrust("d", live=False)
    assert not must_trust_first([*cluster((PEERS,), PEERS), fresh], certificates(PEERS, ROOT), at=NOW)
    assert not still_shown([fresh], certificates(PEERS), at=NOW)


def test_one_member_that_has_moved_on_does_not_hide_the_others() -> None:
    members = [member("a", (PEERS, NEW_PEERS), NEW_PEERS), *cluster((PEERS,), PEERS)[1:]]
    assert [one.name for one in must_trust_first(members, certificates(NEW_PEERS, ROOT), at=NOW)] == ["b", "c"]


@pytest.mark.parametrize(
    ("shows", "anchors", "late"),
    [
        (PEERS, (PEERS,), ""),
        (SINGLE, (PEERS,), "abc"),
        (SINGLE, (ROOT,), ""),
        (PEERS, (NEW_PEERS,), "abc"),
        (PEERS, (NEW_PEERS, PEERS), ""),
    ],
)
def test_whose_certificates_would_be_refused_after_a_ca_is_dropped(
    shows: Made, anchors: tuple[Made, ...], late: str
) -> None:
    members = still_shown(cluster((ROOT,), shows), certificates(*anchors), at=NOW)
    assert "".join(one.name for one in members) == late


def test_one_late_leaf_of_a_member_is_enough() -> None:
    both = replace(
        member("a", (ROOT,), PEERS), leaves=(*member("a", (), PEERS).leaves, *member("a", (), SINGLE).leaves)
    )
    assert still_shown([both], certificates(PEERS), at=NOW) == (both,)


def test_an_anchor_leads_to_itself() -> None:
    assert leads_to(certificates(PEERS), certificates(PEERS), at=NOW)
    assert leads_to(certificates(PEERS), certificates(ROOT), at=NOW)
    assert not leads_to(certificates(PEERS), certificates(SINGLE), at=NOW)


@pytest.mark.parametrize(
    ("trusted", "shows", "left"),
    [
        ((PEERS,), PEERS, ()),
        ((ROOT,), PEERS, ()),
        ((PEERS, NEW_PEERS), PEERS, (NEW_PEERS,)),  # to be used soon
        ((PEERS, NEW_PEERS), NEW_PEERS, (PEERS,)),  # not used any more
        ((ROOT, OTHER_ROOT), PEERS, (OTHER_ROOT,)),
        ((PEERS, ROOT), PEERS, ()),  # both lead there
    ],
)
def test_what_is_trusted_though_nothing_leads_there(
    trusted: tuple[Made, ...], shows: Made, left: tuple[Made, ...]
) -> None:
    assert besides(member("a", trusted, shows), at=NOW) == (certificates(*left) if left else ())
    assert besides(replace(member("a", trusted, shows), leaves=()), at=NOW) == (), "of one that shows nothing"


def test_what_all_show_already_is_new_to_nobody() -> None:
    members = cluster((PEERS,), PEERS)
    assert shown_by_all(members, certificates(PEERS, ROOT))
    assert not shown_by_all(members, certificates(NEW_PEERS, ROOT))
    other_way = replace(members[0], leaves=(members[0].leaves[0][:1],))
    assert not shown_by_all([other_way, *members[1:]], certificates(PEERS, ROOT)), "the leaf lies there without its CA"
    assert shown_by_all([MemberTrust("d", live=False)], certificates(PEERS, ROOT))


def test_together_holds_both_each_once_the_wanted_ones_first() -> None:
    assert merge_pem(ROOT.pem + PEERS.pem, PEERS.pem) == PEERS.pem + ROOT.pem
    assert merge_pem(None, PEERS.pem) == PEERS.pem
    assert merge_pem("not a certificate", PEERS.pem) == PEERS.pem


def test_what_cannot_be_read_is_none() -> None:
    assert parse_or_empty(None) == parse_or_empty("") == parse_or_empty("garbage") == ()
