"""What must be true of a host before anything is changed on it: pure checks over facts, with words and remedies."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from etcdfleet.certs import parse_pem_bundle
from etcdfleet.drivers.init import other_inits
from etcdfleet.errors import CertificateError
from etcdfleet.host.facts import GO_ARCHITECTURES, NO_DNS, RESOLVE_SECONDS, RUNS_ON, HostFacts
from etcdfleet.host.paths import ASIDE, RESTORING
from etcdfleet.settings.models import HostSettings
from etcdfleet.text import mib, span_text

PEER_CLOCK_WARNING = 1.0
"""Seconds: etcd warns in its log when the clocks of two members differ by more."""
ETC_BYTES = 4 * 2**20
"""Room for certificates and configuration."""
INSTALL_BYTES = 150 * 2**20
"""Room for the programs and the package manager's work, where they still have to be installed."""
COMPATIBLE_DISTRIBUTIONS = {"raspbian": "debian"}


@dataclass(frozen=True)
class Trouble:
    """Something that stops the run (or, as a warning, does not): what it is, and what to do."""

    what: str
    remedy: str


def init_problem(settings: HostSettings, fits: bool) -> list[Trouble]:
    """Check that the init system is the one of the host's group."""
    if fits:
        return []
    return [
        Trouble(
            f"the inventory puts the host into the group {settings.init}, but it was not booted by {settings.init}",
            f"move it to the group {other_inits(settings.init)} if that is what it runs, or boot it with "
            f"{settings.init}",
        )
    ]


def platform_problems(settings: HostSettings, facts: HostFacts) -> list[Trouble]:
    """Check that distribution and architecture are known ones, and that an override can run on this kernel."""
    troubles = []
    wanted = settings.platform.distributions
    # A derivative counts for what it is like only where that is written down: Ubuntu says it is like Debian, and its
    # etcd packages are others.
    names = {facts.distribution, COMPATIBLE_DISTRIBUTIONS.get(facts.distribution, facts.distribution)}
    if wanted and not names & set(wanted):
        troubles.append(
            Trouble(
                f"it runs {facts.release or facts.distribution or 'an unknown distribution'}, and the inventory says "
                f"{' or '.join(wanted)}",
                f"correct the host's group, or add {facts.distribution!r} to platform.distributions",
            )
        )
    kernel = RUNS_ON.get(_go(facts.machine), ())
    override = settings.platform.architecture
    if facts.architecture not in RUNS_ON:
        troubles.append(
            Trouble(
                f"its architecture {facts.package_architecture or facts.machine} is none that etcd is built for here",
                "supported are amd64, arm64 and 32-bit ARM",
            )
        )
    elif override and override not in kernel:
        troubles.append(
            Trouble(
                f"the inventory says architecture {override}, and its kernel ({facts.machine}) cannot run that",
                "correct or remove platform.architecture",
            )
        )
    return troubles


def _go(machine: str) -> str:
    return GO_ARCHITECTURES.get(machine, machine)


def clock_problems(settings: HostSettings, facts: HostFacts) -> tuple[list[Trouble], list[Trouble]]:
    """Compare the host's clock with the controller's and with the certificates on it: (problems, warnings)."""
    offset, limit = facts.clock_offset, settings.preflight.clock_tolerance_seconds
    side = "ahead of" if offset > 0 else "behind"
    text = f"its clock is {span_text(abs(offset))} {side} the controller's (host: {facts.clock:%Y-%m-%d %H:%M:%S} UTC)"
    remedy = (
        "set the clock of whichever of the two is wrong, and keep it right with chrony, ntpd or systemd-timesyncd (a "
        "Pi has no clock chip); certificates are refused by a host whose clock is outside their validity"
    )
    if abs(offset) > limit:
        return [Trouble(f"{text}; the limit is {limit} s", remedy)], []
    warnings = [Trouble(text, remedy)] if abs(offset) > PEER_CLOCK_WARNING else []
    for role, pair in facts.pairs.items():
        try:
            leaf = parse_pem_bundle(pair.pem)[0]
        except CertificateError:
            continue  # the step `certificates` deals with an unreadable one
        if facts.clock < leaf.not_before and leaf.not_before <= datetime.now(UTC):
            what = f"its {role} certificate is not valid yet by its own clock ({facts.clock:%Y-%m-%d %H:%M:%S} UTC)"
            return [Trouble(what, remedy)], warnings
    return [], warnings


def name_problems(settings: HostSettings, facts: HostFacts) -> list[Trouble]:
    """Check that every FQDN of the cluster resolves, on this host, to the address in the inventory.

    To others of the same family it must not lead, since half of the connections would go there. Addresses of the other
    family do no harm: nothing of etcd listens there, and Go's connections go on to the next address.
    """
    troubles = []
    silent = [member.fqdn for member in settings.members if NO_DNS in facts.resolves.get(member.fqdn, ())]
    if silent:
        troubles.append(
            Trouble(
                f"no DNS server answers this host within {RESOLVE_SECONDS} s, asked for {', '.join(silent)}",
                "correct /etc/resolv.conf there, or let the host reach its DNS server (getent ahosts "
                f"{silent[0]} shows when it does); or write all members into /etc/hosts of every host of the cluster",
            )
        )
    for member in settings.members:
        resolved = facts.resolves.get(member.fqdn, ())
        if NO_DNS in resolved:
            continue
        addresses = tuple(text for text in map(_plain_address, resolved) if text)
        family = [text for text in addresses if (":" in text) == (":" in member.address)]
        if family == [member.address]:
            continue
        if not resolved:
            troubles.append(
                Trouble(
                    f"{member.fqdn} does not resolve there",
                    f"add {member.fqdn} -> {member.address} to DNS, or to /etc/hosts of every host of the cluster",
                )
            )
            continue
        hint = ""
        if member.fqdn == settings.member.fqdn and "127.0.1.1" in addresses:
            hint = " (Debian's installer writes the host's own name with 127.0.1.1 into /etc/hosts)"
        troubles.append(
            Trouble(
                f"{member.fqdn} resolves there to {', '.join(family or resolved)}, and the inventory says "
                f"{member.address}",
                f"correct DNS or /etc/hosts on the host{hint}, or member.address in the inventory",
            )
        )
    return troubles


