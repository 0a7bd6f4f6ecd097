"""Rules of the section ``pki`` that need more than one value, or the section ``cluster`` as well."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from etcdfleet.settings.base import ROLE_NAMES, ROLE_USAGES, RoleName
from etcdfleet.settings.notes import Notes, must_exist
from etcdfleet.settings.partial import Draft
from etcdfleet.settings.pki import PkiSettings
from etcdfleet.settings.units import go_duration

SAME_IN_CLUSTER = (
    "trust_anchor",
    "trust",
    "source",
    "folder",
    "mount",
    "mounts",
    "client_common_name",
    "revoke",
    "crl",
)
"""Keys of ``pki`` that all members of a cluster must have in common."""
_ROLE_JOBS: Mapping[RoleName, str] = {
    "peer": "members use one pair both to accept and to open connections to each other",
    "server": "etcd serves its clients with it",
    "client": "etcdctl proves with it who it is",
}


def check_pki(draft: Draft, notes: Notes, environ: Mapping[str, str]) -> None:
    """Runs every check of one host's section ``pki``."""
    for check in (_roles, _gateway, _trust_anchor_file, _trust, _folder, _setup):
        check(draft, notes)
    _vault(draft, notes, environ)


def _trust(draft: Draft, notes: Notes) -> None:
    pki = draft.pki
    if pki is None or pki.source != "vault" or not draft.sound("pki.trust", "pki.mount", "pki.mounts"):
        return
    said = draft.merged.written(("pki", "trust"))
    if pki.trust == "separate" and draft.merged.written(("pki", "mount")) and not said:
        what = (
            f"names one CA for everything ({pki.mount}), while trust: separate, the default, has one for peers and one "
            "for clients, so that no peer's certificate is good as a client's"
        )
        remedy = (
            "remove the line to have separate CAs (python runbooks/setup_pki.py makes them; deploy moves a running "
            "cluster there without downtime), or write trust: single to stay with one"
        )
        notes.mistake(draft, "pki.mount", what, remedy)
    if pki.trust == "separate" and pki.mount_of("peer") == pki.mount_of("client"):
        what = f"both sides have the mount {pki.mount_of('peer')}, so a peer's certificate would be good as a client's"
        notes.mistake(draft, "pki.mounts", what, "name two mounts, or write trust: single")


def _folder(draft: Draft, notes: Notes) -> None:
    pki = draft.pki
    if pki is None or not draft.sound("pki.source", "pki.folder"):
        return
    if pki.source == "vault":
        if pki.folder is not None:
            what = "names a folder of certificates, while they come from Vault"
            notes.mistake(draft, "pki.folder", what, "write source: files as well, or remove the line")
        return
    if pki.revoke:
        what = "Vault cannot revoke what comes from files"
        notes.mistake(draft, "pki.revoke", what, "remove the line; revoke with the tool of that CA (cfssl revoke)")
    if pki.folder is None:
        what = "is missing: with source: files, certificates are taken from a folder on this machine"
        notes.mistake(draft, "pki.folder", what, "write its path; docs/settings.md says how the files are named")
    elif not Path(pki.folder).is_dir():
        what = f"there is no folder {pki.folder} on this machine"
        notes.mistake(draft, "pki.folder", what, "correct the path: a relative one starts at the folder of config.yaml")


def _setup(draft: Draft, notes: Notes) -> None:
    pki = draft.pki
    if pki is None or pki.source != "vault" or not draft.sound("pki.setup", "pki.roles"):
        return
    longest = max(ROLE_NAMES, key=lambda role: pki.roles[role].max_ttl)
    if pki.setup.ca_ttl < pki.roles[longest].max_ttl:
        ca, leaf = go_duration(pki.setup.ca_ttl), go_duration(pki.roles[longest].max_ttl)
        what = f"a CA of {ca} does not outlive the certificates of role {longest}, which may live for {leaf}"
        notes.warning(draft, "pki.setup.ca_ttl", what, f"give it more than {leaf}, or lower the role's max_ttl")
    if pki.setup.approle.token_ttl > pki.setup.approle.token_max_ttl:
        what = "is longer than token_max_ttl, so it could never be had"
        notes.mistake(draft, "pki.setup.approle.token_ttl", what, "lower it, or raise token_max_ttl")


