"""What a user of the framework has: ``config.yaml``, an inventory and ``env``, written for a lab as a person would.

A file that was edited by hand since is left as it is; ``env`` is written anew each time, as its token can change.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from lab import apkrepo, names, pki, vault
from lab.errors import LabError
from lab.state import Lab, LabCluster, LabHost, write_atomic

_YAML_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}

CONFIG = """\
# Nornir's configuration. Relative paths are relative to this folder.
inventory:
  plugin: SimpleInventory
  options:
    host_file: inventory/hosts.yaml
    group_file: inventory/groups.yaml
    defaults_file: inventory/defaults.yaml
runner:
  plugin: threaded
  options:
    num_workers: 20     # hosts worked on at the same time
logging:
  enabled: false        # runbooks write their own log
"""

DEFAULTS = """\
# What holds for all hosts. A group overrides it, a host overrides its groups.
connection_options:
  netmiko:
    platform: linux
    extras:
      use_keys: true
      key_file: {key}
      alt_host_keys: true
      alt_key_file: {known_hosts}     # host keys; an unknown one is refused
data:
  pki:
    address: {vault}     # VAULT_ADDR wins where it is set
    # Each cluster has a CA for its peers and one for its clients: PKI mounts pki_etcd_CLUSTER_peer and _client.
    trust_anchor: {{mount: {root}}}    # the root CA above them
    renew_before: 1/3                 # renewed when less than this part of their life is left
  backup:
    folder: {snapshots}               # of this lab alone: it goes with the lab
"""

GROUPS_HEAD = """\
# How hosts are managed: one group per init system. And one group per cluster: a group with `cluster` in its data.
"""

SYSTEMD = """\
systemd:
  username: pi                        # uses sudo
  data:
    platform: {distributions: [debian, raspbian]}
    install: {method: apt}
"""

OPENRC = """\
openrc:
  username: root
  data:
    platform: {{distributions: [alpine]}}
    install:
      method: apk
      repository: {repository}
      allow_untrusted: true           # the repository is not signed