def _plain_address(text: str) -> str:
    """Return an address as etcd would connect to it; empty for one that depends on an interface (``fe80::1%eth0``)."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    if address.is_link_local:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def service_name_warning(settings: HostSettings, facts: HostFacts) -> list[Trouble]:
    """Check that the name that clients use leads to all members, as far as the host knows, or to something in front.

    No member needs it, so it is no reason to stop.
    """
    name = settings.cluster.service_name
    if not name:
        return []
    resolved = facts.resolves.get(name, ())
    addresses = tuple(filter(None, map(_plain_address, set(resolved) - {NO_DNS})))
    members = {member.address for member in settings.members}
    missing = sorted(members.difference(addresses))
    if not addresses:
        what = f"cluster.service_name {name} does not resolve there: clients that use it reach no member"
    elif missing and members.issuperset(addresses):
        what = f"cluster.service_name {name} does not lead to {', '.join(missing)}, as the host sees it"
    else:
        return []
    return [Trouble(what, f"add {name} with the addresses of all members to DNS, or take it out of the inventory")]


def port_problems(settings: HostSettings, facts: HostFacts, own_pid: int | None) -> list[Trouble]:
    """Check that the two ports are free, or that etcd's own service has them."""
    troubles = []
    for key, port in (("client_port", settings.cluster.client_port), ("peer_port", settings.cluster.peer_port)):
        for listener in facts.listeners:
            if listener.port != port or (own_pid is not None and f"(pid {own_pid})" in listener.process):
                continue
            troubles.append(
                Trouble(
                    f"port {port} is taken by {listener.process}, listening on {listener.address or '*'}",
                    f"stop that program, or choose another cluster.{key}; an etcd started by hand counts as another "
                    "program: stop it and let the service run it",
                )
            )
            break
    return troubles


def space_problems(settings: HostSettings, facts: HostFacts, *, installs: bool) -> list[Trouble]:
    """Enough room for the data, for /etc and, where something will be installed, for that.

    A member that has its data already needs no second helping of free space: it is only refused when nearly full.
    """
    data_dir = settings.member.data_dir
    needed = {data_dir: settings.preflight.min_free_bytes if facts.data.ids is None else ETC_BYTES, "/etc": ETC_BYTES}
    if installs:
        needed["/usr"] = INSTALL_BYTES
    return [
        Trouble(
            f"{path} has {mib(free)} free, and {mib(wanted)} are needed",
            "free some space on the host (df -h), or lower preflight.min_free_bytes if that is on purpose"
            if path == data_dir
            else "free some space on the host (df -h)",
        )
        for path, wanted in needed.items()
        if (free := facts.free_bytes.get(path, 0)) < wanted
    ]


def data_problems(settings: HostSettings, facts: HostFacts) -> list[Trouble]:
    """Check that what lies in the data directory is etcd's, and can be read."""
    data_dir = settings.member.data_dir
    if facts.data.unreadable:
        return [
            Trouble(
                f"the member data in {data_dir} cannot be read: {facts.data.unreadable}",
                "look at the disk (dmesg, fsck); if the data is lost, remove the member from the cluster and add it "
                "anew; deploy never deletes data",
            )
        ]
    if facts.data.ids is None and facts.data.foreign:
        # Debian's package makes an empty folder `default` there; what a member left is kept in one of ours.
        strange = [
            name
            for name in facts.data.foreign
            if name not in {"default", ".cache"} and not name.startswith((ASIDE, RESTORING))
        ]
        if strange:
            return [
                Trouble(
                    f"{data_dir} holds things that are not etcd's: {', '.join(strange[:5])}",
                    "choose another member.data_dir, or move them away",
                )
            ]
    return []


def sync_warning(settings: HostSettings, milliseconds: Sequence[float]) -> list[Trouble]:
    """Compare the write-and-sync latency at the 99th percentile with etcd's figure for a healthy log.

    The text has no figure of the host, so that a report can say it once for many hosts.
    """
    limit = settings.preflight.sync_warn_ms
    if not milliseconds or percentile(milliseconds, 0.99) <= limit:
        return []
    return [
        Trouble(
            f"slow disk: synced writes to {settings.member.data_dir} take more than {limit} ms at the 99th percentile",
            "expect leader elections under load: use an SSD or an A2 card, or keep heartbeat_ms and election_ms high",
        )
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` of the values do not exceed (nearest rank). Raises `ValueError` for no values."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * share // 1))
    return ordered[min(len(ordered), int(rank)) - 1]