def _roles(draft: Draft, notes: Notes) -> None:
    if draft.pki is None:
        return
    always: list[RoleName] = []
    for name in ROLE_NAMES:
        role, key = draft.pki.roles[name], f"pki.roles.{name}"
        if not draft.sound(key):
            continue
        missing = [usage for usage in ROLE_USAGES[name] if usage not in role.usages]
        if missing:
            what = f"role {name} needs usage {' and '.join(missing)}: {_ROLE_JOBS[name]}"
            remedy = f"write usages: [{', '.join(ROLE_USAGES[name])}], and {_allowing(draft.pki, name, 'them')}"
            notes.mistake(draft, f"{key}.usages", what, remedy)
        if role.ttl <= timedelta(0):
            notes.mistake(draft, f"{key}.ttl", "a certificate must live longer than 0s", "write a time such as 43800h")
        elif role.ttl > role.max_ttl:
            ttl, limit = go_duration(role.ttl), go_duration(role.max_ttl)
            what = f"the TTL {ttl} is beyond the role's max_ttl {limit}; Vault would shorten it, with a mere warning"
            notes.mistake(draft, f"{key}.ttl", what, f"ask for {limit} or less, or raise max_ttl here and in Vault")
        elif draft.sound("pki.renew_before") and draft.pki.renew_before.threshold(role.ttl) >= role.ttl:
            always.append(name)
    if always:
        lives = ", ".join(f"{go_duration(draft.pki.roles[name].ttl)} of role {name}" for name in always)
        what = f"{draft.pki.renew_before} is no shorter than the life {lives}: every run would renew them"
        notes.mistake(draft, "pki.renew_before", what, 'write less, or a fraction of the life such as "1/3"')


def _allowing(pki: PkiSettings, role: RoleName, what: str) -> str:
    """The other half of a remedy that gives a role more usages."""
    if pki.source == "files":
        return f"make the {role} certificate with a profile that allows {what}"
    return f"run python runbooks/setup_pki.py, which has the role {pki.roles[role].name} in Vault allow {what}"


def _gateway(draft: Draft, notes: Notes) -> None:
    if draft.cluster is None or draft.pki is None or not (draft.cluster.gateway and draft.cluster.client_tls):
        return
    if draft.sound("pki.roles.server") and "client" not in draft.pki.roles.server.usages:
        what = (
            "the gateway is on, but role server is not for clients: etcd's gateway connects to etcd itself with the "
            'server certificate, which floods the log with "bad certificate / incompatible key usage"'
        )
        remedy = (
            "either set gateway: false (only the JSON API below /v3/ is lost, which Patroni and other JSON clients "
            "need; /health stays), or give pki.roles.server usages: [server, client] and "
            f"{_allowing(draft.pki, 'server', 'both')}"
        )
        notes.mistake(draft, "cluster.gateway", what, remedy)


def _trust_anchor_file(draft: Draft, notes: Notes) -> None:
    if draft.pki is not None and draft.pki.trust_anchor.file is not None and draft.sound("pki.trust_anchor"):
        must_exist(draft, "pki.trust_anchor.file", draft.pki.trust_anchor.file, notes)


def _vault(draft: Draft, notes: Notes, environ: Mapping[str, str]) -> None:
    if draft.pki is None or draft.cluster is None or not (draft.cluster.peer_tls or draft.cluster.client_tls):
        return
    if draft.pki.source != "vault":
        return
    from_environment, address = environ.get("VAULT_ADDR", ""), draft.pki.address
    if not from_environment and address is None and draft.sound("pki.address"):
        what = "is missing, and VAULT_ADDR is not set: certificates come from Vault"
        notes.mistake(draft, "pki.address", what, "write an address such as https://vault.home:8200, or set VAULT_ADDR")
    what = "Vault is spoken to over plain http: tokens, and keys made by Vault, can be read on the way"
    remedy = "give Vault a TLS listener, and write https://; VAULT_CACERT names its CA"
    if from_environment.startswith("http://"):
        notes.plain_warning("environment", "VAULT_ADDR", what, remedy)
    elif not from_environment and address is not None and address.startswith("http://"):
        notes.warning(draft, "pki.address", what, remedy)
