"""What people are told to do: one row per situation, with what status, verify or deploy must and must not say.

Each row is a case in which a remedy once led away from the fault, or to harm. The next one is a row more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest

from etcdfleet.checks.cluster import cluster_checks
from etcdfleet.checks.consequences import causes_first, remedies, told
from etcdfleet.checks.overview.cluster import overview
from etcdfleet.checks.overview.data import Machine, MemberView
from etcdfleet.etcd.answers import EndpointHealth, EndpointStatus, ExpectedMember, HashKV, Member, MemberList
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.contradictions import contradiction
from etcdfleet.etcd.ids import static_ids
from etcdfleet.etcd.start_model import MemberState

REFUSED = "dial tcp 192.0.2.3:2379: connect: connection refused"
DROPPED = "context deadline exceeded"
HARM = ("member remove", "member add", "rm -rf", "force-new-cluster", "controller_reaches_members")
"""What nobody must do to a member that works, or to silence a check."""


def members(names: str) -> tuple[ExpectedMember, ...]:
    """As an inventory has them; upper case: the same host under another name."""
    return tuple(ExpectedMember(name, f"https://{name.lower()}:2380", f"https://{name.lower()}:2379") for name in names)


def listed(names: str) -> MemberList:
    return MemberList(9, tuple(Member(ord(m.name), m.name, (m.peer_url,), (m.client_url,)) for m in members(names)))


@dataclass(frozen=True)
class Seen:
    """A cluster as it runs, and as it is asked: ``silent`` maps a member to what etcdctl said of it."""

    inventory: str = "abc"
    cluster: str = "abc"
    leader: str = "a"
    silent: tuple[tuple[str, str], ...] = ()
    lost: str = ""
    """Members that know of no leader: cut off on the peer port."""
    waiting: bool = False
    """Reads wait for an election."""
    no_list: bool = False
    """The member that is asked has no list, as one without a leader (3.5)."""


def status(seen: Seen, name: str) -> EndpointStatus:
    cut = name in seen.lost
    leader, term = (0, 9) if cut else (ord(seen.leader), 3)
    return EndpointStatus(f"https://{name}:2379", ord(name), 9, "3.5.16", 20480, 20480, leader, term, 90, 90, 7,
                          errors=("etcdserver: no leader",) if cut else ())  # fmt: skip


def health(seen: Seen, name: str) -> EndpointHealth:
    bad = name in seen.lost or seen.waiting
    return EndpointHealth(f"https://{name}:2379", not bad, 0.01, DROPPED if bad else "")


def answering(seen: Seen) -> list[str]:
    silent = dict(seen.silent)
    return [name for name in seen.inventory.lower() if name not in silent]


def by_verify(seen: Seen) -> tuple[str, str]:
    """What verify says, and its remedies."""
    names = answering(seen)
    said = Cluster(
        tuple(members(seen.inventory)),
        None if seen.no_list else listed(seen.cluster),
        tuple(status(seen, name) for name in names),
        tuple(health(seen, name) for name in names),
        tuple(HashKV(f"https://{name}:2379", 7, 7, -1) for name in names) if not seen.silent else (),
        {f"https://{name}:2379": why for name, why in seen.silent},
        "no answer" if seen.no_list else "",
    )
    bad = [finding for finding in causes_first(cluster_checks(said)) if not finding.ok]
    return told(bad), remedies(bad)


def by_status(seen: Seen) -> tuple[str, str]:
    """What status says, and its remedies."""
    machine, silent = Machine(running=True, enabled=True), dict(seen.silent)
    views = [
        MemberView(member.name, member, silent[low], "check the way")
        if (low := member.name.lower()) in silent
        else MemberView(
            member.name,
            member,
            machine=machine,
            status=status(seen, low),
            health=health(seen, low),
            members=listed(seen.cluster),
        )
        for member in members(seen.inventory)
    ]
    found = overview("k8s", views, members(seen.inventory))
    text = [found.margin, *(f"{one.level.name} {one.what}" for one in found.concerns)]
    return "; ".join(text), "; ".join(one.remedy for one in found.concerns)


def by_deploy(seen: Seen) -> tuple[str, str]:
    """What deploy refuses, and its remedy."""
    wanted = members(seen.inventory)
    states = [MemberState(member.name, member.name, running=True, answering=True) for member in wanted]
    ids = static_ids({member.name: (member.peer_url,) for member in wanted}, "token")
    found = contradiction(states, Cluster(tuple(wanted), listed(seen.cluster)), ids)
    assert found
    return found.what, found.remedy


Ask = Callable[[Seen], tuple[str, str]]
EVERYBODY: tuple[Ask, ...] = (by_verify, by_status, by_deploy)
RENAMED = Seen(inventory="aBc")
LEFT_OUT = Seen(inventory="ab", leader="c")
UNREACHED = "cannot be reached by SSH: timed out"
BARRED = "SSH login refused for user pi"


@pytest.mark.parametrize(
    ("seen", "who", "says", "remedy", "never"),
    [
        pytest.param(RENAMED, EVERYBODY, "called b in the", "set member.name of this host to b", HARM, id="renamed"),
        # The leader and healthy: only who knows that its host is gone may remove it.
        pytest.param(LEFT_OUT, EVERYBODY, "c", "put its host back into the inventory; only if that",
                     ("member add", "look again in a few seconds", "lost"), id="leader left out of the inventory"),
        pytest.param(Seen(inventory="abd"), EVERYBODY, "d", "put the old member.name back", HARM,
                     id="renamed and moved"),
        pytest.param(Seen(cluster="ab"), EVERYBODY, "c", "replace_member.py c", HARM, id="one too many"),
        pytest.param(Seen(cluster="a"), EVERYBODY, "b", "a cluster of its own, and must not be added", (),
                     id="one-member clusters"),
        pytest.param(Seen(silent=(("c", DROPPED),)), (by_verify,), "c: context deadline exceeded",
                     "open TCP 2379 and 2380 there", (*HARM, "deploy", "election", "tokens"), id="ports are closed"),
        pytest.param(Seen(silent=(("a", DROPPED),)), (by_verify,), "a: context deadline",
                     "open TCP 2379 and 2380 there", (*HARM, "election", "look again"), id="leader's port closed"),
        pytest.param(Seen(silent=(("c", REFUSED),)), (by_verify,), "c: dial tcp", "deploy starts a member",
                     (*HARM, "election", "tokens"), id="etcd does not run"),
        pytest.param(Seen(silent=(("a", REFUSED),), waiting=True), (by_verify,), "which does not answer",
                     "look again in a few seconds", (*HARM, "tokens"), id="leader just lost"),
        pytest.param(Seen(lost="c"), (by_verify,), "c follows no one", "reach each other on the peer port",
                     (*HARM, "tokens", "election"), id="the peer port is closed"),
        pytest.param(Seen(lost="c", no_list=True), (by_verify,), "a follows a; b follows a; c follows no one",
                     "reach each other on the peer port", (*HARM, "alarm", "belongs"), id="seen by that member"),
        pytest.param(Seen(silent=(("b", DROPPED), ("c", DROPPED)), lost="a"), (by_verify,), "1 of 3 answer",
                     "open TCP 2379 and 2380", (*HARM, "tokens", "election"), id="no quorum"),
        pytest.param(Seen(silent=tuple((name, BARRED) for name in "abc")), (by_status,), "not known: no host could be",
                     "check the way", (*HARM, "bring members back"), id="no key for any host"),
        pytest.param(Seen(silent=tuple((name, UNREACHED) for name in "abc")), (by_status,), "UNKNOWN cannot be reached",
                     "check the way", (*HARM, "bring members back"), id="VPN down"),
        pytest.param(Seen(silent=(("b", BARRED),)), (by_status,), "1 could not be asked", "check the way",
                     (*HARM, "bring"), id="no key for one host"),
    ],
)  # fmt: skip
def test_what_is_told(seen: Seen, who: Sequence[Ask], says: str, remedy: str, never: Sequence[str]) -> None:
    for ask in who:
        what, remedies_said = ask(seen)
        assert says in what, (ask.__name__, what)
        assert remedy in remedies_said, (ask.__name__, remedies_said)
        assert [word for word in never if word in f"{what}; {remedies_said}"] == [], (ask.__name__, what, remedies_said)


def test_each_cause_has_one_remedy_and_each_consequence_none() -> None:
    """One closed peer port makes leader, health and term fail: that is one thing to do."""
    seen = replace(Seen(), lost="c")
    what, remedy = by_verify(seen)
    assert what.endswith("(and so: health, one term)")
    assert remedy.count(";") == 0
