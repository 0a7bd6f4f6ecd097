"""The list of checks at the end of a verification: how many of each host passed, and what is wrong, once for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from etcdfleet.alike import together
from etcdfleet.report.record.facts import checks_of
from etcdfleet.report.record.model import HostRecord
from etcdfleet.report.show.format import wrapped

WIDTH = 100
_WORDS = (("ok", "passed"), ("warning", "with a warning"), ("failed", "failed"), ("skipped", "not asked"))
_MARKS = {"ok": "ok", "warning": "warning", "failed": "FAILED", "skipped": "-"}


def lines(clusters: Mapping[str, Sequence[HostRecord]], *, verbose: bool = False, width: int = WIDTH) -> list[str]:
    """Return the whole list, for people; with ``verbose`` each check of each host with its evidence."""
    texts: list[str] = []
    for cluster, hosts in clusters.items():
        texts += ["", cluster]
        names = max(len(host.name) for host in hosts)
        for host in hosts:
            checks = checks_of(host.facts)
            count = count_text([check.status for check in checks]) if checks else "not verified"
            texts.append(f"  {host.name:<{names}}  {count}")
            if verbose:
                texts += [
                    _hanging(f"    {_MARKS[check.status]:<8} {check.check}: {check.evidence}", 13, width)
                    for check in checks
                ]
        texts += _failed(hosts, width)
    return texts


def failed_lines(clusters: Mapping[str, Sequence[HostRecord]], width: int = WIDTH) -> list[str]:
    """Return what is wrong alone."""
    return [line for hosts in clusters.values() for line in _failed(hosts, width)]


def advice_lines(clusters: Mapping[str, Sequence[HostRecord]], width: int = WIDTH) -> list[str]:
    """Return what the preflight advises, host by host."""
    texts: list[str] = []
    for cluster, hosts in clusters.items():
        advised = [(host.name, host.facts["advice"]) for host in hosts if isinstance(host.facts.get("advice"), list)]
        texts += ["", cluster] if advised else []
        for name, sentences in advised:
            texts += [f"  {name}", *(_hanging(f"    {sentence}", 6, width) for sentence in sentences)]
    return texts


def count_text(statuses: Sequence[str]) -> str:
    """Return how many checks there are, and how they stand: ``3 checks: 2 passed, 1 not asked``."""
    words = [f"{count} {word}" for status, word in _WORDS if (count := statuses.count(status))]
    return f"{len(statuses)} checks: {', '.join(words)}"


def _failed(hosts: Sequence[HostRecord], width: int) -> Iterator[str]:
    """Yield what failed, in the order of the checks; what several hosts say alike is said once."""
    failures = together(
        (host.name, host.names, check.check, (check.evidence, check.cause, check.remedy))
        for host in hosts
        for check in checks_of(host.facts)
        if check.status == "failed"
    )
    for one in failures:
        evidence, cause, remedy = one.texts
        yield ""
        yield f"  FAILED  {one.kind}  ({', '.join(one.places)})"
        for label, text in (("seen", evidence), ("cause", cause), ("remedy", remedy)):
            if text:
                yield _hanging(f"    {label:<8}{text}", 12, width)


def _hanging(text: str, indent: int, width: int) -> str:
    lead = text[: len(text) - len(text.lstrip())]
    return lead + wrapped(text.strip(), width + indent - len(lead), indent)
