from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
import yaml

from etcdfleet.drivers.init import ServiceState
from etcdfleet.host.facts import FileFacts
from etcdfleet.host.paths import CONFIG, ROOT_ANCHOR, SIDE_ANCHORS
from etcdfleet.roles import SIDES, Side
from etcdfleet.settings.vault import VaultPki
from tasks.certificates import anchors
from tasks.observe import Observed, Site
from tests.unit.support import certs_ca
from tests.unit.support import site as plain

ROOT, PEERS, CLIENTS = certs_ca.ROOT, certs_ca.PEERS, certs_ca.ca("Clients CA", certs_ca.ROOT)
PEER_FILE, CLIENT_FILE = SIDE_ANCHORS["peer"], SIDE_ANCHORS["client"]


class FakeSource:
    """Separate CAs, or with ``single`` the root for both sides."""

    def __init__(self, *, single: bool) -> None:
        self.single = single

    def anchors(self, side: Side) -> str:
        if self.single:
            return ROOT.pem
        return PEERS.pem if side == "peer" else CLIENTS.pem


@dataclass
class FakeFacts:
    files: dict[str, FileFacts] = field(default_factory=dict)
    anchors: dict[str, FileFacts] = field(default_factory=dict)
    established: object = None
    pairs: dict[str, object] = field(default_factory=dict)
    restart_pending: str = ""


def file(text: str) -> FileFacts:
    return FileFacts(text.encode(), 0o644, "root", "root")


def seen(named: dict[Side, str], there: dict[str, str], *, running: bool = True) -> Observed:
    config = {f"{side}-transport-security": {"trusted-ca-file": path} for side, path in named.items()}
    facts = FakeFacts({CONFIG: file(yaml.safe_dump(config))}, {path: file(pem) for path, pem in there.items()})
    state = ServiceState(running=running, enabled=True)
    return Observed(cast(Any, facts), state, cast(Any, None), init_fits=True)


def site(trust: Any = "separate") -> Site:
    return Site(plain.settings(1, pki=VaultPki(trust=trust)), plain.LocalHost(), cast(Any, None), cast(Any, None))


BOTH: dict[Side, str] = {"peer": PEER_FILE, "client": CLIENT_FILE}
ONE: dict[Side, str] = {"peer": ROOT_ANCHOR, "client": ROOT_ANCHOR}
FRESH = seen({}, {}, running=False)
SINGLE_NOW = seen(ONE, {ROOT_ANCHOR: ROOT.pem})
SEPARATE_NOW = seen(BOTH, {PEER_FILE: PEERS.pem, CLIENT_FILE: CLIENTS.pem})


def changes(now: Observed, trust: str = "separate", final: frozenset[Side] = frozenset()) -> dict[str, str]:
    source = cast(Any, FakeSource(single=trust == "single"))
    return {each.path: each.pem for each in anchors.anchor_changes(site(trust), now, source, final=final)}


def test_a_fresh_host_gets_the_wanted_anchors_alone() -> None:
    assert changes(FRESH) == {PEER_FILE: PEERS.pem, CLIENT_FILE: CLIENTS.pem}
    assert changes(FRESH, "single") == {ROOT_ANCHOR: ROOT.pem}


def test_what_is_as_wanted_stays() -> None:
    assert changes(SEPARATE_NOW) == changes(SEPARATE_NOW, final=frozenset(SIDES)) == {}
    assert changes(SINGLE_NOW, "single") == {}


def test_a_live_member_goes_on_trusting_whom_it_trusts() -> None:
    assert changes(SINGLE_NOW) == {PEER_FILE: PEERS.pem + ROOT.pem, CLIENT_FILE: CLIENTS.pem + ROOT.pem}
    assert changes(SEPARATE_NOW, "single") == {ROOT_ANCHOR: ROOT.pem + PEERS.pem + CLIENTS.pem}


