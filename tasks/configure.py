"""etcd's configuration file, the service's files and etcdctl's environment, rendered from ``templates/``."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Sequence
from functools import partial

from nornir.core.exceptions import NornirSubTaskError
from nornir.core.task import Result, Task
from nornir_jinja2.plugins.tasks import template_file

from etcdfleet.certs import Certificate, parse_or_empty
from etcdfleet.drivers.certificates import needed_sides, source_of
from etcdfleet.drivers.packages import Installed
from etcdfleet.etcd.config_keys import reads
from etcdfleet.etcd.configuration import ClusterState, needs_restart, state_in
from etcdfleet.etcd.corruption_checks import sound
from etcdfleet.etcd.etcdctl import PROXY_VARIABLES, client_names, past_proxies
from etcdfleet.etcd.tls_settings import check_suites, check_tls, tls_settings
from etcdfleet.etcd.versions import parse
from etcdfleet.host.facts import FileFacts
from etcdfleet.host.paths import CONFIG, DATA_MOUNT, ETCDCTL_ENVIRONMENT, HostPaths, mark_restart_pending
from etcdfleet.outcome import done
from etcdfleet.remote import RemoteFile
from etcdfleet.rendering import environment, template_error
from etcdfleet.roles import Side
from etcdfleet.settings.models import client_url
from tasks.certificates.anchors import AnchorChange, anchor_changes, anchor_files, stale_anchors
from tasks.config_lint import check_config
from tasks.observe import Observed, Site, site_of


def configure(task: Task, final: frozenset[Side] = frozenset(), fresh: Collection[str] | None = None) -> Result:
    """Render the files and place those that differ; a running etcd is then due for a restart in the step ``start``.

    ``fresh`` names the hosts that are about to begin a new cluster (`plays.start.look_ahead`): all others get
    ``initial-cluster-state: existing``. Without it, the host alone decides (`cluster_state`). On the ``final`` sides,
    CAs that need not be trusted any more are removed from the trust anchors (see `plays.trust.no_longer_needed`).
    Raises `RemoteError` when a file cannot be placed (nothing is half replaced), `UsageError` for a faulty template,
    `VerificationError` for a configuration that this etcd would not start with, and for settings of TLS that it would
    ignore or that none of its certificates fits.
    """
    site = site_of(task)
    observed = site.observe()
    check_tls(site.settings, observed.installed.version)
    state: ClusterState | None = None
    if fresh is not None:
        state = "new" if task.host.name in fresh else "existing"
    wanted = desired_files(task, site, observed, state)
    warnings = check_config(site, wanted, observed.in_force.version)
    different = differing(observed, wanted)
    enable = not observed.service.enabled
    anchors, stale = _ended_trust(task, site, observed, final)
    stale += [DATA_MOUNT] if observed.facts.place.noted and not observed.facts.place.to_note else []
    changes = [change.text for change in anchors] + [f"{path} is removed" for path in stale]
    changes += [f"{file.path} {_verb(observed.facts.files.get(file.path), file)}" for file in different]
    changes += ["etcd is enabled at boot"] if enable else []
    diff = "".join(unified_diff(observed.facts.files.get(file.path), file) for file in different)
    if changes and not task.is_dry_run():
        check_suites(site.settings, _shown(observed))
        _place(site, observed, [*anchor_files(anchors), *different], enable, stale)
    summary = f"{len(different)} of {len(wanted)} files differ" if different else "no file differs"
    restart = bool(anchors) or bool(_read_at_start(site, observed, different))
    return done(task, summary, changes, diff=diff, restart=restart, warnings=warnings)


def _shown(observed: Observed) -> dict[str, Certificate]:
    bundles = {role: parse_or_empty(pair.pem) for role, pair in observed.facts.pairs.items()}
    return {role: certificates[0] for role, certificates in bundles.items() if certificates}


def _ended_trust(
    task: Task, site: Site, observed: Observed, sides: frozenset[Side]
) -> tuple[list[AnchorChange], list[str]]:
    """Return what is to be taken from the trust anchors, and their files that are not named any more."""
    needed = needed_sides(site.settings)
    if not needed or not sides:
        return [], []
    anchors = anchor_changes(site, observed, source_of(task, site.settings), final=sides)
    return anchors, stale_anchors(site, observed) if sides.issuperset(needed) else []


def cluster_state(observed: Observed) -> ClusterState:
    """Return the ``initial-cluster-state`` of a host on its own: ``existing`` once it was part of a cluster.

    Before that it stays as it is on the host; on a new one it is ``new``.
    """
    if observed.facts.established is not None:
        return "existing"
    file = observed.facts.files.get(CONFIG)
    return state_in(file.content if file else None) or "new"


def template_variables(
    site: Site,
    observed: Observed,
    state: ClusterState | None = None,
    program: Installed | None = None,
    initial_cluster: str = "",
) -> dict[str, object]:
    """Return all that a template may use, by the names of ``templates/README.md``.

    ``state`` is the ``initial-cluster-state``, else `cluster_state`. ``program`` is the etcd that the files are for,
    else the one that the next start runs (`Observed.in_force`). ``initial_cluster`` is what a member that joins needs:
    the running cluster's list and itself, no member more; left out, it is the inventory's.
    """
    program, service = program or observed.in_force, site.service.environment()
    return {
        "initial_cluster": initial_cluster or site.settings.initial_cluster,
        "initial_cluster_state": state or cluster_state(observed),
        "settings": site.settings,
        "paths": HostPaths.of(site.settings),
        "binary": program.binary,
        "version": program.version or "",
        "knows": partial(reads, version=parse(program.version)),
        "corruption_checks": site.settings.cluster.corruption_checks and sound(program.version),
        "unsupported_arch": unsupported_arch(observed.facts.architecture, program.version),
        "data_mount": observed.facts.place.to_note,
        "stop_seconds": stop_seconds(site.settings.cluster.election_ms),
        "service": service,
        "log_rotation": log_rotation(program.version) if "log_file" in service else "",
        **tls_settings(site.settings),
        "proxy_variables": " ".join(PROXY_VARIABLES),
        "past_proxies": past_proxies(client_names(site.settings)),
        "endpoints": [client_url(member, site.settings.cluster) for member in site.settings.members],
    }


def desired_files(
    task: Task,
    site: Site,
    observed: Observed,
    state: ClusterState | None = None,
    program: Installed | None = None,
    initial_cluster: str = "",
) -> list[RemoteFile]:
    """Return all files of this step as they should be; the last parameters as for `template_variables`."""
    variables = template_variables(site, observed, state, program, initial_cluster)
    files = [RemoteFile(CONFIG, _render(task, "conf.yml.j2", variables))]
    files += [RemoteFile(file.path, _render(task, file.template, variables), file.mode) for file in site.service.files]
    if point := observed.facts.place.to_note:
        files.append(RemoteFile(DATA_MOUNT, f"{point}\n".encode()))
    return [*files, RemoteFile(ETCDCTL_ENVIRONMENT, _render(task, "etcdctl.sh.j2", variables))]


def stop_seconds(election_ms: int) -> int:
    """Return how long etcd may take to end after SIGTERM, before it is killed, which costs a leader an election.

    Newer versions (3.5.30, not yet 3.5.1) wait until clients end their watches, for as long as a request may take, at
    each address where they listen for clients: ours are two, the host's own and the loop-back. A request may take 5 s
    and twice the election time-out (``Close`` in ``server/embed/etcd.go``, ``ReqTimeout`` in
    ``server/config/config.go``). 5 s more for the rest. Measured with the default election time-out: 3.5.30 with a
    watch at one address ends after 16.6 s. A leader whose followers fell silent without closing their connections
    (power, cable) never ends: 3.4.23, 3.5.1 and 3.5.30 still ran after 60 s and more. This limit is what ends it.
    """
    return 15 + -(-4 * election_ms // 1000)


def place_differing(task: Task, site: Site, program: Installed) -> None:
    """Place those files that are not as ``program`` needs them. Raise `RemoteError`.

    Raises `VerificationError`, and places nothing, where it would not start with its configuration.
    """
    observed = site.observe()
    wanted = desired_files(task, site, observed, program=program)
    check_config(site, wanted, program.version)
    if different := differing(observed, wanted):
        _place(site, observed, different, not observed.service.enabled, [])


def unsupported_arch(architecture: str, version: str | None) -> str:
    """Return the ``ETCD_UNSUPPORTED_ARCH`` that etcd wants before it starts on this architecture; empty for none.

    32-bit ARM always needs it, arm64 before etcd 3.5 (etcd's "Supported platforms"; `checkSupportArch` in its source).
    """
    if architecture == "arm":
        return "arm"
    if architecture == "arm64" and version and tuple(map(int, version.split(".")[:2])) < (3, 5):
        return "arm64"
    return ""


def log_rotation(version: str | None) -> str:
    """Return the value of etcd's ``log-rotation-config-json`` for a log in a file; empty where etcd cannot rotate it.

    etcd can since 3.5 (``--enable-log-rotation``). ``maxsize`` is in MiB. The log is on the card or, in Alpine's
    diskless mode, in memory. With one member of three down, the leader wrote 250 bytes a second: 5 MiB in six hours.
    """
    if not reads("enable-log-rotation", parse(version)):
        return ""
    return json.dumps({"maxsize": 5, "maxbackups": 1})


def same(wanted: RemoteFile, there: FileFacts | None) -> bool:
    """Return whether the file on the host is the wanted one: content, mode and owner."""
    as_wanted = (wanted.content, wanted.mode, wanted.owner, wanted.group)
    return there is not None and (there.content, there.mode, there.owner, there.group) == as_wanted


def differing(observed: Observed, wanted: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Return the files that the host does not have as they are wanted."""
    return [file for file in wanted if not same(file, observed.facts.files.get(file.path))]


def unified_diff(there: FileFacts | None, wanted: RemoteFile) -> str:
    """Return how the file would change, as a unified diff; a change of mode or owner only has a line of its own."""
    before = there.content.decode("utf-8", "replace").splitlines(keepends=True) if there else []
    after = wanted.content.decode().splitlines(keepends=True)
    lines: Iterable[str] = difflib.unified_diff(before, after, f"{wanted.path} (host)", f"{wanted.path} (wanted)")
    text = "".join(line if line.endswith("\n") else line + "\n" for line in lines)
    if not text and there:
        text = (
            f"{wanted.path}: {there.mode:04o} {there.owner}:{there.group} -> "
            f"{wanted.mode:04o} {wanted.owner}:{wanted.group}\n"
        )
    return text


def _render(task: Task, template: str, variables: dict[str, object]) -> bytes:
    try:
        rendered = task.run(
            template_file, name=f"render {template}", template=template, jinja_env=environment(), **variables
        )
    except NornirSubTaskError as error:
        cause = error.result.exception
        raise (template_error(template, cause) if cause else error) from error
    return str(rendered[0].result).encode()


def _verb(there: FileFacts | None, wanted: RemoteFile) -> str:
    if there is None:
        return "is placed"
    return "is replaced" if there.content != wanted.content else "gets its mode and owner back"


def _place(site: Site, observed: Observed, files: list[RemoteFile], enable: bool, stale: list[str]) -> None:
    units = {file.path for file in site.service.files}
    read_at_start = _read_at_start(site, observed, files)
    before = "mkdir -p -m 0755 /etc/etcd /etc/profile.d"
    if read_at_start and observed.service.running:
        before += "\n" + mark_restart_pending("changed: " + " ".join(read_at_start))
    after = [site.service.installed, site.packages.retire] if any(file.path in units for file in files) else []
    after += [site.service.enable] if enable else []
    # Only now that the configuration names them no more.
    after += [f"rm -f {path}" for path in stale]
    site.place(files, before=before, after="\n".join(after), what="placing the configuration")


def _read_at_start(site: Site, observed: Observed, files: Iterable[RemoteFile]) -> list[str]:
    """Return those of the files to be placed that a running etcd must be restarted for."""
    at_once = {ETCDCTL_ENVIRONMENT, DATA_MOUNT}
    return [file.path for file in files if file.path not in at_once and not _without_restart(site, observed, file)]


def _without_restart(site: Site, observed: Observed, file: RemoteFile) -> bool:
    """Return whether a running etcd has nothing to do with what differs in the file."""
    there = observed.facts.files.get(file.path)
    if there is None or (there.mode, there.owner, there.group) != (file.mode, file.owner, file.group):
        return False
    if there.content == file.content:
        return False
    if file.path == CONFIG:
        return not needs_restart(there.content, file.content)
    of_service = any(file.path == own.path for own in site.service.files)
    return of_service and site.service.in_force(there.content) == site.service.in_force(file.content)
