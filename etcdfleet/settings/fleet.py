"""From an inventory to typed settings: merge, validate each section, check the whole, and say where each mistake is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import ValidationError

from etcdfleet.drivers.table import INIT_SYSTEMS
from etcdfleet.settings.auth import AuthSettings
from etcdfleet.settings.base import InstallSettings, Section
from etcdfleet.settings.checks import check_all
from etcdfleet.settings.choices import CHOICES
from etcdfleet.settings.inventory_files import (
    ATTRIBUTE,
    ATTRIBUTES,
    CONNECTION,
    SECTIONS,
    InventoryFiles,
    Sources,
    read_sources,
)
from etcdfleet.settings.merge import KeyPath, Layer, Merged, Origin, merge
from etcdfleet.settings.messages import explain, meant
from etcdfleet.settings.models import (
    ClusterSettings,
    HostSettings,
    MemberSettings,
    PlatformSettings,
    PreflightSettings,
)
from etcdfleet.settings.partial import Draft
from etcdfleet.settings.pki import PkiSettings
from etcdfleet.settings.problems import Problem, SettingsError, did_you_mean, in_file_order
from etcdfleet.settings.texts import attribute_faults, faults_in, option_faults, text_fault

if TYPE_CHECKING:
    from nornir.core.inventory import Group, Host, Inventory

BOUND_KEY = "_etcdfleet"
_STAND_INS: Mapping[str, Mapping[str, Any]] = {
    "member": {"name": "unreadable", "fqdn": "unreadable.invalid", "address": "192.0.2.1"},
    "cluster": {"name": "unreadable", "token": "unreadable"},
}
"""Required keys that have no default: without a value for them, nothing else of the section could be checked."""
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
    files: InventoryFiles | None = None,
    *,
    sources: Sources | None = None,
    environ: Mapping[str, str] | None = None,
) -> Fleet:
    """The settings of every host of ``inventory``. Reads nothing but the inventory and the files named.

    ``files`` are those that the inventory was loaded from: with them, mistakes are reported with file and line, without
    them by host and group. ``sources`` is what reading them found, when the caller did that already. ``environ`` is
    looked at for ``VAULT_ADDR`` (default: the process's).

    Raises SettingsError with every mistake at once.
    """
    if sources is None:
        sources = read_sources(files or InventoryFiles())
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
    check_all(drafts, sources, mistakes, warnings, os.environ if environ is None else environ)
    warnings.extend(_clusters_without_hosts(inventory, sources))
    if mistakes:
        raise SettingsError(in_file_order(mistakes))
    return Fleet(_finished(drafts), in_file_order(warnings))


def layers_of(host: Host) -> list[Layer]:
    """The layers of a host's data, nearest first, in Nornir's own order of groups."""
    layers = [Layer(Origin("host", host.name), _data(host))]
    layers += [Layer(Origin("group", group.name), _data(group)) for group in host.extended_groups()]
    layers.append(Layer(Origin("defaults"), _data(host.defaults)))
    return layers


def _data(element: Any) -> dict[str, Any]:
    return {key: value for key, value in (element.data or {}).items() if key != BOUND_KEY}


def _draft(host: Host, sources: Sources, mistakes: list[Problem]) -> Draft:
    origin = Origin("host", host.name)
    merged = merge(layers_of(host), origin)
    draft = Draft(host.name, host.hostname or host.name, host.port or 22, merged)
    draft.init = _init_of(host, origin, sources, mistakes)
    draft.cluster_group = _cluster_group(host, origin, sources, mistakes)
    derived = {"name": draft.cluster_group} if draft.cluster_group else {}
    reader = _SectionReader(merged, sources, mistakes, draft.bad)
    draft.member = reader.read("member", MemberSettings, {"name": host.name})
    if draft.cluster_group:
        given = merged.data.get("cluster")
        name = given.get("name", draft.cluster_group) if isinstance(given, Mapping) else draft.cluster_group
        draft.cluster = reader.read("cluster", ClusterSettings, {**derived, "token": name})
    draft.pki = cast("PkiSettings | None", reader.read_chosen("pki"))
    if draft.pki is not None and draft.cluster is not None:
        draft.pki = draft.pki.for_cluster(draft.cluster.name)
    draft.auth = reader.read("auth", AuthSettings)
    draft.platform = reader.read("platform", PlatformSettings)
    draft.preflight = reader.read("preflight", PreflightSettings)
    if draft.init is None and "install" not in merged.data:
        draft.bad.add(("install",))  # it comes with the group of the init system, which is what is missing
    else:
        where = f"groups {_and(INIT_SYSTEMS)} are good places for it"
        draft.install = cast("InstallSettings | None", reader.read_chosen("install", where))
    _resolve_paths(draft, sources.files)
    return draft


def _init_of(host: Host, origin: Origin, sources: Sources, mistakes: list[Problem]) -> str | None:
    found = [init for init in INIT_SYSTEMS if host.has_parent_group(init)]
    if len(found) == 1:
        return found[0]
    if found:
        groups = f"{'both' if len(found) == 2 else 'the'} groups {_and(found)}"
        what = f"is in {groups}, directly or through other groups; a host has one init system"
        remedy = "keep the one whose init system runs on the host (ps -p 1 shows it)"
    else:
        none = "neither" if len(INIT_SYSTEMS) == 2 else "none"
        what = f"is in {none} of the groups {_and(INIT_SYSTEMS)}, which say how services are managed on it"
        homes = ", ".join(f"{name} for {row.hosts}" for name, row in INIT_SYSTEMS.items())
        remedy = f"add one of them to its groups: {homes}"
    mistakes.append(Problem(sources.where(origin), str(origin), "groups", what, remedy))
    return None


def _and(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _cluster_group(host: Host, origin: Origin, sources: Sources, mistakes: list[Problem]) -> str | None:
    """The host's cluster: the one group with ``cluster`` in its data that is no parent of another such group."""
    candidates = [group for group in host.extended_groups() if "cluster" in (group.data or {})]
    found = [group for group in candidates if not any(other.has_parent_group(group) for other in candidates)]
    if len(found) == 1:
        return found[0].name
    if found:
        what = f"is in {len(found)} clusters: {', '.join(group.name for group in found)}; a host is a member of one"
        remedy = "remove all but one of these groups from its groups"
    else:
        what = "is in no cluster: none of its groups has a section cluster"
        remedy = "make a group with data: {cluster: {token: k8s-home}}, and add it to the host's groups"
    mistakes.append(Problem(sources.where(origin), str(origin), "groups", what, remedy))
    return None


class _SectionReader:
    """Reads sections of one host's merged data into models, and notes what is wrong with them."""

    def __init__(self, merged: Merged, sources: Sources, mistakes: list[Problem], bad: set[KeyPath]) -> None:
        self.bad = bad
        self.merged = merged
        self.sources = sources
        self.mistakes = mistakes

    def read(self, section: str, model: type[_S], derived: Mapping[str, Any] | None = None) -> _S | None:
        given = self.merged.data.get(section, {})
        if not isinstance(given, Mapping):
            self._note((section,), "must be a mapping of settings", "write its keys below it, see docs/settings.md")
            return None
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
            return model.model_validate({**_STAND_INS.get(section, {}), **_without(values, self.bad, (section,))})
        except ValidationError:
            return None

    def read_chosen(self, section: str, where: str = "") -> Section | None:
        """Reads a section into the model of the driver that it names; ``where`` a missing name is best written."""
        choice = CHOICES[section]
        given = self.merged.data.get(section, {})
        if not isinstance(given, Mapping):
            return self.read(section, Section)
        name = given.get(choice.key, choice.default or None)
        if isinstance(name, str) and text_fault(name):
            self._unfit(section, {choice.key: name})
            return None
        if chosen := choice.chosen(given):
            return self.read(section, choice.model(chosen))
        remedy = f"one of: {', '.join(choice.rows)}"
        if name is None:
            what, remedy = "is missing", f"{remedy}; {where}" if where else remedy
        else:
            what = f"{str(name)!r} is not allowed{did_you_mean(str(name), choice.rows)}"
        self._note((section, choice.key), what, remedy)
        self.bad.add((section, choice.key))
        return None

    def _unfit(self, section: str, given: Mapping[str, Any]) -> list[tuple[KeyPath, str, str]]:
        """Notes and returns the texts that cannot be meant as they are."""
        found = list(faults_in(section, given))
        for fault in found:
            self._note(*fault)
            self.bad.add(fault[0])
        return found

    def _note(self, path: KeyPath, what: str, remedy: str) -> None:
        origin = self.merged.origin(path)
        where = self.sources.where(origin, path)
        self.mistakes.append(Problem(where, str(origin), ".".join(path), what, remedy))


def _without(values: Mapping[str, Any], bad: set[KeyPath], path: KeyPath) -> dict[str, Any]:
    """``values`` without what is wrong in them."""
    kept = {}
    for key, value in values.items():
        here = (*path, str(key))
        if isinstance(value, Mapping) and here not in bad:
            kept[key] = _without(value, bad, here)
        elif not any(one[: len(here)] == here for one in bad):
            kept[key] = value
    return kept


def _resolve_paths(draft: Draft, files: InventoryFiles) -> None:
    """Makes paths of the controller absolute, so that nothing depends on the folder a runbook is started in."""
    if draft.pki is not None:
        draft.pki = draft.pki.resolved(files.resolve)
    if draft.install is not None:
        draft.install = draft.install.resolved(files.resolve)


def _elements(inventory: Inventory) -> Iterable[tuple[Origin, Any]]:
    yield Origin("defaults"), inventory.defaults
    yield from ((Origin("group", name), group) for name, group in inventory.groups.items())
    yield from ((Origin("host", name), host) for name, host in inventory.hosts.items())


def _attribute_mistakes(inventory: Inventory, sources: Sources) -> Iterable[tuple[tuple[Origin, str], Problem]]:
    """Nornir's own keys, which it takes as they are; with each the element and the key."""
    for origin, element in _elements(inventory):
        own = element.dict()  # what is written there; the attributes themselves would have the parents' values, too
        for key in ATTRIBUTES:
            for what, remedy in attribute_faults(key, own.get(key)):
                where = sources.where(origin, (ATTRIBUTE, key))
                yield (origin, key), Problem(where, str(origin), key, what, remedy)
        for path, what, remedy in option_faults(own["connection_options"]):
            where, key = sources.where(origin, (ATTRIBUTE, CONNECTION, *path)), ".".join((CONNECTION, *path))
            yield (origin, key), Problem(where, str(origin), key, what, remedy)


def _unknown_data_keys(inventory: Inventory, sources: Sources) -> Iterable[Problem]:
    """Keys of the user's own are welcome beside the sections, unless they look like a misspelt section."""
    for origin, element in _elements(inventory):
        for key in _data(element):
            guess = did_you_mean(str(key), SECTIONS, cutoff=0.75)
            if key not in SECTIONS and guess:
                remedy = f"sections are {', '.join(SECTIONS)}; give a value of your own a name that is not so close"
                where = sources.where(origin, (str(key),))
                yield Problem(where, str(origin), str(key), f"unknown section {key}{guess}", remedy)


def _clusters_without_hosts(inventory: Inventory, sources: Sources) -> Iterable[Problem]:
    used: set[str] = {group.name for host in inventory.hosts.values() for group in host.extended_groups()}
    for name, group in inventory.groups.items():
        if "cluster" in (group.data or {}) and name not in used and not _is_parent(group, inventory):
            origin = Origin("group", name)
            what = f"no host is in this group, so cluster {name} has no members"
            yield Problem(
                sources.where(origin), str(origin), "", what, "add it to the groups of its hosts, or remove it"
            )


def _is_parent(group: Group, inventory: Inventory) -> bool:
    return any(other.has_parent_group(group) for other in inventory.groups.values())


def _finished(drafts: list[Draft]) -> dict[str, HostSettings]:
    """Drafts without mistakes as settings; nothing in them can be missing any more."""
    members: dict[str, tuple[MemberSettings, ...]] = {}
    for draft in drafts:
        group = cast(str, draft.cluster_group)
        members[group] = (*members.get(group, ()), cast(MemberSettings, draft.member))
    return {draft.name: draft.finish(members[cast(str, draft.cluster_group)]) for draft in drafts}
