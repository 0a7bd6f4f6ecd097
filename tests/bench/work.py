"""The work of a no-op deploy as plain data, for tools that know nothing of this project.

Everything comes from the same settings, templates and command lines as a deploy's; only the templates are reworded,
where they use filters and methods that another tool's Jinja2 lacks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etcdfleet.paths import CERTIFICATES, CONFIG, ETCDCTL_ENVIRONMENT, SETS, HostPaths
from etcdfleet.rendering import TEMPLATES
from etcdfleet.settings.base import ROLE_NAMES, SIDES
from etcdfleet.settings.models import HostSettings, client_url
from etcdfleet.settings.units import go_duration
from tasks.configure import unsupported_arch
from tasks.services import service_for
from tasks.sources import needed_roles
from tasks.verify import commands

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "apt": ("etcd-server", "etcd-client"),
    "apk": ("etcd", "etcd-openrc", "etcd-ctl"),
}
MUST_FAIL = {"server as client", "peer as client"}
"""Names of verification commands that prove something by failing."""
_REWORDED = (
    (re.compile(r'paths\.(certificate|key|anchor)\("(\w+)"\)'), r"paths.\1.\2"),
    (re.compile(r"\|\s*yaml\b"), "| tojson"),
    (re.compile(r"\s*\|\s*(sh|etcd_duration)\b"), ""),  # durations are given as etcd writes them; no word needs quotes
)


def reword(template: str) -> str:
    """A template of ours without our filters and methods; it gives the same text with the variables of `host_work`."""
    for pattern, instead in _REWORDED:
        template = pattern.sub(instead, template)
    return template


def write_templates(folder: Path) -> None:
    """All templates, reworded, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in TEMPLATES.glob("*.j2"):
        (folder / path.name).write_text(reword(path.read_text()))


def host_work(settings: HostSettings, *, version: str, architecture: str) -> dict[str, Any]:
    """What must be true of a host, and the commands that prove it, as data for JSON."""
    paths, service, roles = HostPaths.of(settings), service_for(settings.init), needed_roles(settings)
    if settings.install.method not in PACKAGES:
        raise SystemExit(f"{settings.name}: the benchmark knows {' and '.join(PACKAGES)} only")
    files = [{"template": "conf.yml.j2", "path": CONFIG, "mode": "0644"}]
    files += [{"template": f.template, "path": f.path, "mode": f"{f.mode:04o}"} for f in service.files]
    files += [{"template": "etcdctl.sh.j2", "path": ETCDCTL_ENVIRONMENT, "mode": "0644"}]
    lives = {role: settings.pki.roles[role].ttl.total_seconds() for role in roles}
    return {
        "init": settings.init,
        "packages": list(PACKAGES[settings.install.method]),
        "folders": [
            {"path": settings.member.data_dir, "owner": "etcd", "mode": "0700"},
            *({"path": path, "owner": "root", "mode": "0755"} for path in ("/etc/etcd", CERTIFICATES, SETS)),
        ],
        "files": files,
        "trust_anchor": paths.anchor("client"),
        # Renewal is due when a third of the life is left, which is how the lab's settings have it.
        "pairs": [
            {"certificate": paths.certificate(role), "key": paths.key(role), "seconds_left": int(lives[role] / 3)}
            for role in roles
        ],
        "commands": [
            {"name": name, "script": f"! (\n{script}\n)" if name in MUST_FAIL else script}
            for name, script in commands(settings).items()
        ],
        "variables": {
            "settings": _plain(settings),
            "paths": {
                **{key: str(value) for key, value in vars(paths).items()},
                "certificate": {role: paths.certificate(role) for role in ROLE_NAMES},
                "key": {role: paths.key(role) for role in ROLE_NAMES},
                "anchor": {side: paths.anchor(side) for side in SIDES},
            },
            "binary": "/usr/bin/etcd",
            "unsupported_arch": unsupported_arch(architecture, version),
            "service": dict(service.environment()),
            "endpoints": [client_url(member, settings.cluster) for member in settings.members],
        },
    }


def _plain(settings: HostSettings) -> dict[str, Any]:
    cluster = settings.cluster.model_dump(mode="json")
    cluster["auto_compaction"] = go_duration(settings.cluster.auto_compaction)
    return {
        "member": settings.member.model_dump(mode="json"),
        "cluster": cluster,
        "peer_url": settings.peer_url,
        "client_url": settings.client_url,
        "listen_peer_urls": list(settings.listen_peer_urls),
        "listen_client_urls": list(settings.listen_client_urls),
        "initial_cluster": settings.initial_cluster,
    }
