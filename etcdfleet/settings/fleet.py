"""From an inventory to typed settings: merge, validate each section, check the whole, and say where each mistake is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from etcdfleet.drivers.table import INIT_SYSTEMS
from etcdfleet.settings.auth import AuthSettings
from etcdfleet.settings.backup import BackupSettings
from etcdfleet.settings.base import InstallSettings, Section
from etcdfleet.settings.checks import check_all, clusters_of
from etcdfleet.settings.choices import INSTALL, PKI, Choice
from etcdfleet.settings.inventory_files import (
    ATTRIBUTE,
    ATTRIBUTES,
    CONNECTION,
    SECTIONS,
    InventoryFiles,
    Sources,
)
from etcdfleet.settings.merge import KeyPath, Layer, Merged, Origin, merge
from etcdfleet.settings.messages import explain, meant
from etcdfleet.settings.models import (
    ClusterSettings,
    HostSettings,
    MemberSettings,
    PlatformSettings,
    PreflightSettings,
    RepairSettings,
)
from etcdfleet.settings.partial import Draft
from etcdfleet.settings.pki import PkiSettings
from etcdfleet.settings.problems import Problem, SettingsError, did_you_mean, in_file_order
from etcdfleet.settings.texts import attribute_faults, faults_in, option_faults, text_fault

if TYPE_CHECKING:
    from nornir.core.inventory import Host, Inventory

BOUND_KEY = "_etcdfleet"
_MEMBER = MemberSettings(name="unreadable", fqdn="unreadable.invalid", address="192.0.2.1")
_CLUSTER = ClusterSettings.model_validate(dict.fromkeys(("name", "token"), "unreadable"))
"""With values for the keys that have no default: without them, nothing else of the section could be checked."""
_S = TypeVar("_S", bound=Section)


@dataclass(frozen=True)
class Fleet:
    """All hosts by their name in the inventory, and what is worth a warning without being a mistake."""

    hosts: Mapping[str, HostSettings]
    warnings: tuple[Problem, ...] = ()
    clusters: Mapping[str, tuple[HostSettings, ...]] = field(init=False)
    """The hosts of each cluster by its name, both in the inventory's order."""

    def __post_init__(self) -> None:
        clusters: dict[str, tuple[HostSettings, ...]] = {}
        for host in self.hosts.values():
            clusters[host.cluster.name] = (*clusters.get(host.cluster.name, ()), host)
        object.__setattr__(self, "clusters", clusters)


def load_fleet(
    inventory: Inventory,
    sources: Sources | None = None,
) -> Fleet:
    """Return the settings of every host of ``inventory``. ``VAULT_ADDR`` of the environment counts.

    ``sources`` is what reading the inventory's files found: with it, mistakes are reported with file and line, without
    it by host and group. Raises SettingsError with every mistake at once.
    """
    sources = sources or Sources(InventoryFiles())
    mistakes = list(sources.problems)
    warnings: list[Problem] = []
    mistakes.extend(_unknown_data_keys(inventory, sources))
    wrong = dict(_attribute_mistakes(inventory, sources))
    mistakes.extend(wrong.values())
    spoilt = Origin("defaults") in sources.broken
    broken = {name for name in inventory.hosts if spoilt or Origin("host", name) in sources.broken}
    drafts = [_draft(host, sources, mistakes) for name, host in inventory.hosts.items() if name not in broken]
    if any(key in ("hostname", "port") for _, key in wrong):
        for draft in drafts:
            draft.bad.add(("hostname",))
    if not inventory.hosts and not sources.problems:
        what = "the inventory holds no hosts, so there is nothing to do"
        remedy = "add hosts: inventory/hosts.yaml of this project has examples"
        mistakes.append(Problem(sources.where(Origin("host")), "", "", what, remedy))
    check_all(drafts, sources, mistakes, warnings, os.environ)
    warnings.extend(_clusters_without_hosts(inventory, sources))
    if mistakes:
        raise SettingsError(in_file_order(mistakes))
    return Fleet(_finished(drafts), in_file_order(warnings))


def _data(element: Any) -> dict[str, Any]:
    return {key: value for key, value in (element.data or {}).items() if key != BOUND_KEY}