"""

CLUSTER = """\
{name}:
  data:
    cluster:
      token: {name}                 # the same on all members, another for each cluster
{service}{timing}      peer_tls: true
      client_tls: true
    pki:
{keys}      roles:                          # roles of the PKI in Vault; ttl: how long a certificate lives
"""

HOSTS_HEAD = """\
# Each host: where SSH goes, its groups (a cluster and an init system), and how its cluster knows it.
"""


def write(lab: Lab, say: Callable[[str], None] = lambda _: None) -> None:
    """Write all files. Raises LabError when there is no token yet (``vault.setup_pki`` makes it)."""
    record = lab.dir / "written.json"
    (lab.dir / "inventory").mkdir(parents=True, exist_ok=True)
    written = _read_record(record)
    for name, text in files(lab).items():
        path = lab.dir / name
        ours = written.setdefault(name, [])
        if path.exists() and _digest(path.read_text()) not in ours:
            say(f"{path} was edited: left as it is")
            continue
        if _digest(text) not in ours:
            ours.append(_digest(text))
            write_atomic(record, json.dumps(written) + "\n")  # before the file: a kill between the two must not count
        write_atomic(path, text)
    write_atomic(lab.dir / "env", environment(lab), mode=0o600)


def files(lab: Lab) -> dict[str, str]:
    """Text of ``config.yaml`` and of the inventory's files, by their path below the lab's folder."""
    return {
        "config.yaml": CONFIG,
        "inventory/defaults.yaml": DEFAULTS.format(
            key=scalar(str(lab.key)),
            known_hosts=scalar(str(lab.known_hosts)),
            vault=f"https://{lab.vault_name}:{vault.PORT}",
            root=pki.ROOT,
            snapshots=scalar(str(lab.dir / "snapshots")),
        ),
        "inventory/groups.yaml": groups(lab),
        "inventory/hosts.yaml": hosts(lab),
    }


def groups(lab: Lab) -> str:
    """Text of ``groups.yaml``: the init systems and clusters that have hosts."""
    parts = [GROUPS_HEAD]
    inits = {host.init for host in lab.hosts}
    if "systemd" in inits:
        parts.append(SYSTEMD)
    if "openrc" in inits:
        parts.append(OPENRC.format(repository=apkrepo.url(lab)))
    used = {host.cluster for host in lab.hosts}
    parts += [_cluster(cluster) for cluster in lab.clusters if cluster.name in used]
    return "\n".join(parts)


def _cluster(cluster: LabCluster) -> str:
    service = ""
    if cluster.service_name:
        service = (
            f"      service_name: {scalar(cluster.service_name)}      # resolves to all members; in certificates too\n"
        )
    timing = ""
    if cluster.election_ms:
        timing = f"      heartbeat_ms: {cluster.election_ms // 10}\n      election_ms: {cluster.election_ms}\n"
    keys = "      key_type: ec-p256\n" if cluster.ec_keys else ""
    text = CLUSTER.format(name=scalar(cluster.name), service=service, timing=timing, keys=keys)
    for role, name in pki.role_names(cluster.name).items():
        text += f"        {role}: {{name: {name}, ttl: {pki.TTL}}}\n"
    return text


def hosts(lab: Lab) -> str:
    """Text of ``hosts.yaml``; hosts that belong to no cluster are there as comments, ready to be used."""
    parts = [HOSTS_HEAD]
    spare = []
    for host in lab.hosts:
        text = _host(host)
        if host.cluster is None:
            spare.append("".join(f"# {line}\n" for line in text.splitlines()))
        else:
            parts.append(text)
    if spare:
        parts += ["# In reserve: give one a cluster's group and it becomes a member.\n", *spare]
    return "\n".join(parts)


def _host(host: LabHost) -> str:
    cluster = scalar(host.cluster) if host.cluster else "CLUSTER"
    lines = [
        f"{scalar(host.name)}:",
        f"  hostname: {host.address}",
        f"  groups: [{cluster}, {host.init}]",
        "  data:",
        f"    member: {{fqdn: {scalar(host.fqdn)}, address: {host.address}}}",
    ]
    if host.kind == "debian-armhf":
        lines.append("    platform: {architecture: arm}     # 32-bit")
    return "\n".join(lines) + "\n"


def environment(lab: Lab) -> str:
    """Text of ``env``, for any POSIX shell. Raises LabError when token or sudo password are missing."""
    # By name as a person would, unless that name means something else here (another lab's Vault, say).
    by_name = names.controller_knows(lab, lab.vault_name)
    variables = {
        "VAULT_ADDR": f"https://{lab.vault_name}:{vault.PORT}" if by_name else vault.address(lab),
        "VAULT_CACERT": str(vault.ca_file(lab)),
        "VAULT_TOKEN": vault.deploy_token(lab),
    }
    if any(host.sudo_password for host in lab.hosts):
        try:
            variables["ETCDFLEET_SUDO_PASSWORD"] = lab.sudo_password_file.read_text().strip()
        except OSError as error:
            raise LabError("the sudo password is missing", where=str(lab.sudo_password_file)) from error
    lines = [f"# Source it: . {lab.dir / 'env'}", "unset VAULT_NAMESPACE VAULT_ROLE_ID VAULT_SECRET_ID"]
    lines += [f"export {key}={shlex.quote(value)}" for key, value in variables.items()]
    return "\n".join(lines) + "\n"


def scalar(text: str) -> str:
    """``text`` as a YAML string: plain where YAML would not take it for something else."""
    plain = re.fullmatch(r"[A-Za-z/][A-Za-z0-9/._-]*", text) and text.lower() not in _YAML_WORDS
    return text if plain else json.dumps(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read_record(path: Path) -> dict[str, list[str]]:
    try:
        record: dict[str, list[str]] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return record