def test_until_a_side_is_final() -> None:
    widened = seen(ONE, {ROOT_ANCHOR: ROOT.pem, PEER_FILE: PEERS.pem + ROOT.pem, CLIENT_FILE: CLIENTS.pem + ROOT.pem})
    assert changes(widened) == {}
    assert changes(widened, final=frozenset({"peer"})) == {PEER_FILE: PEERS.pem}
    assert changes(widened, final=frozenset(SIDES)) == {PEER_FILE: PEERS.pem, CLIENT_FILE: CLIENTS.pem}


def test_a_member_that_is_down_is_live_once_it_was_part_of_a_cluster() -> None:
    down = seen(ONE, {ROOT_ANCHOR: ROOT.pem}, running=False)
    assert changes(down) == {PEER_FILE: PEERS.pem, CLIENT_FILE: CLIENTS.pem}
    known = replace(down, facts=cast(Any, replace(cast(Any, down.facts), established={"cluster_id": "1"})))
    assert changes(known)[PEER_FILE] == PEERS.pem + ROOT.pem


@pytest.mark.parametrize("lost", ["", "no certificate at all"])
def test_a_lost_file_of_anchors_is_placed_anew(lost: str) -> None:
    there = {CLIENT_FILE: CLIENTS.pem} | ({PEER_FILE: lost} if lost else {})
    assert changes(seen(BOTH, there)) == {PEER_FILE: PEERS.pem}


def test_widening_adds_to_the_files_that_etcd_reads() -> None:
    source = cast(Any, FakeSource(single=True))
    found = {each.path: each.pem for each in anchors.widened(site("single"), SEPARATE_NOW, source)}
    assert found == {PEER_FILE: ROOT.pem + PEERS.pem, CLIENT_FILE: ROOT.pem + CLIENTS.pem}
    both = {each.path: each.pem for each in anchors.widened(site(), SINGLE_NOW, cast(Any, FakeSource(single=False)))}
    assert both == {ROOT_ANCHOR: CLIENTS.pem + PEERS.pem + ROOT.pem}, "one file for both sides gets the CAs of both"


def test_a_side_without_tls_is_live_for_nobody() -> None:
    plain_clients = seen({"peer": PEER_FILE}, {PEER_FILE: PEERS.pem})
    assert not anchors.is_live(plain_clients, "client")
    assert anchors.is_live(plain_clients, "peer")


def test_files_that_nobody_names_are_stale() -> None:
    left = seen(BOTH, {ROOT_ANCHOR: ROOT.pem, PEER_FILE: PEERS.pem, CLIENT_FILE: CLIENTS.pem})
    assert anchors.stale_anchors(site(), left) == [ROOT_ANCHOR]
    assert anchors.stale_anchors(site("single"), left) == [PEER_FILE, CLIENT_FILE]


@pytest.mark.parametrize("content", [None, "", "- a list", "a: [", "peer-transport-security: text"])
def test_a_live_member_whose_configuration_tells_nothing_goes_on_trusting_all_that_lies_there(
    content: str | None,
) -> None:
    config = {} if content is None else {CONFIG: file(content)}

    def with_it(now: Observed) -> Observed:
        return replace(now, facts=cast(Any, replace(cast(Any, now.facts), files=config)))

    lost = with_it(SINGLE_NOW)
    assert anchors.named_anchors(lost) == ONE
    assert changes(lost) == {PEER_FILE: PEERS.pem + ROOT.pem, CLIENT_FILE: CLIENTS.pem + ROOT.pem}
    member = anchors.member_trust(site(), lost, "peer")
    assert (member.live, member.restart_due) == (True, True), "what it was started with is not known"
    both = with_it(seen(BOTH, {PEER_FILE: PEERS.pem, CLIENT_FILE: CLIENTS.pem, ROOT_ANCHOR: ROOT.pem}))
    assert anchors.named_anchors(both) == BOTH
    assert changes(both)[PEER_FILE] == PEERS.pem + ROOT.pem, "it may trust either file"
    assert not anchors.is_live(with_it(FRESH), "peer"), "nothing was ever there"
