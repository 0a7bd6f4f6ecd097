"""Rules of the section ``pki`` that need more than one value, or the section ``cluster`` as well."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from etcdfleet.roles import ROLE_NAMES, ROLE_USAGES, RoleName
from etcdfleet.settings.notes import Notes
from etcdfleet.settings.partial import Draft
from etcdfleet.text import go_duration

_ROLE_JOBS: Mapping[RoleName, str] = {
    "peer": "members use one pair both to accept and to open connections to each other",
    "server": "etcd serves its clients with it",
    "client": "etcdctl proves with it who it is",
}


def check_pki(draft: Draft, notes: Notes, environ: Mapping[str, str]) -> None:
    """Run every check of one host's section ``pki``."""
    for check in (_roles, _gateway, _revoke):
        check(draft, notes)
    draft.pki.check(draft, notes, environ)


def _revoke(draft: Draft, notes: Notes) -> None:
    if draft.pki.revoke and not draft.pki.can_revoke:
        what = f"what comes from {draft.pki.source} cannot be revoked from here"
        notes.mistake(draft, "pki.revoke", what, "remove the line; revoke with the tool of that CA (cfssl revoke)")


def _roles(draft: Draft, notes: Notes) -> None:
    always: list[RoleName] = []
    for name in ROLE_NAMES:
        role, key = draft.pki.roles[name], f"pki.roles.{name}"
        if not draft.sound(key):
            continue
        missing = [usage for usage in ROLE_USAGES[name] if usage not in role.usages]
        if missing:
            what = f"role {name} needs usage {' and '.join(missing)}: {_ROLE_JOBS[name]}"
            remedy = f"write usages: [{', '.join(ROLE_USAGES[name])}], and {draft.pki.allowing(name, 'them')}"
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


def _gateway(draft: Draft, notes: Notes) -> None:
    if not (draft.cluster.gateway and draft.cluster.client_tls):
        return
    if draft.sound("pki.roles.server") and "client" not in draft.pki.roles.server.usages:
        what = (
            "the gateway is on, but role server is not for clients: etcd's gateway connects to etcd itself with the "
            'server certificate, which floods the log with "bad certificate / incompatible key usage"'
        )
        remedy = (
            "either set gateway: false (only the JSON API below /v3/ is lost, which Patroni and other JSON clients "
            "need; /health stays), or give pki.roles.server usages: [server, client] and "
            f"{draft.pki.allowing('server', 'both')}"
        )
        notes.mistake(draft, "cluster.gateway", what, remedy)
