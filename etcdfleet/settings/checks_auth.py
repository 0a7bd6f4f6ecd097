"""Rules of the section ``auth``, most of which keep people from locking themselves out."""

from __future__ import annotations

from collections import Counter

from etcdfleet.settings.auth import ROOT, AuthSettings, AuthUser, Permission
from etcdfleet.settings.notes import Notes
from etcdfleet.settings.partial import Draft
from etcdfleet.settings.problems import did_you_mean

LONGEST_COMMON_NAME = 64
"""X.509's limit of a common name."""
RESERVED = "etcdfleet-"
"""Users whose names begin so are the runbooks' own."""


def check_auth(draft: Draft, notes: Notes) -> None:
    """Run every check of one host's section ``auth``."""
    auth, cluster = draft.auth, draft.cluster
    if not draft.sound("auth"):
        return
    _roles(draft, auth, notes)
    for name, user in auth.users.items():
        _user(draft, auth, name, user, notes)
    _keepers(draft, auth, notes)
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
            "the gateway is on together with authentication, and they exclude each other for every client: the gateway "
            "shows etcd the server's certificate, whose name etcd does not take for a user, so all is refused, a login "
            "with a password too"
        )
        notes.mistake(
            draft, "cluster.gateway", what, "set gateway: false, or leave authentication off, as Patroni needs it"
        )


def _roles(draft: Draft, auth: AuthSettings, notes: Notes) -> None:
    if ROOT in auth.roles:
        what = "role root is etcd's own: it may do everything, and takes no permissions"
        notes.mistake(draft, f"auth.roles.{ROOT}", what, "remove it; users may have it without it being listed")
    for name, permissions in auth.roles.items():
        key = f"auth.roles.{name}"
        if problem := _name_problem(name):
            notes.mistake(draft, key, f"the name of role {name!r} {problem}", "give it another name")
        texts = [(each.key, each.prefix, *(each.range or ())) for each in permissions]
        if any("\0" in text for each in texts for text in each if text):
            what = f"role {name} has a key with a zero byte in it, which no command line can hold"
            notes.mistake(draft, key, what, "write keys as plain text; an empty prefix means all keys")
        if any(each.range is not None and not each.range[0] for each in permissions):
            what = f"a range of role {name} begins with an empty key, and etcd has no such key"
            notes.mistake(draft, key, what, "write the first key, or prefix: '' for all keys")
        spans = [each.span for each in permissions]
        for number, each in enumerate(permissions):
            if each.span not in spans[:number]:
                continue
            what = f"role {name} has two permissions on the same keys ({_keys(each)}); etcd keeps one, the last"
            notes.mistake(draft, key, what, "keep one of them; access: readwrite is both read and write")


def _user(draft: Draft, auth: AuthSettings, name: str, user: AuthUser, notes: Notes) -> None:
    # A user's name may have dots in it, which a dotted key has no way to say; the text names the user too.
    key = f"auth.users.{name}"
    if problem := _name_problem(name):
        notes.mistake(draft, key, f"the name of user {name!r} {problem}", "give it another name")
    elif name.startswith(RESERVED):
        what = f"user {name} has a name that begins with {RESERVED}, which the runbooks use for users of their own"
        notes.mistake(draft, key, what, "give it another name")
    elif ":" in name and user.password_env:
        what = f"user {name} is to have a password, but etcdctl takes what comes after a colon for the password"
        notes.mistake(draft, key, what, "give it a name without a colon, or let it come with a certificate")
    elif len(name) > LONGEST_COMMON_NAME and not user.password_env:
        what = f"user {name} has no password, and a name too long for the common name of a certificate"
        notes.mistake(draft, key, what, f"use at most {LONGEST_COMMON_NAME} characters, or set password_env")
    if name.lower() == draft.member.fqdn:
        what = f"user {name} is named as member {draft.name}: anyone with a key of that member could be this user"
        notes.mistake(draft, key, what, "give the user a name that is not that of a host")
    for role in user.roles:
        if role != ROOT and role not in auth.roles:
            guess = did_you_mean(role, (*auth.roles, ROOT))
            roles = ", ".join((*auth.roles, ROOT))
            what = f"user {name} has role {role}, which is not among auth.roles{guess}"
            notes.mistake(draft, f"{key}.roles", what, f"add the role, or use one of: {roles}")
    for role in (role for role, count in Counter(user.roles).items() if count > 1):
        what = f"user {name} has role {role} more than once"
        notes.mistake(draft, f"{key}.roles", what, "keep one of them")


def _keepers(draft: Draft, auth: AuthSettings, notes: Notes) -> None:
    keep = {ROOT, draft.pki.client_common_name} if draft.sound("pki.client_common_name") else {ROOT}
    for name in sorted(keep & auth.users.keys()):
        if ROOT not in auth.users[name].roles:
            what = f"etcdctl on the hosts acts as user {name}; without role root, all would be locked out"
            notes.mistake(draft, f"auth.users.{name}.roles", what, "add root to its roles, or remove the user here")


def _name_problem(name: str) -> str:
    if not name.strip():
        return "is empty"
    if name != name.strip() or not name.isprintable():
        return "has spaces around it, or characters that cannot be seen"
    return ""


def _keys(permission: Permission) -> str:
    if permission.range is not None:
        return f"range {permission.range[0]} to {permission.range[1]}"
    return f"key {permission.key}" if permission.key is not None else f"prefix {permission.prefix!r}"
