"""Changes of CAs, over worlds: what members trust and show, what Vault has, runs that are cut off, members that boot.

The engine's own functions decide, in the order of the steps of a run; a model of TLS says after each action whether the
members still accept each other. The model knows names only: who issued what, and no certificate of the code under test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from etcdfleet.certs import (
    Certificate,
    MemberTrust,
    bundle,
    merge_pem,
    must_trust_first,
    parse_pem_bundle,
    shown_by_all,
    still_shown,
)
from etcdfleet.certs.chain import same_certificates, way_of
from etcdfleet.certs.clients import cut_off
from tests.unit.support import certs_ca
from tests.unit.support.certs_ca import NOW, Made

ROOTS = {name: certs_ca.ca(name) for name in ("R1", "R2")}
CAS = {
    "I1": certs_ca.ca("I", ROOTS["R1"], label="I"),  # one CA, signed by both roots
    "I2": certs_ca.ca("I", ROOTS["R2"], label="I"),
    "J1": certs_ca.ca("J", ROOTS["R1"], label="J"),
    "J2": certs_ca.ca("J", ROOTS["R2"], label="J"),
    "K1": certs_ca.ca("K", ROOTS["R1"], label="K"),
}
MADE: dict[str, Made] = {**ROOTS, **CAS}
LEAVES = {name: certs_ca.leaf(CAS[f"{name}1"], label=f"leaf {name}") for name in "IJK"}
NAMES = {made.pem: name for name, made in MADE.items()}


def pem(names: Sequence[str]) -> str:
    """The text of a file with these certificates."""
    return "".join(MADE[name].pem for name in names)


def read(names: Sequence[str]) -> tuple[Certificate, ...]:
    return parse_pem_bundle(pem(names)) if names else ()


def accepted(shown: Sequence[str], anchors: Sequence[str]) -> bool:
    """The model of TLS: a leaf of CA ``shown[0]``, with these certificates above it, and a peer with these anchors.

    A certificate of a CA is named by the CA and who signed it: I2 is one of I, signed by R2.
    """
    vouching = {shown[0][0], *(f"R{name[1]}" for name in shown)}
    return any((anchor if anchor.startswith("R") else anchor[0]) in vouching for anchor in anchors)


@dataclass(frozen=True)
class VaultState:
    """What Vault would give: the certificates of the mount in the order of its chain, and what is to be trusted."""

    chain: tuple[str, ...]
    root: str
    separate: bool

    @property
    def wanted(self) -> tuple[str, ...]:
        return (self.chain[0],) if self.separate else (self.root,)

    @property
    def fits(self) -> bool:
        """What the preflight asks: some certificate of the CA that issues is signed by the root."""
        return any(name[0] == self.chain[0][0] and name[1] == self.root[1] for name in self.chain)


@dataclass
class Host:
    """A member: whether it was ever part of the cluster, its file, what its etcd has read, and what it shows."""

    name: str
    live: bool
    file: tuple[str, ...]
    running: tuple[str, ...]
    shown: tuple[str, ...]
    due: bool = False

    def seen(self) -> MemberTrust:
        """As the engine sees it: not what etcd has read."""
        leaf = parse_pem_bundle(LEAVES[self.shown[0][0]].pem) if self.shown else ()
        leaves = ((*leaf, *read(self.shown)),) if leaf else ()
        shown = leaves[0] if leaves else ()
        return MemberTrust(self.name, self.live, self.due, read(self.file), leaves, shown)

    def boot(self) -> None:
        """A start of etcd, for whatever reason."""
        self.running, self.due = self.file, False


class CutOffError(Exception):
    """The run ends here, as after a kill."""


@dataclass
class World:
    """A cluster, and how many actions the present run may still carry out."""

    hosts: list[Host]
    left: int = 10**6
    actions: list[str] = field(default_factory=list)

    def act(self, what: str) -> None:
        """After an action on a host: members accept each other; then the run may be cut off."""
        self.actions.append(what)
        self.check(what)
        self.left -= 1
        if self.left <= 0:
            raise CutOffError

    def check(self, what: str) -> None:
        live = [host for host in self.hosts if host.live]
        for one in live:
            for other in live:
                assert accepted(one.shown, other.running), f"{what}: {other} refuses {one}; {self.actions}"

    def restart(self) -> None:
        """A rolling restart of what is due for one."""
        for host in self.hosts:
            if host.live and host.due:
                host.boot()
                self.act(f"restart {host.name}")

    def place(self, host: Host, anchors: str) -> None:
        """A file of trust anchors."""
        if not same_certificates(pem(host.file), anchors):
            host.file = tuple(NAMES[one.pem] for one in parse_pem_bundle(anchors))
            host.due = host.live
            self.act(f"{host.name} gets {host.file}")

    def run(self, vault: VaultState, chosen: Sequence[Host], *, clients_ready: bool = True) -> bool:
        """A run for some hosts, pass by pass; whether all passes were done."""
        wanted = [read(vault.wanted), read((vault.root,))]
        way = way_of(read(vault.chain), wanted, at=NOW)
        absent = [host for host in self.hosts if host not in chosen]
        late = must_trust_first([host.seen() for host in chosen], way, at=NOW)
        if not shown_by_all([host.seen() for host in chosen], way):  # what is new is new to those left out, too
            late = must_trust_first([host.seen() for host in self.hosts], way, at=NOW)
        if late:
            if absent:
                return False
            for host in chosen:
                if host.live:
                    self.place(host, merge_pem(pem(host.file), pem(vault.wanted)))
            self.restart()
            assert not must_trust_first([host.seen() for host in chosen], way, at=NOW)
        lost, _ = cut_off([(host.seen(), way) for host in chosen], at=NOW)
        if lost and not clients_ready:
            return False
        ca = vault.chain[0][0]
        text = bundle(LEAVES[ca].pem, [pem(vault.chain)], wanted=wanted, at=NOW)
        shown = tuple(NAMES[one.pem] for one in parse_pem_bundle(text)[1:])
        for host in chosen:
            if not self.keeps(host, vault):
                host.shown = shown
                self.act(f"{host.name} shows {shown}")
        final = not absent and not still_shown([host.seen() for host in chosen], read(vault.wanted), at=NOW)
        for host in chosen:
            before = pem(host.file) if host.live and not final else None
            self.place(host, merge_pem(before, pem(vault.wanted)))
        self.restart()
        for host in chosen:  # the step start: what was new is part of the cluster from now on
            if not host.live:
                host.live, host.running = True, host.file
                self.act(f"{host.name} joins")
        return not absent

    def keeps(self, host: Host, vault: VaultState) -> bool:
        """Whether what the host has is good: of the CA that issues, and leading to what is wanted (`decide`)."""
        return bool(host.shown) and host.shown[0][0] == vault.chain[0][0] and accepted(host.shown, vault.wanted)


CHAINS = (("I1",), ("I2",), ("I1", "I2"), ("I2", "I1"), ("J1",), ("J2", "J1"), ("J1", "J2"), ("K1",))
VAULTS = [
    state
    for chain in CHAINS
    for root in ROOTS
    for separate in (False, True)
    if (state := VaultState(chain, root, separate)).fits
]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A cluster whose members accept each other, whatever they trust and show, and whichever restarts are due."""
    size = draw(st.integers(1, 5))
    shown = [draw(st.sampled_from([("I1",), ("I2",), ("I1", "I2"), ("J1",), ("K1",)])) for _ in range(size)]
    hosts = []
    for number in range(size):
        running = tuple(draw(st.sets(st.sampled_from(sorted(MADE)), min_size=1, max_size=4)))
        running += tuple(
            name
            for name in (draw(st.sampled_from([each[0], f"R{each[0][1]}"])) for each in shown)
            if not all(accepted(each, running) for each in shown) and name not in running
        )
        # A run that was cut off has added to the file, or dropped what nobody shows any more.
        more = draw(st.sets(st.sampled_from(sorted(MADE)), max_size=2))
        file = tuple(dict.fromkeys([*running, *sorted(more)]))
        kept = tuple(name for name in file if draw(st.booleans()))
        if kept and all(accepted(each, kept) for each in shown):
            file = kept
        due = set(file) != set(running) or draw(st.booleans())
        hosts.append(Host(f"m{number}", True, file, running, shown[number], due))
    fresh = [Host("new", False, (), (), ())] if draw(st.booleans()) else []
    return World([*hosts, *fresh])


