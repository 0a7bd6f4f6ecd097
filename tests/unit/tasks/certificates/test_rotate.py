"""New certificates on a live member: what keeps them from it, how they are proven, and how it goes back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from etcdfleet.certs import Keep, Renew, parse_pem_bundle, want_for
from etcdfleet.drivers.certificates import Obtained
from etcdfleet.drivers.certificates.files import FilesPki
from etcdfleet.errors import CertificateError, PreflightError, ProtectionError, RemoteError, VerificationError
from etcdfleet.host.facts import PairFacts, now
from etcdfleet.host.paths import SETS, UNPROVEN
from etcdfleet.settings.models import PreflightSettings
from tasks.certificates import rotate as rotation
from tasks.certificates.rotate import decide, left_out, replace_expired, rotate_member
from tasks.verify import proof as verify
from tests.unit.support import certs_ca
from tests.unit.support.certs_ca import DAY, PEERS, pem_of
from tests.unit.support.site import MEMBERS, settings
from tests.unit.support.stand_ins import (
    RUNNING,
    STOPPED,
    Clock,
    Place,
    Scripted,
    carry_out,
    error_of,
    hashes,
    healths,
    member_list,
    seen,
    statuses,
)

PKI = FilesPki(folder="/pki", trust="single")
OURS = settings(client_tls=False, pki=PKI, preflight=PreflightSettings(controller_reaches_members=False))
CLUSTER, FQDN, ADDRESS = OURS.cluster, MEMBERS[0].fqdn, MEMBERS[0].address
NOW = datetime.now(UTC)
DUE: Any = {"az-1": {"peer": "peer certificate is replaced"}}


def leaf(fqdn: str = FQDN, label: str = "leaf") -> certs_ca.Made:
    return certs_ca.leaf(PEERS, fqdn, dns=[fqdn], ips=[ADDRESS], start=NOW - DAY, end=NOW + 300 * DAY, label=label)


OLD, NEW = leaf(label="old"), leaf(label="new")


class Source:
    """Gives ``new``; finds that the pair on the host may stay unless it is ``due``."""

    signs_requests = False
    title = "files"

    def __init__(self, new: certs_ca.Made = NEW, *, due: bool = False, warnings: tuple[str, ...] = ()) -> None:
        self.new, self.due, self.warnings = new, due, warnings

    def check(self, *_: object) -> tuple[str, ...]:
        return self.warnings

    def want(self, _settings: object, role: Any) -> Any:
        return want_for(role, fqdn=FQDN, address=ADDRESS, usages=("server", "client"), trust_anchor=PEERS.pem)

    def decide(self, *_: object) -> Keep | Renew:
        (there, *_rest) = parse_pem_bundle(OLD.pem)
        return Renew(("it ends soon",), there) if self.due else Keep(there, there.not_after)

    def obtain(self, *_: object) -> Obtained:
        return Obtained(self.new.pem, pem_of(self.new.key), ("it came by hand",))

    def anchors(self, _: object) -> str:
        return PEERS.pem


class Host(Scripted):
    """The host az-1, whose cluster is well or not by what was placed and put back there until now."""

    def __init__(self, well: Callable[[Host], bool] = lambda _: True, sick: int = 1, **answers: Any) -> None:
        super().__init__(
            {
                "readlink": "sets/peer-old\n",
                "hashkv": lambda: f"{self._statuses()}\n{hashes(1, 2, 3, cluster=CLUSTER)}",
                "endpoint status": lambda: self._statuses(),
                "endpoint health": lambda: healths(1, 2, 3, sick=() if well(self) else (sick,), cluster=CLUSTER),
                "member list": member_list(cluster=CLUSTER),
                **{text.replace("_", " "): said for text, said in answers.items()},
            }
        )

    def _statuses(self) -> str:
        return statuses(1, 2, 3, cluster=CLUSTER)

    @property
    def has_new(self) -> bool:
        """Whether the new pair is in use: placed, and not put back."""
        return any(path.startswith(f"{SETS}/peer-") for path in self.placed) and not self.went_back

    @property
    def went_back(self) -> bool:
        return self.was_sent("ln -sfn sets/peer-old ")


@pytest.fixture(name="clock", autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (rotation, verify):
        monkeypatch.setattr(module, "time", clock, raising=False)
    return clock


@pytest.fixture(autouse=True)
def _tidied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "tidy", lambda site: site.remote.sent.append("tidied"))


def rotated(
    host: Host, task: Any = rotate_member, *, source: Source | None = None, check: bool = False, **how: Any
) -> Any:
    pairs = {"peer": PairFacts(OLD.pem, "", "600 etcd", {})}
    place = Place(host, seen(RUNNING, clock=NOW, read_at=now(), pairs=pairs, established={"cluster_id": 9}), of=OURS)
    return carry_out(task, place, source=source or Source(), check=check, due=DUE, **how)


@pytest.mark.parametrize("task", [rotate_member, replace_expired])
def test_check_obtains_nothing(task: Any) -> None:
    result = rotated(host := Host(), task, check=True)
    assert (result.changed, result.result.changes, host.sent) == (True, ("peer certificate is replaced",), [])


def test_a_new_certificate_is_placed_and_proven() -> None:
    result = rotated(host := Host())
    assert not result.failed, result.exception
    (folder,) = {path.rpartition("/")[0] for path in host.placed if path.startswith(SETS)}
    assert host.placed[f"{folder}/{FQDN}.pem"].decode() == NEW.pem
    assert host.placed[f"{folder}/{FQDN}.key"].decode() == pem_of(NEW.key)
    assert host.placed[UNPROVEN] == b"peer\n", "until it is proven: a run that is cut off here is seen by the next"
    assert f"\nrm -f {UNPROVEN}\n" in host.sent[-2]
    assert host.sent[-1] == "tidied"
    assert result.result.changes == ("peer certificate is replaced",)
    assert result.result.warnings == ("it came by hand",)


def test_what_follows_a_rotation() -> None:
    rotated(host := Host(), restart=True, revoke=True)
    assert host.was_sent("new certificates' >> ")
    assert "tidied" not in host.sent, "the old sets are the record of what is still to be revoked"


@pytest.mark.parametrize(
    ("host", "without", "placed"),
    [
        (Host(lambda _: False, sick=2), (), False),
        (Host(lambda _: False, sick=2), ("az-2",), True),
        (Host(member_list="", endpoint_status=""), (), False),
    ],
    ids=["another is sick", "it is left out", "no answer"],
)
def test_no_certificate_is_touched_in_a_cluster_that_is_not_healthy(host: Host, without: Any, placed: bool) -> None:
    result = rotated(host, without=without)
    assert bool(host.placed) is placed
    if not placed:
        assert isinstance(result.exception, ProtectionError)
        assert "no certificate was touched" in error_of(result)


def test_nothing_is_placed_once_the_lock_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(_: Any) -> None:
        raise ProtectionError("another run has the lock")

    monkeypatch.setattr(rotation, "still_ours", lost)
    assert "another run" in error_of(rotated(host := Host()))
    assert host.placed == {}


def test_what_is_not_fit_is_not_placed() -> None:
    result = rotated(host := Host(), source=Source(leaf("another.name.test")))
    assert isinstance(result.exception, CertificateError)
    assert host.placed == {}


def test_a_certificate_that_does_not_prove_itself_goes_back(clock: Clock) -> None:
    result = rotated(host := Host(lambda host: not host.has_new))
    assert isinstance(result.exception, VerificationError)
    error = error_of(result)
    assert "did not prove themselves" in error
    assert "the previous ones are back, and all is well" in error
    assert host.went_back
    assert host.was_sent(f"rm -f {UNPROVEN}")
    assert 25 <= clock.now - 1000 <= 40, "an election is waited for"


def test_that_it_is_not_well_with_the_old_one_either_is_said() -> None:
    host = Host(lambda host: not host.placed)
    error = error_of(rotated(host))
    assert "with the previous ones: " in error
    assert "az-1" in error


def test_a_host_that_is_lost_after_the_placing_is_no_good_end() -> None:
    gone = RemoteError("the SSH connection was lost")
    host = Host()
    host.answers = {"ln -sfn sets/peer-old ": gone, **host.answers}
    host.answers["hashkv"] = lambda: gone if host.placed else f"{host._statuses()}\n{hashes(1, 2, 3, cluster=CLUSTER)}"
    error = error_of(rotated(host))
    assert "could not be restored" in error
    assert "--force" in error


def test_an_election_on_the_way_is_no_failure(clock: Clock) -> None:
    result = rotated(Host(lambda host: not host.placed or clock.now > 1005))
    assert not result.failed, result.exception
    assert clock.now > 1005


def test_expired_certificates_are_replaced_without_a_gate(clock: Clock) -> None:
    host = Host(lambda host: bool(host.placed) and clock.now > 1010)
    result = rotated(host, replace_expired)
    assert not result.failed, result.exception
    assert result.result.summary == "peer replaced, healthy again"


def test_a_cluster_that_does_not_come_back_keeps_the_new_ones(clock: Clock) -> None:
    result = rotated(host := Host(lambda _: False), replace_expired)
    assert "it has new certificates" in error_of(result)
    assert clock.now - 1000 > 55
    assert not host.went_back, "the old ones are of no use"


# What is to be done.


def decided(*, service: Any = RUNNING, source: Source | None = None, host: Host | None = None, **how: Any) -> Any:
    facts = {key: how.pop(key) for key in ("clock_offset", "unproven") if key in how}
    pairs = {"peer": PairFacts(OLD.pem, "", how.pop("mode", "600 etcd"), {})}
    there = seen(service, clock=NOW, read_at=now(), pairs=pairs, established={"cluster_id": 9}, **facts)
    return carry_out(decide, Place(host or Host(), there, of=OURS), source=source or Source(), changing=True, **how)


@pytest.mark.parametrize(
    ("how", "summary"),
    [
        ({}, "nothing is due"),
        ({"source": Source(due=True)}, "due: peer"),
        ({"force": True}, "due: peer"),
        ({"force": True, "chosen": ("server",)}, "nothing is due"),
        ({"source": Source(due=True), "chosen": ("server",)}, "nothing is due"),
        ({"unproven": ("peer",)}, "nothing is due; what a run that was ended has placed is still to be proven"),
        ({"unproven": ("peer",), "host": Host(lambda _: False)}, "due: peer; what a run that was ended"),
    ],
)
def test_what_is_due(how: Any, summary: str) -> None:
    result = decided(**how)
    assert not result.failed, result.exception
    assert result.result.summary.startswith(summary)
    assert not result.changed


def test_how_the_member_is_goes_into_the_decision() -> None:
    well = decided().result.member
    assert (well.healthy, well.leader, well.others_sick) == (True, True, {})
    sick = decided(host=Host(lambda _: False, sick=3)).result.member
    assert (sick.healthy, list(sick.others_sick)) == (True, ["az-3"])
    stopped = decided(service=STOPPED).result.member
    assert (stopped.healthy, stopped.problem, stopped.deployed) == (False, "etcd does not run", True)


def test_a_key_that_others_may_read_is_a_warning() -> None:
    (warning,) = decided(mode="644 root").result.warnings
    assert "the peer key is 644 root" in warning


def test_by_a_wrong_clock_nobody_knows_what_is_due() -> None:
    assert isinstance(decided(clock_offset=90000.0).exception, PreflightError)


def test_a_host_that_is_left_out_fails_with_the_reason() -> None:
    result = carry_out(left_out, Place(), why="it does not answer")
    assert "left out, though its certificates are due: it does not answer" in error_of(result)