def _draft(host: Host, sources: Sources, mistakes: list[Problem]) -> Draft:
    origin = Origin("host", host.name)
    groups = [Layer(Origin("group", group.name), _data(group)) for group in host.extended_groups()]
    layers = [Layer(origin, _data(host)), *groups, Layer(Origin("defaults"), _data(host.defaults))]
    merged = merge(layers, origin)
    init = _init_of(host, origin, sources, mistakes)
    group = _cluster_group(host, origin, sources, mistakes)
    reader = _SectionReader(merged, sources, mistakes)
    member = reader.read("member", MemberSettings, _MEMBER, {"name": host.name})
    cluster = _CLUSTER
    if group:
        given = merged.data.get("cluster")
        name = given.get("name", group) if isinstance(given, Mapping) else group
        cluster = reader.read("cluster", ClusterSettings, _CLUSTER, {"name": group, "token": name})
    else:
        reader.bad.add(("cluster",))
    pki = reader.read_chosen("pki", PKI, PkiSettings(source=""))
    auth = reader.read("auth", AuthSettings, AuthSettings())
    platform = reader.read("platform", PlatformSettings, PlatformSettings())
    preflight = reader.read("preflight", PreflightSettings, PreflightSettings())
    backup = reader.read("backup", BackupSettings, BackupSettings())
    repair = reader.read("repair", RepairSettings, RepairSettings())
    install = InstallSettings(method="")
    if init or "install" in merged.data:
        where = f"groups {_and(INIT_SYSTEMS)} are good places for it"
        install = reader.read_chosen("install", INSTALL, install, where)
    else:
        reader.bad.add(("install",))  # it comes with the group of the init system, which is what is missing
    # Paths of the controller are made absolute, so that nothing depends on the folder a runbook is started in.
    resolve = sources.files.resolve
    named = reader.bad.isdisjoint({("cluster",), ("cluster", "name")})
    return Draft(
        name=host.name,
        hostname=host.hostname or host.name,
        port=host.port or 22,
        init=init,
        cluster_group=group,
        member=member,
        cluster=cluster,
        pki=pki.for_cluster(cluster.name if named else group).resolved(resolve),
        auth=auth,
        install=install.resolved(resolve),
        platform=platform,
        preflight=preflight,
        backup=backup.resolved(resolve),
        repair=repair,
        members=(),
        merged=merged,
        bad=reader.bad,
    )


def _init_of(host: Host, origin: Origin, sources: Sources, mistakes: list[Problem]) -> str:
    inits = [init for init in INIT_SYSTEMS if host.has_parent_group(init)]
    if len(inits) == 1:
        return inits[0]
    if inits:
        groups = f"{'both' if len(inits) == 2 else 'the'} groups {_and(inits)}"
        what = f"is in {groups}, directly or through other groups; a host has one init system"
        remedy = "keep the one whose init system runs on the host (ps -p 1 shows it)"
    else:
        none = "neither" if len(INIT_SYSTEMS) == 2 else "none"
        what = f"is in {none} of the groups {_and(INIT_SYSTEMS)}, which say how services are managed on it"
        homes = ", ".join(f"{name} for {row.hosts}" for name, row in INIT_SYSTEMS.items())
        remedy = f"add one of them to its groups: {homes}"
    mistakes.append(sources.problem(origin, "groups", what, remedy))
    return ""


