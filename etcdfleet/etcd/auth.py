"""etcd's roles and users: what is wanted, what is there, and the calls of etcdctl that lead from one to the other.

Plain data and pure functions; ``tasks/auth/converge.py`` asks etcd and carries the plan out.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from etcdfleet.settings.auth import OPEN, ROOT, Access, AuthSettings, prefix_end

RESCUE = "etcdfleet-rescue"
"""A user with role root and a random password, while authentication is turned on: see ``tasks/auth/converge.py``."""
PasswordState: TypeAlias = Literal["right", "wrong", "none"]
"""Whether a user's password is the wanted one, another, or the user was made without one (and can never get one)."""


@dataclass(frozen=True, order=True)
class Span:
    """The keys from ``key`` up to before ``end``; without an ``end`` the one key."""

    key: bytes
    end: bytes = b""

    def __str__(self) -> str:
        if not self.end:
            return f"key {_text(self.key)}"
        if self.end == OPEN:
            return "all keys" if self.key == OPEN else f"keys from {_text(self.key)} on"
        if self.end == prefix_end(self.key):
            return f"prefix {_text(self.key)}"
        return f"keys from {_text(self.key)} up to before {_text(self.end)}"

    @property
    def arguments(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Options and operands by which etcdctl means this span; None if no command line can say it."""
        key, end = self.key, self.end
        if (key, end) == (OPEN, OPEN):
            return ("--prefix=true",), ("",)
        if b"\0" in key or not key:
            return None
        try:
            if end and end == prefix_end(key):
                return ("--prefix=true",), (key.decode(),)
            if end == OPEN:
                return ("--from-key=true",), (key.decode(),)
            return None if b"\0" in end else ((), (key.decode(), *((end.decode(),) if end else ())))
        except UnicodeDecodeError:
            return None


Grants: TypeAlias = Mapping[Span, Access]
"""What a role may do; etcd knows one permission per span."""


@dataclass(frozen=True)
class WantedAuth:
    """What a cluster is to have. ``enabled`` None leaves that as it is.

    ``kept`` are users that are never removed, nor reported: who etcd and the hosts' own certificates need.
    ``passwords`` are users that are to have one.
    """

    enabled: bool | None
    roles: Mapping[str, Grants]
    users: Mapping[str, frozenset[str]]
    passwords: frozenset[str]
    kept: frozenset[str]


@dataclass(frozen=True)
class AuthState:
    """What a cluster has. ``passwords`` has the users whose password could be tried: only while it is enabled."""

    enabled: bool
    roles: Mapping[str, Grants] = field(default_factory=dict)
    users: Mapping[str, frozenset[str]] = field(default_factory=dict)
    passwords: Mapping[str, PasswordState] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """One call of etcdctl: what it does in words, its arguments for a shell, and whose password it reads."""

    sign: Literal["+", "-", "~"]
    text: str
    arguments: str
    password_of: str = ""

    def __str__(self) -> str:
        return f"{self.sign} {self.text}"


@dataclass(frozen=True)
class AuthPlan:
    """What is to be done, in this order: turned off, operations, turned on. ``warnings`` name what is left alone."""

    turn_off: bool = False
    operations: tuple[Operation, ...] = ()
    turn_on: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[str, ...]:
        """Every change in words, in order."""
        return (
            *(("authentication is turned off",) if self.turn_off else ()),
            *(f"{operation.text} {_VERBS[operation.sign]}" for operation in self.operations),
            *(("authentication is turned on",) if self.turn_on else ()),
        )

    @property
    def diff(self) -> str:
        """The changes as lines with a sign before them."""
        lines = ["~ authentication: off"] if self.turn_off else []
        lines += [str(operation) for operation in self.operations]
        lines += ["~ authentication: on"] if self.turn_on else []
        return "".join(f"{line}\n" for line in lines)


_VERBS: Mapping[str, str] = {"+": "is added", "-": "is removed", "~": "is changed"}


@dataclass(frozen=True)
class Proof:
    """Which user a host's own client certificate names, and why etcd refused a request with it (empty: it did not).

    ``endpoint`` is the client URL of the member on that host.
    """

    host: str
    common_name: str
    refusal: str = ""
    endpoint: str = ""


def wanted_auth(auth: AuthSettings, client_common_name: str) -> WantedAuth:
    """Return what the settings want, with the two users that are needed to change anything later.

    etcd demands a user ``root`` with role root; ``client_common_name`` is the user that etcdctl on the hosts acts as.
    With ``enabled`` false neither is needed, so none is made.
    """
    keepers = frozenset({ROOT, client_common_name})
    users = {name: frozenset(user.roles) for name, user in auth.users.items()}
    if auth.enabled is not False and auth.managed:
        for name in sorted(keepers):
            users[name] = users.get(name, frozenset()) | {ROOT}
    return WantedAuth(
        auth.enabled,
        {name: {Span(*each.span): each.access for each in permissions} for name, permissions in auth.roles.items()},
        users,
        frozenset(name for name, user in auth.users.items() if user.password_env),
        keepers,
    )


def plan_auth(wanted: WantedAuth, state: AuthState, *, prune: bool = False, in_use: Iterable[str] = ()) -> AuthPlan:
    """Return the way from ``state`` to ``wanted``.

    What is added comes before what is removed, so that no user loses for a moment what it has and keeps; and all of
    it before authentication is turned on, so that it is right from its first moment. Where it is to be off, it is
    turned off first, while root can still do it. Users and roles that the inventory does not know are named in the
    warnings, or removed with ``prune``; never root, nor the users in ``kept``, nor those ``in_use``: the users that
    certificates on the hosts name today.
    """
    kept = wanted.kept | frozenset(in_use)
    extra_users = [name for name in sorted(state.users) if name not in wanted.users and name not in kept | {RESCUE}]
    extra_roles = [name for name in sorted(state.roles) if name not in wanted.roles and name != ROOT]
    revokes, stuck = _revokes(wanted, state)
    operations = [
        *_additions(wanted, state),
        *_passwords(wanted, state),
        *revokes,
        *(_drop_user(name) for name in extra_users if prune),
        *(_drop_user(RESCUE) for _ in range(RESCUE in state.users)),
        *(_drop_role(name) for name in extra_roles if prune),
    ]
    warnings = [*stuck, *_impossible(wanted, state)]
    if not prune:
        warnings += _unmanaged("user", extra_users) + _unmanaged("role", extra_roles)
    return AuthPlan(
        turn_off=state.enabled and wanted.enabled is False,
        operations=tuple(operations),
        turn_on=bool(wanted.enabled) and not state.enabled,
        warnings=tuple(warnings),
    )


def lockout(name: str, state: AuthState, proofs: Sequence[Proof]) -> tuple[str, ...]:
    """Return why turning authentication on would lock out; empty if it would not.

    ``name`` is the user that the hosts' client certificates must name, and ``state`` what the cluster has just before.
    """
    problems = [
        f"user {needed} does not have role root"
        for needed in dict.fromkeys((ROOT, name))
        if ROOT not in state.users.get(needed, frozenset())
    ]
    for proof in proofs:
        if proof.common_name != name:
            named = f"names {proof.common_name}, not {name}" if proof.common_name else "cannot be read"
            problems.append(f"the client certificate on {proof.host} {named}")
        elif proof.refusal:
            problems.append(f"etcd did not serve the client certificate on {proof.host}: {proof.refusal}")
    if not proofs:
        problems.append("no host's client certificate was proven to work")
    return tuple(problems)


def _additions(wanted: WantedAuth, state: AuthState) -> Iterator[Operation]:
    for role in sorted(wanted.roles):
        there = state.roles.get(role)
        if there is None:
            yield Operation("+", f"role {role}", _words("role", "add", operands=(role,)))
        for span, access in sorted(wanted.roles[role].items()):
            before = (there or {}).get(span)
            arguments = span.arguments
            if before == access or arguments is None:
                continue
            options, operands = arguments
            was = f" (was {before})" if before else ""
            yield Operation(
                "~" if before else "+",
                f"role {role}: {access} of {span}{was}",
                _words("role", "grant-permission", *options, operands=(role, access, *operands)),
            )
    for user in sorted(wanted.users):
        if user not in state.users:
            yield _add_user(wanted, user)
        yield from _grant_roles(user, wanted.users[user] - state.users.get(user, frozenset()))


def _passwords(wanted: WantedAuth, state: AuthState) -> Iterator[Operation]:
    for user, status in sorted(state.passwords.items()):
        if status == "wrong":
            arguments = _words("user", "passwd", "--interactive=false", operands=(user,))
            yield Operation("~", f"password of user {user}", arguments, user)
        elif status == "none" and user not in wanted.kept:
            # etcd takes a password for a user that was made without one, says "updated", and does not keep it.
            yield _drop_user(user)
            yield _add_user(wanted, user)
            yield from _grant_roles(user, wanted.users[user])


def _revokes(wanted: WantedAuth, state: AuthState) -> tuple[list[Operation], list[str]]:
    operations, stuck = [], []
    for role in sorted(wanted.roles.keys() & state.roles.keys()):
        for span, access in sorted(state.roles[role].items()):
            if span in wanted.roles[role]:
                continue
            arguments = span.arguments
            text = f"role {role}: {access} of {span}"
            if arguments is None:
                stuck.append(f"{text} is not in the inventory, and etcdctl cannot remove it: the key is no plain text")
                continue
            options, operands = arguments
            words = _words("role", "revoke-permission", *options, operands=(role, *operands))
            operations.append(Operation("-", text, words))
    for user in sorted(wanted.users.keys() & state.users.keys()):
        for role in sorted(state.users[user] - wanted.users[user]):
            words = _words("user", "revoke-role", operands=(user, role))
            operations.append(Operation("-", f"user {user}: role {role}", words))
    return operations, stuck


def _impossible(wanted: WantedAuth, state: AuthState) -> list[str]:
    return [
        f"user {user} was made without a password, and etcd gives none to such a user later: turn authentication off, "
        "remove the user with etcdctl, and run again"
        for user, status in sorted(state.passwords.items())
        if status == "none" and user in wanted.kept
    ]


def _unmanaged(kind: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    some = f"{kind} {names[0]} is" if len(names) == 1 else f"{kind}s {', '.join(names)} are"
    return [f"{some} in etcd and not in the inventory; runbooks/setup_auth.py --prune removes what is not there"]


def _add_user(wanted: WantedAuth, user: str) -> Operation:
    if user in wanted.passwords:
        return Operation("+", f"user {user}", _words("user", "add", "--interactive=false", operands=(user,)), user)
    return Operation("+", f"user {user}", _words("user", "add", "--no-password", operands=(user,)))


def _grant_roles(user: str, roles: Iterable[str]) -> Iterator[Operation]:
    for role in sorted(roles):
        yield Operation("+", f"user {user}: role {role}", _words("user", "grant-role", operands=(user, role)))


def _drop_user(name: str) -> Operation:
    return Operation("-", f"user {name}", _words("user", "delete", operands=(name,)))


def _drop_role(name: str) -> Operation:
    return Operation("-", f"role {name}", _words("role", "delete", operands=(name,)))


def _words(*words: str, operands: Sequence[str]) -> str:
    # After "--" nothing is an option, whatever a name or key begins with.
    return shlex.join([*words, "--", *operands])


def _text(key: bytes) -> str:
    text = key.decode("utf-8", "backslashreplace")
    return text if text.isprintable() and text == text.strip() and text else repr(text)
