"""Which version of etcd may take the place of another: pure decisions about one cluster.

The rules are etcd's own. A member does not start below the *cluster version*, the minor that all members run
("cluster cannot be downgraded", "invalid downgrade": `mustDetectDowngrade` in ``server/etcdserver/api/membership``),
which rises when the last member has a new minor and never falls by itself; until then, members may go back. A minor
must not be left out on the way up (etcd's upgrade guides: "upgrade only one minor release at a time"), and some minors
may be entered only from certain patch releases of the one before (`FLOORS`). Within a minor, etcd starts on the data of
any patch release: going back is allowed, and worth a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from etcdfleet.errors import Refusal
from etcdfleet.etcd.versions import Version, parse

FLOORS: Mapping[tuple[int, int], Version] = {(3, 6): (3, 5, 32), (3, 7): (3, 6, 11)}
"""The patch release that all members must run at least before one of them gets this minor, which reads the members from
another place than older ones do.

From 3.5 before 3.5.26, members that were removed come back, and voters count as learners (etcd issues 19557, 20967);
3.5.32 is what the upgrade guide asks for (``upgrade_3_6``: its etcdutl finds what 3.6 could not read, issue 21889). For
3.7, which reads no snapshot of the old store: ``upgrade_3_7``, issue 20187.
"""


WAY_BACK_TRIED = frozenset({(3, 5), (3, 6), (3, 7)})
"""The minor versions from which a member went back to the one before, while the others still ran that one."""


@dataclass(frozen=True)
class MemberVersion:
    """What is known of the versions of one member. An empty text is not known.

    ``running``: what its etcd says; empty while it does not answer. ``installed``: the program that its next start
    would run. ``brings``: the version of the program that this run would put there, None where it stays. ``by``: what
    would bring it, as people know it. ``data``: it has member data, so it belongs to a cluster.
    """

    host: str
    running: str = ""
    installed: str = ""
    brings: str | None = None
    by: str = ""
    data: bool = False


@dataclass(frozen=True)
class VersionsSaid:
    """What a member says at ``/version``: of its cluster, and (3.6 and newer) of its storage. Empty is not known."""

    cluster: str = ""
    storage: str = ""


def refuse_programs(members: Sequence[MemberVersion], cluster_version: str = "") -> Refusal | None:
    """Return why the programs that a run would bring do not fit the cluster, or None.

    ``cluster_version`` is what a member says it is (``etcdcluster`` of ``/version``), empty if none was asked. Without
    it, it is at most what the oldest running member runs; where no member runs, what is installed beside data tells.
    Nothing is refused where nothing is known of a cluster: etcd itself then refuses data of a newer one.
    """
    changing = [member for member in members if member.brings is not None]
    if not changing or not any(member.running or member.data for member in members):
        return None
    strange = [member for member in members if member.running and parse(member.running) is None]
    if strange:
        return Refusal(
            f"{_named(strange)} runs etcd {strange[0].running}, and what fits to that is not known",
            _hosts(changing),
            f"keep what is installed there: {_PUT_BACK}",
        )
    unknown = [member for member in changing if parse(member.brings) is None]
    if unknown:
        brings = unknown[0].brings
        return Refusal(
            f"{unknown[0].by} would bring "
            + (f"etcd {brings}, whose version cannot be read," if brings else "a version of etcd that cannot be read")
            + f" to {_named(unknown)}, a member of a running cluster",
            _hosts(unknown),
            "set install.version to one that there is, or put back what was installed",
        )
    bounds = _bounds(members, cluster_version)
    if bounds is None:
        return None
    floor, lowest, measure = bounds
    below = [member for member in changing if _line(member.brings) < floor]
    if below:
        return Refusal(
            f"{below[0].by} would bring etcd {_versions(m.brings for m in below)} to {_named(below)}, and {measure}: "
            f"etcd does not start below the cluster's version ({_dotted(floor)})",
            _hosts(below),
            f"{_PUT_BACK}; or pin one of {_dotted(floor)} or newer in install.version, if there is one"
            + _downgrade(floor, below)
            + BY_SNAPSHOT,
        )
    above = [m for m in changing if (line := _line(m.brings)) and (line[0] != lowest[0] or line[1] > lowest[1] + 1)]
    if above:
        step = (lowest[0], lowest[1] + 1)
        return Refusal(
            f"{above[0].by} would bring etcd {_versions(m.brings for m in above)} to {_named(above)}, and {measure}: "
            "etcd is upgraded by one minor version at a time",
            _hosts(above),
            f"{_PLANNED}; or choose a {_dotted(step)} in install.version first and deploy it to all members, or put "
            "back what was installed",
        )
    return _below_floor(members, changing)


def _downgrade(floor: tuple[int, int], below: Sequence[MemberVersion]) -> str:
    """Return how etcd itself lets a cluster go back by one minor version, which it does from 3.6 on; empty if not."""
    target = (floor[0], floor[1] - 1)
    if floor < (3, 6) or {_line(member.brings) for member in below} != {target}:
        return ""
    wanted = _dotted(target)
    return (
        f"; or have etcd give up what {wanted} cannot read, after a backup: etcdctl downgrade validate {wanted}, then"
        f" etcdctl downgrade enable {wanted} on a host that has {_dotted(floor)}, and once etcdctl -w json endpoint"
        f' status --cluster says "storageVersion":"{wanted}.0" of every member, run again (downgrade cancel takes it'
        f" back as long as a member runs {_dotted(floor)})"
    )


def _below_floor(members: Sequence[MemberVersion], changing: Sequence[MemberVersion]) -> Refusal | None:
    for line, floor in FLOORS.items():
        entering = [member for member in changing if _line(member.brings) == line]
        old = [
            member
            for member in members
            if (now := parse(member.running or (member.installed if member.data else ""))) and _minor(now) < line
            if now < floor
        ]
        if entering and old:
            least = ".".join(map(str, floor))
            return Refusal(
                f"{entering[0].by} would bring etcd {_versions(m.brings for m in entering)} to {_named(entering)}, and"
                f" {_named(old)} runs etcd {_versions(m.running or m.installed for m in old)}: before {_dotted(line)},"
                f" all members must run {least} or a newer {_dotted(_minor(floor))}",
                _hosts(entering),
                f"{_PLANNED}; or set install.version to {least} or newer first (a {_dotted(_minor(floor))}) and deploy"
                " it to all members, or put back what was installed",
            )
    return None


_PLANNED = "python runbooks/upgrade.py --check plans the versions between, and upgrade.py takes them (docs/upgrade.md)"
BY_SNAPSHOT = (
    "; or, where what was written since may be lost, go back to a snapshot that the older version has made"
    ' (docs/upgrade.md, "Back by a snapshot")'
)
_PUT_BACK = "put back in the inventory the install.method and install.version that were deployed last"


def changes_minor(members: Iterable[MemberVersion]) -> bool:
    """Return whether a member with data gets another minor version than it has."""
    return any(
        (now := parse(member.running or (member.installed if member.data else "")))
        and (new := parse(member.brings))
        and _minor(now) != _minor(new)
        for member in members
    )


def patch_downgrades(members: Iterable[MemberVersion]) -> tuple[str, ...]:
    """Return a warning for each member that would get an older patch release of the minor that it runs."""
    warnings = []
    for member in members:
        now, new = parse(member.running or member.installed), parse(member.brings)
        if now and new and _minor(now) == _minor(new) and new < now:
            warnings.append(
                f"{member.host} goes back from etcd {'.'.join(map(str, now))} to {'.'.join(map(str, new))}: etcd "
                "allows it within a minor version, but what was repaired since is lost"
            )
    return tuple(warnings)


def _bounds(
    members: Sequence[MemberVersion], cluster_version: str
) -> tuple[tuple[int, int], tuple[int, int], str] | None:
    """Below what nothing may be, from what the next minor is counted, and how that is known."""
    running = sorted(version for m in members if (version := parse(m.running)))
    agreed = parse(cluster_version)
    if running:
        # No member runs below the cluster version, so the oldest one is a bound where no member has said what it is.
        floor = min(_minor(agreed), _minor(running[0])) if agreed else _minor(running[0])
        return floor, _minor(running[0]), f"the cluster runs {_versions(m.running for m in members if m.running)}"
    beside = sorted(version for m in members if m.data and (version := parse(m.installed)))
    if not beside:
        return None
    what = _versions(m.installed for m in members if m.data and m.installed)
    return _minor(beside[-1]), _minor(beside[0]), f"{what} was installed beside the cluster's data"


def _line(text: str | None) -> tuple[int, int]:
    version = parse(text)
    assert version is not None  # noqa: S101  those were refused before
    return _minor(version)


def _minor(version: Version) -> tuple[int, int]:
    """Major and minor, which decide what fits together."""
    return version[:2]


def _versions(texts: Iterable[str | None]) -> str:
    return " and ".join(sorted({text for text in texts if text}))


def _dotted(line: tuple[int, int]) -> str:
    return f"{line[0]}.{line[1]}"


def _named(members: Sequence[MemberVersion]) -> str:
    return ", ".join(member.host for member in members)


def _hosts(members: Sequence[MemberVersion]) -> tuple[str, ...]:
    return tuple(member.host for member in members)
