"""The work of a no-op deploy as plain data, for tools that know nothing of this project.

Everything comes from what a deploy itself uses on the host: settings, templates with their variables, command lines.
The templates' values are computed here (`tests.bench.plain`), so that the other tools only fill them in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etcdfleet.drivers.certificates import needed_roles
from etcdfleet.host.paths import CERTIFICATES, CONFIG, ETCDCTL_ENVIRONMENT, SETS, HostPaths
from etcdfleet.rendering import TEMPLATES
from tasks.configure import template_variables
from tasks.observe import Observed, Site
from tasks.verify.scripts import cluster_commands, refusal_commands, refused_as_client
from tests.bench import plain

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "apt": ("etcd-server", "etcd-client"),
    "apk": ("etcd", "etcd-openrc", "etcd-ctl"),
}


def host_work(site: Site, seen: Observed) -> dict[str, Any]:
    """What must be true of a host, and the commands that prove it, as data for JSON.

    Commands that prove something by failing are turned round: all of them succeed when all is well.
    """
    settings, paths = site.settings, HostPaths.of(site.settings)
    roles = needed_roles(settings)
    if settings.install.method not in PACKAGES:
        raise SystemExit(f"{settings.name}: the benchmark knows {' and '.join(PACKAGES)} only")
    files = [{"template": "conf.yml.j2", "path": CONFIG, "mode": "0644"}]
    files += [{"template": f.template, "path": f.path, "mode": f"{f.mode:04o}"} for f in site.service.files]
    files += [{"template": "etcdctl.sh.j2", "path": ETCDCTL_ENVIRONMENT, "mode": "0644"}]
    lives = {role: settings.pki.roles[role].ttl.total_seconds() for role in roles}
    must_fail = {f"{role} as client" for role in refused_as_client(settings)}
    variables = template_variables(site, seen)
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
            {"name": name, "script": f"! (\n{script}\n)" if name in must_fail else script}
            for name, script in (cluster_commands(settings) | refusal_commands(settings)).items()
        ],
        "variables": {
            plain.VALUES: {
                file["template"]: plain.values(file["template"], (TEMPLATES / file["template"]).read_text(), variables)
                for file in files
            }
        },
    }
