"""Which hosts a run is for: ``--limit`` and ``--cluster`` as a pure function over names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from etcdfleet.errors import UsageError


@dataclass(frozen=True)
class HostLabels:
    """What a host can be chosen by, besides its name: its cluster and all its groups, nested ones too."""

    cluster: str
    groups: frozenset[str]


def select(hosts: Mapping[str, HostLabels], limit: Sequence[str] = (), clusters: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of the chosen hosts, in inventory order.

    ``limit`` holds names or globs of hosts, groups or clusters; ``!`` in front leaves out; only exclusions mean "all
    but these". ``clusters`` narrows further. Raises UsageError when anything asked for does not exist (a misspelt
    exclusion would touch the very host that was to be spared), or nothing is left.
    """
    if not hosts:
        raise UsageError("there are no hosts in the inventory", remedy="add hosts to inventory/hosts.yaml")
    existing = sorted({labels.cluster for labels in hosts.values()})
    for cluster in clusters:
        if cluster not in existing:
            raise UsageError(
                f"there is no cluster {cluster!r}{_hint(cluster, existing)}",
                where="--cluster",
                remedy=f"clusters: {', '.join(existing)}",
            )
    wanted = [pattern for pattern in limit if not pattern.startswith("!")]
    spared = [pattern.removeprefix("!") for pattern in limit if pattern.startswith("!")]
    chosen = _matches(hosts, wanted) if wanted else set(hosts)
    chosen -= _matches(hosts, spared)
    if clusters:
        chosen = {name for name in chosen if hosts[name].cluster in clusters}
    if not chosen:
        raise UsageError(
            "no host is left to work on",
            where=" ".join(
                [*(f"--limit '{pattern}'" for pattern in limit), *(f"--cluster {name}" for name in clusters)]
            ),
            remedy=_what_exists(hosts),
        )
    return tuple(name for name in hosts if name in chosen)


def _matches(hosts: Mapping[str, HostLabels], patterns: Sequence[str]) -> set[str]:
    chosen: set[str] = set()
    for pattern in patterns:
        matching = {
            name
            for name, labels in hosts.items()
            if any(fnmatchcase(label, pattern) for label in (name, labels.cluster, *labels.groups))
        }
        if not matching:
            names = [*hosts, *{label for labels in hosts.values() for label in (labels.cluster, *labels.groups)}]
            raise UsageError(
                f"no host, group or cluster matches {pattern!r}{_hint(pattern, names)}",
                where="--limit",
                remedy=_what_exists(hosts),
            )
        chosen |= matching
    return chosen


def _hint(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _what_exists(hosts: Mapping[str, HostLabels]) -> str:
    groups = sorted({group for labels in hosts.values() for group in labels.groups})
    clusters = sorted({labels.cluster for labels in hosts.values()})
    return "\n".join(
        [
            "choose from",
            f"  hosts: {', '.join(hosts)}",
            f"  clusters: {', '.join(clusters)}",
            *([f"  groups: {', '.join(groups)}"] if groups else []),
        ]
    )
