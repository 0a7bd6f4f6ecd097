"""Whether members reach each other, judged before the first etcd starts: by addresses, routes and open ports.

etcd has the last word on where a peer's connection comes from: it accepts the addresses in the peer's certificate, and
those to which the names in it resolve (``checkCertSAN`` in etcd's ``client/pkg/transport/listener_tls.go``).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from etcdfleet.host.preflight import Trouble
from etcdfleet.settings.models import HostSettings, MemberSettings
from etcdfleet.text import listed

OPEN, TIME_OUT, REFUSED = "open", "time-out", "Connection refused"
CONTROLLER = "this machine"
Heard = Mapping[tuple[str, int], str]
"""What became of connections, by address and port: `OPEN`, `TIME_OUT`, or the reason."""


@dataclass(frozen=True)
class Routes:
    """The addresses of a host, and by destination where its connections come from, or why there is no way."""

    addresses: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


def read_routes(text: str) -> Routes:
    """From the output of ``ip -o addr show`` and ``ip route get`` (iproute2 or busybox)."""
    own, *parts = re.split(r"^= (?=\S+$)", text, flags=re.MULTILINE)
    addresses = re.findall(r"\binet6? ([0-9a-fA-F.:]+)", own)
    sources, missing = {}, {}
    for part in parts:
        target, _, answer = part.partition("\n")
        if source := re.search(r"\bsrc (\S+)", answer):
            sources[target] = source.group(1)
        elif answer.strip():
            missing[target] = answer.strip().splitlines()[0].rpartition("answers: ")[2]
    return Routes(tuple(addresses), sources, missing)


def read_heard(text: str) -> Heard:
    """From lines ``ADDRESS,PORT RESULT``."""
    heard = {}
    for address, port, result in re.findall(r"^(\S+),(\d+) (.*)$", text, re.MULTILINE):
        heard[address, int(port)] = _said(result)
    return heard


def _said(result: str) -> str:
    lower = result.lower()
    if "timed out" in lower or "time-out" in lower:
        return TIME_OUT
    if "refused" in lower:
        return REFUSED
    return result.rpartition(": ")[2].strip() or "no connection"


def address_problems(settings: HostSettings, routes: Routes, resolves: Mapping[str, Sequence[str]]) -> list[Trouble]:
    """Check that the host has its address, and connects to the other members from where these expect it."""
    own, others = settings.member, [m for m in settings.members if m.fqdn != settings.member.fqdn]
    if routes.addresses and own.address not in routes.addresses:
        usable = [text for text in routes.addresses if not _is_local(text)]
        return [
            Trouble(
                f"the host has no address {own.address}, on which etcd is to listen; it has "
                f"{', '.join(usable) or 'none'}",
                "correct member.address in the inventory, or give the host that address",
            )
        ]
    troubles = [
        Trouble(
            f"there is no route to {_named(other)}: {routes.missing[other.address]}",
            "give all members of the cluster addresses of one family (IPv4 or IPv6), or this host a route to that one",
        )
        for other in others
        if other.address in routes.missing
    ]
    accepted = {own.address, *resolves.get(own.fqdn, ())}
    by_source: dict[str, list[MemberSettings]] = {}
    for other in others:
        source = routes.sources.get(other.address, own.address)
        if source not in accepted and settings.cluster.peer_tls:
            by_source.setdefault(source, []).append(other)
    for source, members in by_source.items():
        names = " and ".join(_named(member) for member in members)
        what = (
            f"its connections to {names} come from {source}, and its certificate is for {own.fqdn} and {own.address}: "
            "the other members would refuse them"
        )
        same = ipaddress.ip_address(source).version == ipaddress.ip_address(own.address).version
        remedy = (
            f"set member.address to {source}, and have {own.fqdn} lead there; or have the host send from "
            f"{own.address}: ip route get {members[0].address} must say src {own.address}"
            if same
            else f"give all members addresses of one family, or have {own.fqdn} lead to {source} too, in DNS or in "
            "/etc/hosts of every member"
        )
        troubles.append(Trouble(what, remedy))
    return troubles


def _is_local(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return address.is_loopback or address.is_link_local


def _named(member: MemberSettings) -> str:
    return f"{member.name} ({member.address})"


def closed_ports(settings: HostSettings, heard: Mapping[str, Heard], *, listening: bool) -> list[Trouble]:
    """Report the ports of this host that others cannot connect to. ``heard``: what each of the others met, by name.

    ``listening``: something listened at both ports meanwhile; else a refusal tells nothing.
    """
    address, cluster = settings.member.address, settings.cluster
    by_reason: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for port in (cluster.client_port, cluster.peer_port):
        met: dict[str, list[str]] = {}
        for who, results in heard.items():
            reason = results.get((address, port), OPEN)
            if reason != OPEN and (listening or reason != REFUSED):
                met.setdefault(reason, []).append(who)
        if len({name for names in met.values() for name in names}) > 1:
            # What keeps the members out keeps this machine out, too: first the cause.
            met = {reason: [name for name in names if name != CONTROLLER] for reason, names in met.items()}
        for reason, names in met.items():
            if not names:
                continue
            by_reason.setdefault((reason, tuple(sorted(names))), []).append(port)
    return [_closed(settings, ports, reason, names) for (reason, names), ports in by_reason.items()]


def _closed(settings: HostSettings, ports: Sequence[int], reason: str, names: tuple[str, ...]) -> Trouble:
    plural = "s" if len(ports) > 1 else ""
    shown = " and ".join(map(str, ports))
    met = {
        TIME_OUT: "no answer, though SSH gets through: a firewall drops it",
        REFUSED: "refused, though something listens there: a firewall rejects it",
    }.get(reason, f"{reason}: a firewall rejects it, or there is no route")
    what = f"TCP port{plural} {shown} of {settings.member.address} cannot be reached from {listed(names)}: {met}"
    remedy = (
        f"let TCP {shown} in on this host (ufw: ufw allow {','.join(map(str, ports))}/tcp), and see whether the others "
        "or what is between them let it out"
    )
    if names == (CONTROLLER,):
        remedy += "; or, where only the members are to reach it, set preflight.controller_reaches_members: false"
    return Trouble(what, remedy)
