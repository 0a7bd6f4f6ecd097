"""Rules of the section ``auth``, most of which keep people from locking themselves out."""

from __future__ import annotations

from etcdfleet.settings.drafts import Draft
from etcdfleet.settings.notes import Notes
from etcdfleet.settings.problems import did_you_mean

ROOT = "root"
"""The name of etcd's built-in role that may do everything, and of the user that it wants before auth is enabled."""


def check_auth(draft: Draft, notes: Notes) -> None:
    """Runs every check of one host's section ``auth``."""
    auth, cluster = draft.auth, draft.cluster
    if auth is None or cluster is None or not draft.sound("auth"):
        return
    _users(draft, notes)
    if auth.certificate_ttl > auth.certificate_max_ttl:
        what = "is longer than certificate_max_ttl, the longest that is allowed"
        notes.mistake(draft, "auth.certificate_ttl", what, "lower it, or raise certificate_max_ttl")
    if not auth.enabled:
        return
    if not cluster.client_tls:
        what = "authentication is on while client_tls is off: etcd knows its users by their certificates"
        notes.mistake(draft, "auth.enabled", what, "set client_tls: true, or leave authentication off")
    if cluster.gateway:
        what = (
            "the gateway is on together with authentication: what comes through it carries no client certificate, so "
            "users without a password cannot use it"
        )
        notes.mistake(draft, "cluster.gateway", what, "set gateway: false, or leave authentication off")


def _users(draft: Draft, notes: Notes) -> None:
    auth, pki = draft.auth, draft.pki
    if auth is None:
        return
    if ROOT in auth.roles:
        what = "role root is etcd's own: it may do everything, and takes no permissions"
        notes.mistake(draft, f"auth.roles.{ROOT}", what, "remove it; users may have it without it being listed")
    for name, user in auth.users.items():
        for role in user.roles:
            if role != ROOT and role not in auth.roles:
                guess = did_you_mean(role, (*auth.roles, ROOT))
                known = ", ".join((*auth.roles, ROOT))
                what = f"user {name} has role {role}, which is not among auth.roles{guess}"
                notes.mistake(draft, f"auth.users.{name}.roles", what, f"add the role, or use one of: {known}")
    keep = {ROOT, pki.client_common_name} if pki is not None else {ROOT}
    for name in sorted(keep & auth.users.keys()):
        if ROOT not in auth.users[name].roles:
            what = f"user {name} is whom etcdctl on the hosts acts as; without role root, all would be locked out"
            notes.mistake(draft, f"auth.users.{name}.roles", what, "add root to its roles, or remove the user here")