def _and(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _cluster_group(host: Host, origin: Origin, sources: Sources, mistakes: list[Problem]) -> str:
    """Return the host's cluster: the one group with ``cluster`` in its data that is no parent of another such group."""
    candidates = [group for group in host.extended_groups() if "cluster" in (group.data or {})]
    clusters = [group for group in candidates if not any(other.has_parent_group(group) for other in candidates)]
    if len(clusters) == 1:
        return clusters[0].name
    if clusters:
        what = (
            f"is in {len(clusters)} clusters: {', '.join(group.name for group in clusters)}; a host is a member of one"
        )
        remedy = "remove all but one of these groups from its groups"
    else:
        what = "is in no cluster: none of its groups has a section cluster"
        remedy = "make a group with data: {cluster: {token: k8s-home}}, and add it to the host's groups"
    mistakes.append(sources.problem(origin, "groups", what, remedy))
    return ""


class _SectionReader:
    """Reads sections of one host's merged data into models, and notes what is wrong with them.

    ``bad`` and stand-ins are those of `Draft`.
    """

    def __init__(self, merged: Merged, sources: Sources, mistakes: list[Problem]) -> None:
        self.bad: set[KeyPath] = set()
        self.merged = merged
        self.sources = sources
        self.mistakes = mistakes

    def read(self, section: str, model: type[_S], stand_in: _S, derived: Mapping[str, Any] | None = None) -> _S:
        given = self.merged.data.get(section, {})
        if not isinstance(given, Mapping):
            self._note((section,), "must be a mapping of settings", "write its keys below it, see docs/settings.md")
            return self._unusable(section, stand_in)
        values = {**(derived or {}), **given}
        unfit = {path for path, *_ in self._unfit(section, given)}
        values = _without(values, unfit, (section,)) if unfit else values
        try:
            return model.model_validate(values)
        except ValidationError as error:
            for path, what, remedy in explain(error, model, section):
                if path not in unfit:  # told already; it is missing now
                    self._note(path, what, remedy)
                self.bad.update((path, *meant(model, path)))
        try:
            required = stand_in.model_dump(exclude_defaults=True)
            return model.model_validate({**required, **_without(values, self.bad, (section,))})
        except ValidationError:
            return self._unusable(section, stand_in)

    def read_chosen(self, section: str, choice: Choice[_S], stand_in: _S, where: str = "") -> _S:
        """Read a section into the model of the driver that it names; ``where`` a missing name is best written."""
        given = self.merged.data.get(section, {})
        if not isinstance(given, Mapping):
            return self.read(section, type(stand_in), stand_in)
        name = given.get(choice.key, choice.default or None)
        if isinstance(name, str) and text_fault(name):
            self._unfit(section, {choice.key: name})
            return self._unusable(section, stand_in)
        if chosen := choice.chosen(given):
            return self.read(section, choice.model(chosen), stand_in, {choice.key: chosen})
        remedy = f"one of: {', '.join(choice.rows)}"
        if name is None:
            what, remedy = "is missing", f"{remedy}; {where}" if where else remedy
        else:
            what = f"{str(name)!r} is not allowed{did_you_mean(str(name), choice.rows)}"
        self._note((section, choice.key), what, remedy)
        return self._unusable(section, stand_in)

    def _unusable(self, section: str, stand_in: _S) -> _S:
        self.bad.add((section,))
        return stand_in

    def _unfit(self, section: str, given: Mapping[str, Any]) -> list[tuple[KeyPath, str, str]]:
        """Note and return the texts that cannot be meant as they are."""
        faults = list(faults_in(section, given))
        for fault in faults:
            self._note(*fault)
            self.bad.add(fault[0])
        return faults

    def _note(self, path: KeyPath, what: str, remedy: str) -> None:
        self.mistakes.append(self.sources.problem(self.merged.origin(path), ".".join(path), what, remedy, path))


def _without(values: Mapping[str, Any], bad: set[KeyPath], path: KeyPath) -> dict[str, Any]:
    """Return ``values`` without what is wrong in them."""
    kept = {}
    for key, value in values.items():
        here = (*path, str(key))
        if isinstance(value, Mapping) and here not in bad:
            kept[key] = _without(value, bad, here)
        elif not any(one[: len(here)] == here for one in bad):
            kept[key] = value
    return kept


def _elements(inventory: Inventory) -> Iterable[tuple[Origin, Any]]:
    yield Origin("defaults"), inventory.defaults
    yield from ((Origin("group", name), group) for name, group in inventory.groups.items())
    yield from ((Origin("host", name), host) for name, host in inventory.hosts.items())


def _attribute_mistakes(inventory: Inventory, sources: Sources) -> Iterable[tuple[tuple[Origin, str], Problem]]:
    """Yield the mistakes in Nornir's own keys, which it takes as they are; with each the element and the key."""
    for origin, element in _elements(inventory):
        own = element.dict()  # what is written there; the attributes themselves would have the parents' values, too
        for key in ATTRIBUTES:
            for what, remedy in attribute_faults(key, own.get(key)):
                yield (origin, key), sources.problem(origin, key, what, remedy, (ATTRIBUTE, key))
        for path, what, remedy in option_faults(own["connection_options"]):
            key = ".".join((CONNECTION, *path))
            yield (origin, key), sources.problem(origin, key, what, remedy, (ATTRIBUTE, CONNECTION, *path))


def _unknown_data_keys(inventory: Inventory, sources: Sources) -> Iterable[Problem]:
    """Yield keys that look like a misspelt section; others of the user's own are welcome beside the sections."""
    for origin, element in _elements(inventory):
        for key in _data(element):
            guess = did_you_mean(str(key), SECTIONS, cutoff=0.75)
            if key not in SECTIONS and guess:
                remedy = f"sections are {', '.join(SECTIONS)}; give a value of your own a name that is not so close"
                yield sources.problem(origin, str(key), f"unknown section {key}{guess}", remedy, (str(key),))


def _clusters_without_hosts(inventory: Inventory, sources: Sources) -> Iterable[Problem]:
    used: set[str] = {group.name for host in inventory.hosts.values() for group in host.extended_groups()}
    for name, group in inventory.groups.items():
        is_parent = any(other.has_parent_group(group) for other in inventory.groups.values())
        if "cluster" in (group.data or {}) and name not in used and not is_parent:
            what = f"no host is in this group, so cluster {name} has no members"
            yield sources.problem(Origin("group", name), "", what, "add it to the groups of its hosts, or remove it")


def _finished(drafts: list[Draft]) -> dict[str, HostSettings]:
    """Return drafts without mistakes as settings."""
    members = {group: tuple(draft.member for draft in among) for group, among in clusters_of(drafts).items()}
    names = {each.name for each in fields(HostSettings)} - {"members"}
    return {
        draft.name: HostSettings(**{name: getattr(draft, name) for name in names}, members=members[draft.cluster_group])
        for draft in drafts
    }