@settings(max_examples=120, deadline=None)
@given(
    worlds(),
    st.lists(
        st.tuples(
            st.sampled_from(VAULTS),
            st.one_of(st.none(), st.integers(1, 12)),  # after how many actions the run is killed
            st.sampled_from(["", "", "", "limit", "nobody says yes"]),
            st.lists(st.integers(0, 4), max_size=2),  # members that boot before the run
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(VAULTS),
)
def test_members_accept_each_other_whatever_happens(
    world: World,
    runs: list[tuple[VaultState, int | None, str, list[int]]],
    last: VaultState,
) -> None:
    """Before, members refused each other where their CA was signed by another root with its own name and key."""
    world.check("the world as it is found")
    for vault, killed, how, boots in runs:
        for number in boots:
            host = world.hosts[number % len(world.hosts)]
            if host.live:
                host.boot()
                world.check(f"{host.name} boots")
        world.left = killed or 10**6
        chosen = world.hosts[:1] if how == "limit" else world.hosts
        try:
            world.run(vault, chosen, clients_ready=how != "nobody says yes")
        except CutOffError:
            event("a run is killed")
    world.left = 10**6
    assert world.run(last, world.hosts), "a run for all, with an answer to all questions, completes"
    for host in world.hosts:
        assert (set(host.file), set(host.running), host.due) == (set(last.wanted), set(last.wanted), False)
        assert host.shown[0][0] == last.chain[0][0]
    done = len(world.actions)
    assert world.run(last, world.hosts)
    assert len(world.actions) == done, "and the next one changes nothing"


def test_the_model_finds_what_was_wrong() -> None:
    """The fault that took clusters down: pairs below the new root on all members, of which none trusts it."""
    hosts = [Host(f"m{number}", True, ("R1",), ("R1",), ("I1",)) for number in range(3)]
    world = World([replace(host, shown=("I2",)) for host in hosts])
    with pytest.raises(AssertionError, match="refuses"):
        world.check("placed on all")
    assert accepted(("I1",), ("R1",))
    assert not accepted(("I2",), ("R1",))
    assert accepted(("I2",), ("I1",)), "one CA, whoever signed it"
