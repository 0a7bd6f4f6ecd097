"""By which versions a cluster gets from the one that it runs to the one that is wanted: pure decisions.

The rules are those of a single step (`etcdfleet.etcd.upgrades`): no minor version is left out, and some are entered
from certain patch releases of the one before alone. So between two versions there may have to be others, of each of
which there must be programs for every host. A cluster in which members run two minor versions is one in the middle of a
hop: its first hop is to complete that one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from etcdfleet.errors import Refusal
from etcdfleet.etcd.cluster import Cluster
from etcdfleet.etcd.upgrades import BY_SNAPSHOT, FLOORS, WAY_BACK_TRIED, MemberVersion, VersionsSaid, refuse_programs
from etcdfleet.etcd.versions import Version, minor_of, parse
from etcdfleet.text import listed

SOURCES: Mapping[tuple[int, int], str] = {
    (3, 6): "etcd's upgrade guide upgrade_3_6; issues 19557, 20967, 21889",
    (3, 7): "etcd's upgrade guide upgrade_3_7; issue 20187",
}
"""Where it is written from which patch releases a minor version may be entered."""
SOUND_3_5 = (3, 5, 6)
"""Before it, 3.5 could lose what it had confirmed: after a crash (3.5.0 to 3.5.2, issue 13766), on a single node
(14424), and in a defragmentation that was cut short (14733)."""
TELLS_STORAGE = (3, 6, 0)
"""From here on ``/version`` has the version of the storage, too, which rises after that of the cluster."""
NEEDS = "before each hop: a verified backup, all members well, no learner, no alarm, equal data"


@dataclass(frozen=True)
class Supply:
    """Which versions of etcd can be brought to one host, by what, and for which architecture.

    ``wanted`` is the one that its settings choose; empty if that is not known.
    """

    host: str
    architecture: str
    by: str
    versions: tuple[str, ...]
    wanted: str = ""


@dataclass(frozen=True)
class Hop:
    """One stop on the way: the version that all members run at its end, and the hosts that get it.

    ``why`` says why it is one, ``back`` until when one can go back from it.
    """

    version: str
    hosts: tuple[str, ...]
    why: str
    back: str


@dataclass(frozen=True)
class Course:
    """The way to the target; without hops all members run it. ``notes`` is what is worth knowing before it begins."""

    target: str
    runs: str
    hops: tuple[Hop, ...]
    notes: tuple[str, ...] = ()

    def told(self) -> tuple[str, ...]:
        """Return the plan for people, line by line."""
        if not self.hops:
            return (f"all members run etcd {self.target}",)
        count = "one hop" if len(self.hops) == 1 else f"{len(self.hops)} hops"
        lines = [f"from etcd {self.runs} to {self.target} in {count}; {NEEDS}"]
        for number, hop in enumerate(self.hops, 1):
            lines += [f"{number}. {hop.version} for {', '.join(hop.hosts)}: {hop.why}", f"   way back: {hop.back}"]
        return (*lines, *self.notes)

    @property
    def words(self) -> str:
        """The versions on the way, in one line."""
        return " → ".join([self.runs, *(hop.version for hop in self.hops)])


def unfit(cluster: Cluster) -> Refusal | None:
    """Return why a cluster that was seen so must not be upgraded now, or None.

    A member that does not answer is none of it: a hop starts it, and goes on only once it is well.
    """
    hosts = tuple(cluster.name(entry.id) for entry in cluster.entries)
    if cluster.members is None:
        why = cluster.no_list or "no member answers"
        return Refusal(f"no member gives the member list ({why})", hosts, "see status, and start its members")
    if cluster.alarms:
        kinds = listed(sorted(cluster.alarms))
        return Refusal(
            f"the alarm {kinds} is raised, and no member is taken down beside it",
            hosts,
            "python runbooks/repair.py mends what raised it (docs/repair.md); then run again",
        )
    if cluster.divergence:
        what = f"members do not hold the same data: {cluster.diverged()}"
        return Refusal(what, hosts, "python runbooks/repair.py first (docs/repair.md); then run again")
    if newcomers := [cluster.name(entry.id) for entry in cluster.entries if entry.learner or not entry.started]:
        return Refusal(
            f"{listed(newcomers)} joins the cluster and has no vote yet: members are not changed while two versions run"
            " (etcd issue 20793)",
            hosts,
            "let it join first: run again what was at it (status says which)",
        )
    return None


def plan_hops(
    members: Sequence[MemberVersion], supplies: Sequence[Supply], target: str, cluster_version: str = ""
) -> Course | Refusal:
    """Return the way of these members to a version, or why there is none.

    ``supplies`` has one entry for each host. ``cluster_version`` is what a member says it is, empty if none was asked.
    """
    hosts = tuple(member.host for member in members)
    now = {member.host: version for member in members if (version := parse(_at(member)))}
    if refusal := _unknown(members, now, target):
        return refusal
    wanted = parse(target)
    assert wanted is not None  # noqa: S101  refused before
    low, high = min(now.values()), max(now.values())
    if refusal := _goes_back(hosts, low, high, wanted):
        return refusal
    runs = listed(sorted({_text(version) for version in now.values()}))
    if set(now.values()) == {wanted}:
        return Course(target, runs, ())
    stops = _stops(now, supplies, wanted)
    if isinstance(stops, Refusal):
        return stops
    course = Course(target, runs, _hops(now, [*stops, wanted]), _notes(low, stops, wanted))
    first = course.hops[0]
    changing = [replace(one, brings=first.version if one.host in first.hosts else None) for one in members]
    return refuse_programs(changing, cluster_version) or course


def wanted_by_all(supplies: Sequence[Supply]) -> str | Refusal:
    """Return the version that the settings of all hosts choose."""
    wanted = {one.host: one.wanted for one in supplies}
    if len(set(wanted.values())) == 1 and all(wanted.values()):
        return supplies[0].wanted
    told = ", ".join(f"{host}: {version or 'none that can be installed'}" for host, version in wanted.items())
    return Refusal(
        f"the inventory has no version of etcd that is the same for all members ({told})",
        tuple(wanted),
        "give all hosts the same install.method and install.version, or name a version by --to",
    )


def not_arrived(version: str, running: str, said: VersionsSaid) -> str:
    """Return what is missing of a member's arrival at a version; empty for nothing.

    ``running`` is what it says of itself. A cluster version that could not be asked for is not missing.
    """
    if running != version:
        return f"it runs etcd {running}" if running else "its member does not answer"
    if said.cluster and minor_of(said.cluster) != minor_of(version):
        return f"the cluster version is {said.cluster}"
    wanted = parse(version)
    if said.cluster and wanted and wanted >= TELLS_STORAGE and minor_of(said.storage) != minor_of(version):
        return f"its storage version is {said.storage or 'not told'}"
    return ""


def _unknown(members: Sequence[MemberVersion], now: Mapping[str, Version], target: str) -> Refusal | None:
    hosts = tuple(member.host for member in members)
    wanted = parse(target)
    if wanted is None or ".".join(map(str, wanted)) != target:
        return Refusal(f"{target!r} is no release of etcd", hosts, "write three numbers, such as 3.6.14")
    if not any(member.running or member.data for member in members):
        return Refusal(
            "there is no cluster yet", hosts, "python runbooks/deploy.py begins one with the version at once"
        )
    if new := [member.host for member in members if not member.running and not member.data]:
        return Refusal(
            f"{listed(new)} holds no member yet, and none joins while two versions run (etcd issue 20793)",
            tuple(new),
            "let it join first, with the version that the others run: put that into install.version, and run"
            " python runbooks/deploy.py",
        )
    if unknown := [host for host in hosts if host not in now]:
        return Refusal(
            f"which etcd {listed(unknown)} runs cannot be told", tuple(unknown), "see status, and start its members"
        )
    if wanted[0] != 3 or any(version[0] != 3 for version in now.values()):
        return Refusal("only the way between versions of etcd 3 is known", hosts, "choose a 3.5, 3.6 or 3.7")
    return None


def _goes_back(hosts: tuple[str, ...], low: Version, high: Version, wanted: Version) -> Refusal | None:
    """Refuse the way back: it is not this one, or there is none."""
    if wanted >= high:
        return None
    if wanted[:2] == high[:2]:
        return Refusal(
            f"a member runs etcd {_text(high)} already, a newer patch release than {_text(wanted)}",
            hosts,
            f"going back within a minor version is python runbooks/deploy.py with install.version: {_text(wanted)}",
        )
    if low[:2] < high[:2] and wanted[:2] == low[:2]:
        return Refusal(
            f"etcd {_text(high)} runs already, and the way from it goes up",
            hosts,
            f"while one member runs {_line(low)}, the others go back by python runbooks/deploy.py with install.version:"
            f" {_text(low)}",
        )
    return Refusal(
        f"the cluster runs etcd {_text(low)}: etcd does not start below the cluster's version (mustDetectDowngrade in"
        " server/etcdserver/api/membership)",
        hosts,
        f"choose that or a newer one{BY_SNAPSHOT}",
    )


def _stops(now: Mapping[str, Version], supplies: Sequence[Supply], wanted: Version) -> list[Version] | Refusal:
    """Return the versions that come before the target; or what is missing."""
    low, high = min(now.values()), max(now.values())
    stops: list[Version] = []
    oldest, mixed = low, low[:2] != high[:2]
    for minor in range(high[1], wanted[1]):
        floor = FLOORS.get((3, minor + 1), (3, minor, 0))
        if oldest < floor or mixed:
            least = max(floor, high) if minor == high[1] else floor
            found = _newest(now, supplies, least)
            if found is None:
                return _missing(now, supplies, wanted, least, floor)
            stops.append(found)
            oldest, mixed = found, False
    if lacking := [one for one in supplies if now[one.host] != wanted and _text(wanted) not in one.versions]:
        return _no_target(lacking, wanted)
    return stops


def _newest(now: Mapping[str, Version], supplies: Sequence[Supply], least: Version) -> Version | None:
    """Return the version of the minor of ``least`` that all hosts can have, none below it.

    What members run already in the middle of a hop comes before a newer one.
    """

    def can_be(version: Version) -> bool:
        return all(now[one.host] == version or _text(version) in one.versions for one in supplies)

    offered = {version for one in supplies for text in one.versions if (version := parse(text))}
    fit = [one for one in {*offered, *now.values()} if one[:2] == least[:2] and one >= least and can_be(one)]
    running = [version for version in fit if version in now.values()]
    return max(running or fit, default=None)


def _missing(
    now: Mapping[str, Version], supplies: Sequence[Supply], wanted: Version, least: Version, floor: Version
) -> Refusal:
    line, upper = _line(least), (3, least[1] + 1)
    rule = f"no minor version may be left out on the way from {_text(min(now.values()))} to {_text(wanted)}"
    if upper in FLOORS:
        rule = f"before {_line(upper)}, all members must run {_text(floor)} or a newer {line} ({SOURCES[upper]})"

    def fits(text: str) -> bool:
        version = parse(text)
        return version is not None and version[:2] == least[:2] and version >= least

    lacking = [one for one in supplies if not any(fits(text) for text in one.versions)] or list(supplies)
    what = f"{rule}, and no such version is offered for all of them: none for {_told(lacking)}"
    return Refusal(what, tuple(one.host for one in lacking), _add(_text(least), lacking))


def _no_target(lacking: Sequence[Supply], wanted: Version) -> Refusal:
    what = f"etcd {_text(wanted)} is not offered for {_told(lacking)}"
    return Refusal(what, tuple(one.host for one in lacking), _add(_text(wanted), lacking))


def _told(supplies: Sequence[Supply]) -> str:
    return ", ".join(
        f"{one.host} ({one.architecture or 'architecture not known'}; {one.by} has {listed(one.versions) or 'none'})"
        for one in supplies
    )


def _add(version: str, lacking: Sequence[Supply]) -> str:
    """Return how to come by a version for these hosts."""
    kinds = sorted({one.architecture for one in lacking if one.architecture})
    archives = " and ".join(f"install.releases.{version}.{kind}" for kind in kinds) or f"install.releases.{version}"
    remedy = f"add {archives}: etcd publishes archives for amd64 and arm64, and"
    remedy += f" python runbooks/build_etcd.py {version} --arch {','.join(kinds) or 'amd64'} makes them and prints the"
    remedy += " lines (docs/build.md)"
    packages = sorted({one.by for one in lacking} - {"release archive"})
    if not packages:
        return remedy
    why = "Debian has nothing newer than 3.5, on no architecture" if "apt" in packages else "it has one version alone"
    return f"{listed(packages)} cannot bring it ({why}): set install.method: archive, and {remedy}"


def _hops(now: Mapping[str, Version], stops: Sequence[Version]) -> tuple[Hop, ...]:
    hops: list[Hop] = []
    state = dict(now)
    for stop in stops:
        changing = tuple(host for host, version in state.items() if version != stop)
        hops.append(Hop(_text(stop), changing, _why(stop, stops[-1]), _back(min(state.values()), stop)))
        state = dict.fromkeys(state, stop)
    return tuple(hops)


def _why(stop: Version, wanted: Version) -> str:
    if stop == wanted:
        return "the target"
    upper = (3, stop[1] + 1)
    if upper in FLOORS:
        return f"before {_line(upper)}, all members must run {_text(FLOORS[upper])} or newer ({SOURCES[upper]})"
    return "no minor version may be left out"


def _back(old: Version, new: Version) -> str:
    if old[:2] == new[:2]:
        return f"at any time, by deploy.py with install.version: {_text(old)}"
    return (
        f"as long as one member runs {_line(old)}, by deploy.py with install.version: {_text(old)}; etcd does not start"
        f" below {_line(new)} any more once all run it"
        + ("" if new[:2] in WAY_BACK_TRIED else f" (the way back from {_line(new)} was not tried)")
    )


def _notes(low: Version, stops: Sequence[Version], wanted: Version) -> tuple[str, ...]:
    notes = []
    if low[1] < 6 <= wanted[1]:
        notes.append("raft logs and databases are read before 3.6 comes, for what it would not survive (docs/hosts.md)")
    if any(stop[:2] == (3, 5) and stop < SOUND_3_5 for stop in (*stops, wanted)):
        notes.append(
            f"etcd 3.5 before {_text(SOUND_3_5)} can lose what it has confirmed, after a crash (issues 13766, 14424,"
            " 14733): take a newer one"
        )
    return tuple(notes)


def _at(member: MemberVersion) -> str:
    return member.running or (member.installed if member.data else "")


def _text(version: Version) -> str:
    return ".".join(map(str, version))


def _line(version: tuple[int, ...]) -> str:
    return f"{version[0]}.{version[1]}"
