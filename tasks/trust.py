"""The step ``trust`` of a deploy: a CA that is new to a live cluster is trusted by all members before any uses it.

And its counterpart after the certificates are placed: when the previous CAs need not be trusted any more. The
reasoning is in ``etcdfleet/certs/trust.py``. On hosts that trust the issuing CA already, nothing is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from nornir.core.task import Result, Task

from etcdfleet.certs import (
    Certificate,
    MemberTrust,
    accepts,
    must_trust_first,
    parse_pem_bundle,
    readable,
    shown_by_all,
    still_shown,
)
from etcdfleet.drivers.certificates import Source, needed_roles, needed_sides, source_of
from etcdfleet.errors import FleetError, UsageError
from etcdfleet.host.paths import CERTIFICATES
from etcdfleet.outcome import StepOutcome
from etcdfleet.program.main import Run
from etcdfleet.settings.base import SIDES, Side, side_of
from tasks.anchors import anchor_changes, anchor_files, mark_if_read, member_trust, trusted_text, widened
from tasks.observe import Site, site_of
from tasks.rollout import bring_up, due_for_restart

STEP = "trust"
Clusters = Mapping[str, tuple[str, ...]]
Final = Mapping[str, frozenset[Side]]
"""By cluster, the sides on which nobody but the wanted CAs need be trusted any more."""


@dataclass(frozen=True)
class SideState:
    """A member on one side, what its new leaves would be placed with, and what etcd is to trust in the end.

    ``serves`` is what a new leaf would be placed with that clients see. ``done`` says that the files on the host hold
    nothing but the wanted anchors.
    """

    member: MemberTrust
    ways: tuple[tuple[Certificate, ...], ...]
    serves: tuple[Certificate, ...]
    anchors: tuple[Certificate, ...]
    done: bool

    @property
    def surplus(self) -> tuple[Certificate, ...]:
        """The CAs that are trusted and need not be in the end."""
        return tuple(anchor for anchor in self.member.trusted if anchor not in self.anchors)


States = Mapping[str, Mapping[Side, SideState]]


def trust_state(task: Task) -> Result:
    """Reads what the host trusts and shows, and what it should. Result: a `SideState` for each `Side` with TLS."""
    site = site_of(task)
    sides = needed_sides(site.settings)
    if not sides:
        return Result(task.host, result={})
    source, seen = source_of(task, site.settings), site.observe()
    done = not anchor_changes(site, seen, source, final=frozenset(SIDES))
    ways = {role: source.way(site.settings, role) for role in needed_roles(site.settings)}
    states = {
        side: SideState(
            member_trust(site, seen, side),
            tuple(dict.fromkeys(way for role, way in ways.items() if side_of(role) == side)),
            ways["server"] if side == "client" else (),
            parse_pem_bundle(source.anchors(side)),
            done,
        )
        for side in sides
    }
    return Result(task.host, result=states)


def trust(task: Task, clusters: frozenset[str]) -> Result:
    """In ``clusters``, adds the CAs that are to issue to what etcd trusts; a running etcd is then due for a restart.

    Result: ``result`` is a `StepOutcome`.
    """
    site = site_of(task)
    if not needed_sides(site.settings):
        return Result(task.host, result=StepOutcome("no TLS", skipped=True))
    if site.settings.cluster.name not in clusters:
        return Result(task.host, result=StepOutcome("no new CA", skipped=True))
    changes = widened(site, site.observe(), source_of(task, site.settings))
    if changes and not task.is_dry_run():
        before = "\n".join([f"mkdir -p -m 0755 {CERTIFICATES}", *mark_if_read(site, changes)])
        site.remote.place(anchor_files(changes), before=before, what="placing trust anchors")
        site.forget()
    texts = tuple(change.text for change in changes)
    outcome = StepOutcome("trusts the previous CA and the new one", texts, restart=bool(changes))
    return Result(task.host, result=outcome, changed=bool(changes))


def end_trust(task: Task, final: Final) -> Result:
    """On the sides that ``final`` names for the host's cluster, takes CAs that nobody needs from the trust anchors.

    A running etcd is then due for a restart. Result: ``result`` is a `StepOutcome`.
    """
    site = site_of(task)
    sides = final.get(site.settings.cluster.name, frozenset())
    source = source_of(task, site.settings)
    left = _beside_the_wanted(site, source, sides)
    summary = f"trusts the wanted CA, and {left}" if left else "trusts the wanted CA alone"
    changes = anchor_changes(site, site.observe(), source, final=sides) if sides else []
    if changes and not task.is_dry_run():
        before = "\n".join([f"mkdir -p -m 0755 {CERTIFICATES}", *mark_if_read(site, changes)])
        site.remote.place(anchor_files(changes), before=before, what="placing trust anchors")
        site.forget()
    outcome = StepOutcome(summary, tuple(change.text for change in changes))
    return Result(task.host, result=outcome, changed=bool(changes))


def _beside_the_wanted(site: Site, source: Source, final: frozenset[Side]) -> str:
    """The CAs that stay trusted although they are not wanted any more, in words; empty if there are none."""
    seen, said = site.observe(), []
    for side in needed_sides(site.settings):
        if side not in final:
            wanted = parse_pem_bundle(source.anchors(side))
            more = [anchor.title for anchor in readable(trusted_text(seen, side)) if anchor not in wanted]
            said += [f"{', '.join(more)} for {side}s"] if more else []
    return " and ".join(said)


def spread_trust(run: Run, clusters: Clusters, due: set[str] | None = None) -> Clusters:
    """Carries out the step ``trust``: where it is needed, by a rolling restart. Gives the clusters that may go on.

    With --check, the hosts that would be restarted for it are added to ``due``.
    """
    states = states_of(run, clusters)
    waiting = {name: reason for name in clusters if (reason := _why_not(run, name, clusters[name], states))}
    going = dict(clusters)
    for name, reason in waiting.items():
        if missing := _absent(run, name, states):
            run.record.protect(
                name,
                f"{reason}; {', '.join(missing)} must trust it too, but is left out of this run",
                "run for the whole cluster: every member must trust a CA before any of them uses it",
                where=name,
            )
            run.record.skip_rest(clusters[name], f"stopped to protect cluster {name}")
            del going[name]
    widening = {name: hosts for name, hosts in going.items() if name in waiting}
    if hosts := _good(run, going):
        found = due_for_restart(run.step(STEP, trust, only=hosts, clusters=frozenset(widening)))
        if due is not None:
            due |= found
    if not widening or run.options.check:
        return going
    bring_up(run, widening, only_restart=True)
    states = states_of(run, widening)
    for name, members in widening.items():
        failed = [host for host in members if host not in run.good_hosts]
        reason = f"{', '.join(failed)} failed" if failed else _not_yet(states, members)
        if reason:
            run.record.skip_rest(members, f"no certificates of the new CA yet: {reason}")
            del going[name]
    return going


def keep_untrusted(run: Run, clusters: Clusters) -> Clusters:
    """For a run that is to change no CA: leaves alone the clusters where a member might refuse the new certificates.

    Gives the others. A member whose restart is due may run with fewer anchors than its file holds.
    """
    states = states_of(run, clusters)
    going = dict(clusters)
    for name, hosts in clusters.items():
        if reason := _why_not(run, name, hosts, states):
            run.record.protect(
                name,
                f"no certificate was touched: {reason}",
                "run with --ca: all members trust the CA first, then use it, then trust it alone",
                where=name,
            )
            run.record.skip_rest(hosts, f"stopped to protect cluster {name}")
            del going[name]
    return going


def no_longer_needed(run: Run, clusters: Clusters) -> Final:
    """Where the CAs of before need not be trusted any more, since every member shows certificates of the wanted ones.

    On the side of clients this ends the time of client certificates of those CAs, so it is asked for; without an answer
    they stay trusted.
    """
    states = states_of(run, clusters)
    final: dict[str, frozenset[Side]] = {}
    for name, hosts in clusters.items():
        if all(state.done for host in hosts for state in states.get(host, {}).values()):
            final[name] = frozenset(SIDES)
            continue
        final[name] = frozenset(side for side in SIDES if _may_end(run, name, side, states))
    return final


def _may_end(run: Run, name: str, side: Side, states: States) -> bool:
    seen = [states[host][side] for host in run.clusters[name] if side in states.get(host, {})]
    old = list(dict.fromkeys(anchor.title for state in seen if state.member.live for anchor in state.surplus))
    if not old:
        return True
    missing = _absent(run, name, states)
    late = [] if run.options.check else still_shown([state.member for state in seen], seen[0].anchors, at=_now())
    left = [*missing, *(member.name for member in late)]
    if left:
        why = f"until {', '.join(left)} has a certificate of the wanted CA; then deploy the whole cluster"
    elif side == "client" and not _agreed(run, name, old):
        why = "so that clients with certificates of it still get in; to end that, run again with --yes"
    else:
        return True
    run.record.warn(name, f"for {'clients' if side == 'client' else 'peers'}, {', '.join(old)} stays trusted {why}")
    return False


def _agreed(run: Run, cluster: str, old: list[str]) -> bool:
    question = (
        f"{cluster}: from now on, only client certificates of the wanted CA are accepted, none of {', '.join(old)}. "
        "Do all clients have new ones (runbooks/client_cert.py)?"
    )
    try:
        return run.confirm(question)
    except UsageError:  # nobody is there to answer
        return False


def _why_not(run: Run, cluster: str, hosts: tuple[str, ...], states: States) -> str:
    """As `_not_yet`, of the members that this run leaves out, too, where something is new to the cluster."""
    if reason := _not_yet(states, hosts):
        return reason
    missing = _absent(run, cluster, states)
    seen = {side: [states[host][side] for host in hosts if side in states.get(host, {})] for side in SIDES}
    new = {
        side: found[0].ways[0]
        for side, found in seen.items()
        if found and not all(shown_by_all([state.member for state in found], way) for way in found[0].ways)
    }
    if not (missing and new):
        return ""
    names = frozenset(missing)
    looks = run.everything.filter(filter_func=lambda host: host.name in names).run(trusted_by, name="look")
    for host, result in looks.items():
        found = {} if result.failed else result[0].result
        for side, way in new.items():
            member = found.get(side)
            if member is None:
                return f"whether {host} trusts {_led_by(way)} cannot be seen"
            if member.live and (member.restart_due or not accepts(way, member.trusted, at=_now())):
                return f"{_listed([host])} not trust {_led_by(way)} yet"
    return ""


def trusted_by(task: Task) -> Result:
    """What a member that a run leaves out trusts and shows. Result: a `MemberTrust` by `Side`; none if unreachable."""
    try:
        site = site_of(task)
        seen = site.observe()
        return Result(task.host, result={side: member_trust(site, seen, side) for side in SIDES})
    except FleetError:
        return Result(task.host, result={})


def _not_yet(states: States, hosts: tuple[str, ...]) -> str:
    """Why the CA that is to issue cannot be used yet, in words; empty when it can."""
    for side in SIDES:
        seen = [states[host][side] for host in hosts if side in states.get(host, {})]
        for way in dict.fromkeys(way for state in seen for way in state.ways):
            late = must_trust_first([state.member for state in seen], way, at=_now())
            if late:
                return f"{_listed([member.name for member in late])} not trust {_led_by(way)} yet"
    return ""


def _listed(names: list[str]) -> str:
    return f"{', '.join(names)} {'does' if len(names) == 1 else 'do'}"


def _led_by(way: tuple[Certificate, ...]) -> str:
    """The CA that issues, and by what it may be known: two certificates of one CA differ in who signed them."""
    top = way[-1]
    return f"{way[0].title!r}" + ("" if top.self_signed else f" as signed by {top.issuer!r}")


def _absent(run: Run, cluster: str, states: States) -> list[str]:
    return [host.name for host in run.fleet.clusters[cluster] if host.name not in states]


def states_of(run: Run, clusters: Clusters) -> States:
    """What the good hosts of these clusters trust and show, by host and side. No round trip where that is known."""
    hosts = _good(run, clusters)
    results = run.step("look at trust", trust_state, only=hosts).items() if hosts else ()
    return {host: result[0].result for host, result in results if not result.failed}


def _good(run: Run, clusters: Clusters) -> list[str]:
    return [host for hosts in clusters.values() for host in hosts if host in run.good_hosts]


def _now() -> datetime:
    return datetime.now(UTC)
