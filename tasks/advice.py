"""What the disk and the network of a host mean for its settings: measured, put into words, nothing changed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from nornir.core.task import Result, Task

from etcdfleet.host.advice import Measured, advice, read_round_trips
from etcdfleet.host.preflight import percentile
from etcdfleet.outcome import done
from etcdfleet.remote.scripts import script
from tasks.observe import site_of
from tasks.preflight import sync_latencies

PINGS = 4


def advise(task: Task, disk: bool = False) -> Result:
    """Measure round trips to the other members, and with ``disk`` synced writes where a member has its data.

    Where none has, the preflight of the same run has measured those already. The fact ``advice`` has a sentence for
    each thing; there is no warning and no failure. Raises `RemoteError`.
    """
    site = site_of(task)
    live = site.observe().facts.data.ids is not None
    syncs = sync_latencies(site) if disk and live and not task.is_dry_run() else site.sync_latencies
    settings = site.settings
    others = {m.name: m.address for m in settings.members if m.name != settings.member.name}
    answers = site.remote.batch(_questions(settings.member.data_dir, others), timeout=60)
    pings = read_round_trips(answers["ping"].stdout, others) if answers["ping"].rc == 0 else None
    measured = Measured(syncs, answers["device"].text, pings)
    sentences = advice(settings, measured)
    facts: dict[str, object] = {"advice": list(sentences), "data_device": measured.device}
    if syncs:
        facts |= {"sync_p50_ms": round(percentile(syncs, 0.5), 1), "sync_p99_ms": round(percentile(syncs, 0.99), 1)}
    if pings:
        facts["round_trip_ms"] = pings
    return done(task, _summary(facts), facts=facts)


def _summary(facts: Mapping[str, object]) -> str:
    parts = [f"synced write p99 {facts['sync_p99_ms']} ms"] if "sync_p99_ms" in facts else ["disk not measured"]
    pings = facts.get("round_trip_ms")
    if isinstance(pings, dict):
        parts.append(f"round trip {max(pings.values()):.1f} ms")
    return ", ".join(parts)


def _questions(data_dir: str, others: Mapping[str, str]) -> dict[str, str]:
    path = shlex.quote(data_dir)
    return {
        "ping": script("ping", *others.values(), count=PINGS),
        "device": f'p={path}; while [ ! -d "$p" ]; do p=${{p%/*}}; [ -n "$p" ] || p=/; done\n'
        "df -P \"$p\" | tail -n 1 | cut -d ' ' -f 1",
    }
