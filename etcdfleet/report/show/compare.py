"""What differs between two runs: results, durations, and what was read on the hosts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from etcdfleet.report.record.facts import certificates_of, checks_of
from etcdfleet.report.record.model import HostRecord, RunRecord, StepRecord
from etcdfleet.report.show.format import fact_text, status_word
from etcdfleet.text import seconds_text

_FACTS = {
    "version": "version",
    "leader": "leader",
    "member_id": "member id",
    "cluster_id": "cluster id",
    "revision": "revision",
    "raft_term": "raft term",
    "db_size_bytes": "database",
    "distribution": "system",
    "architecture": "architecture",
}
_SLOWER = 1.5  # times as long, and ...
_AT_LEAST = 1.0  # ... seconds more or less, before a duration differs


@dataclass(frozen=True)
class Difference:
    """One thing that differs. ``place`` is a host, or empty for the run as a whole; an empty value: there is none."""

    place: str
    what: str
    before: str
    after: str


def differences(before: RunRecord, after: RunRecord) -> tuple[Difference, ...]:
    """Return all that differs, the runs first, then host by host in inventory order."""
    return tuple(pair for pair in _pairs(before, after) if pair.before != pair.after)


def _pairs(before: RunRecord, after: RunRecord) -> Iterator[Difference]:
    yield Difference("", "runbook", before.title, after.title)
    yield Difference("", "result", before.status.value, after.status.value)
    yield Difference("", "program", before.tool_version, after.tool_version)
    yield _duration("", "took", before.seconds, after.seconds)
    for name in dict.fromkeys([*before.hosts, *after.hosts]):
        one, other = before.hosts.get(name), after.hosts.get(name)
        if one is None or other is None:
            yield Difference(name, "takes part", "yes" if one else "no", "yes" if other else "no")
            continue
        yield Difference(name, "cluster", one.cluster, other.cluster)
        yield Difference(name, "address", one.address, other.address)
        yield from _of_steps(one, other, before.check, after.check)
        yield from _of_facts(name, one.facts, other.facts)


def _of_steps(one: HostRecord, other: HostRecord, check: bool, other_check: bool) -> Iterator[Difference]:
    for name in dict.fromkeys([*one.steps, *other.steps]):
        first, second = one.steps.get(name), other.steps.get(name)
        yield Difference(one.name, name, _status(first, check), _status(second, other_check))
        if first and second and first.status is second.status:
            yield _duration(one.name, f"{name} took", first.seconds, second.seconds)


def _of_facts(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Difference]:
    for key, label in _FACTS.items():
        if key in one and key in other:  # a runbook that did not look says nothing
            yield Difference(name, label, fact_text(key, one[key]), fact_text(key, other[key]))
    first, second = _certificates(one), _certificates(other)
    if first and second:
        for role in dict.fromkeys([*first, *second]):
            yield Difference(name, f"{role} certificate", first.get(role, ""), second.get(role, ""))
    if "checks" in one and "checks" in other:
        was, now = _bad_checks(one), _bad_checks(other)
        for check in dict.fromkeys([*was, *now]):
            yield Difference(name, check, was.get(check, "well"), now.get(check, "well"))


def _duration(place: str, what: str, before: float | None, after: float | None) -> Difference:
    one, other = before or 0.0, after or 0.0
    near = abs(one - other) < _AT_LEAST or max(one, other) < _SLOWER * min(one, other)
    text = seconds_text(one)
    return Difference(place, what, text, text if near else seconds_text(other))


def _status(step: StepRecord | None, check: bool) -> str:
    if step is None:
        return ""
    if step.error:
        return f"failed: {step.error.headline}"
    return status_word(step.status, check=check)


def _certificates(facts: Mapping[str, Any]) -> dict[str, str]:
    return {
        role: f"{one.serial}, until {one.not_after:%Y-%m-%d}" if one.not_after else f"{one.serial}, until "
        for role, one in certificates_of(facts).items()
    }


def _bad_checks(facts: Mapping[str, Any]) -> dict[str, str]:
    bad = [one for one in checks_of(facts) if one.status in ("warning", "failed")]
    return {one.check: f"{one.status}: {one.evidence}" for one in bad}
