"""Roles and users: etcdctl's answers as etcd 3.4.23 and 3.5.1 gave them, and the way from what is to what is wanted."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import pytest

from etcdfleet.errors import VerificationError
from etcdfleet.etcd.auth import (
    RESCUE,
    AuthPlan,
    AuthState,
    Proof,
    Span,
    WantedAuth,
    lockout,
    plan_auth,
    wanted_auth,
)
from etcdfleet.etcd.auth_answers import read_enabled, read_names, read_password, read_role, read_user, refusal
from etcdfleet.settings.auth import OPEN, AuthSettings, Permission, prefix_end
from tests.unit.support.paths import FIXTURES

RECORDED = {version: json.loads((FIXTURES / f"etcd-{version}" / "auth.json").read_text()) for version in ("3.4", "3.5")}
both = pytest.mark.parametrize("version", RECORDED)


def said(version: str, name: str) -> tuple[int, str, str]:
    record = RECORDED[version][name]
    return record["rc"], record["stdout"], record["stderr"]


@both
def test_names(version: str) -> None:
    assert read_names("roles", *said(version, "roles")) == ("all", "app", "none")
    assert read_names("users", *said(version, "users")) == ("alice", "alice@example.org", "bob", "root")
    assert read_names("roles", *said(version, "no-roles")) == ()
    assert read_names("users", *said(version, "no-users")) == ()


@both
def test_roles_of_users(version: str) -> None:
    assert read_user(*said(version, "user-alice")) == {"app", "none"}
    assert read_user(*said(version, "user-root")) == {"root"}
    assert read_user(*said(version, "user-bob")) == frozenset()


@both
def test_permissions(version: str) -> None:
    assert read_role(*said(version, "role-none")) == {}
    assert read_role(*said(version, "role-all")) == {Span(OPEN, OPEN): "readwrite"}
    assert read_role(*said(version, "role-app")) == {
        Span(b"/app/", b"/app0"): "readwrite",
        Span(b"/k"): "read",
        Span(b"/a", b"/n"): "write",
        Span(b"/z", OPEN): "read",
        Span(b"-dash"): "read",
        Span("/ü".encode(), b"/\xc3\xbd"): "read",
    }


@both
@pytest.mark.parametrize("name", ["role-root", "user-nobody", "peer-certificate", "nobody-there"])
def test_no_answer(version: str, name: str) -> None:
    for read in (read_user, read_role, lambda *answer: read_names("users", *answer)):
        with pytest.raises(VerificationError, match=r"gave no answer: \w"):
            read(*said(version, name))


@both
def test_whether_it_is_on(version: str) -> None:
    for name, on in (("off", False), ("on", True)):
        rc, _, stderr = said(version, name)
        assert read_enabled(rc, stderr) is on
    for name in ("nobody-there", "peer-certificate"):
        rc, _, stderr = said(version, name)
        with pytest.raises(VerificationError, match="does not say"):
            read_enabled(rc, stderr)


@both
def test_passwords(version: str) -> None:
    for state in ("right", "wrong", "none"):
        rc, _, stderr = said(version, f"password-{state}")
        assert read_password(rc, stderr) == state
    rc, _, stderr = said(version, "nobody-there")
    with pytest.raises(VerificationError):
        read_password(rc, stderr)


@both
def test_refusals_in_words(version: str) -> None:
    assert refusal(said(version, "user-nobody")[2]) == "user name not found"
    assert refusal(said(version, "nobody-there")[2])


@pytest.mark.parametrize("answer", ["", "[]", "null", '{"perm": 1}', '{"perm": [{"key": "?"}]}', '{"perm": [[]]}'])
def test_answers_of_another_form(answer: str) -> None:
    with pytest.raises(VerificationError):
        read_role(0, answer, "")


@pytest.mark.parametrize(
    ("prefix", "end"), [(b"/app/", b"/app0"), (b"a\xff", b"b"), (b"\xff\xff", OPEN), (b"z", b"{"), (b"", OPEN)]
)
def test_prefix_end(prefix: bytes, end: bytes) -> None:
    assert prefix_end(prefix) == end


SPANS = {
    "key": (Permission(access="read", key="/k"), Span(b"/k"), "key /k", (), ("/k",)),
    "prefix": (
        Permission(access="read", prefix="/app/"),
        Span(b"/app/", b"/app0"),
        "prefix /app/",
        ("--prefix=true",),
        ("/app/",),
    ),
    "everything": (Permission(access="read", prefix=""), Span(OPEN, OPEN), "all keys", ("--prefix=true",), ("",)),
    "range": (
        Permission(access="read", range=("/a", "/n")),
        Span(b"/a", b"/n"),
        "keys from /a up to before /n",
        (),
        ("/a", "/n"),
    ),
    "range that is a prefix": (
        Permission(access="read", range=("/a", "/b")),
        Span(b"/a", b"/b"),
        "prefix /a",
        ("--prefix=true",),
        ("/a",),
    ),
}


@pytest.mark.parametrize("case", SPANS)
def test_spans(case: str) -> None:
    permission, span, text, options, operands = SPANS[case]
    assert Span(*permission.span) == span
    assert str(span) == text
    assert span.arguments == (options, operands)


@pytest.mark.parametrize("span", [Span(b"a\0b"), Span(b"\xff"), Span(b"a", b"a\0"), Span(b"a", b"\xff"), Span(b"")])
def test_spans_that_no_command_line_can_say(span: Span) -> None:
    assert span.arguments is None
    assert str(span)


def test_open_span() -> None:
    assert Span(b"/z", OPEN).arguments == (("--from-key=true",), ("/z",))
    assert str(Span(b"/z", OPEN)) == "keys from /z on"
    assert str(Span(b"a\n\xff")) == r"key 'a\n\\xff'"


# What is wanted, from the settings.


def settings(**auth: Any) -> AuthSettings:
    return AuthSettings.model_validate(auth)


APP = {"app": [{"prefix": "/app/", "access": "readwrite"}, {"key": "/k", "access": "read"}]}


def test_wanted() -> None:
    auth = settings(enabled=True, roles=APP, users={"alice": {"roles": ["app"]}, "bob": {"password_env": "BOB"}})
    wanted = wanted_auth(auth, "admin")
    assert wanted.roles == {"app": {Span(b"/app/", b"/app0"): "readwrite", Span(b"/k"): "read"}}
    assert wanted.users == {
        "alice": {"app"},
        "bob": frozenset(),
        "root": {"root"},
        "admin": {"root"},
    }
    assert wanted.passwords == {"bob"}
    assert wanted.kept == {"root", "admin"}


@pytest.mark.parametrize(
    ("auth", "users"),
    [({}, set()), ({"enabled": False}, set()), ({"roles": APP}, {"root"}), ({"enabled": True}, {"root"})],
)
def test_root_is_wanted_unless_it_is_of_no_use(auth: dict[str, Any], users: set[str]) -> None:
    assert wanted_auth(settings(**auth), "root").users.keys() == users


# The way there, played on a model of etcd that refuses what etcd refuses.


class Etcd:
    """Roles and users as etcd keeps them; runs the operations of a plan and keeps an eye on who is root."""

    def __init__(self, state: AuthState, client: str = "root") -> None:
        self.enabled = state.enabled
        self.client = client
        self.roles = {name: dict(grants) for name, grants in state.roles.items()}
        self.users = {name: set(roles) for name, roles in state.users.items()}

    def play(self, plan: AuthPlan) -> AuthState:
        if plan.turn_off:
            self._as_root()
            self.enabled = False
        for operation in plan.operations:
            self._as_root()
            self._run(shlex.split(operation.arguments))
        if plan.turn_on:
            self.enabled = True
            self._as_root()
        return self.state()

    def state(self) -> AuthState:
        return AuthState(self.enabled, self.roles, {name: frozenset(roles) for name, roles in self.users.items()})

    def _as_root(self) -> None:
        if self.enabled:
            assert "root" in self.users["root"], "etcd has no root any more"
            assert "root" in self.users[self.client], "locked out"

    def _run(self, argv: list[str]) -> None:
        split = argv.index("--")
        kind, verb, *options = argv[:split]
        name, *rest = argv[split + 1 :]
        match kind, verb:
            case "role", "add":
                assert name not in self.roles
                self.roles[name] = {}
            case "role", "delete":
                del self.roles[name]
                for roles in self.users.values():
                    roles.discard(name)
            case "role", "grant-permission":
                access, *keys = rest
                self.roles[name][self._span(options, keys)] = access  # type: ignore[assignment]
            case "role", "revoke-permission":
                del self.roles[name][self._span(options, rest)]
            case "user", "add":
                assert name not in self.users
                self.users[name] = set()
            case "user", "delete":
                assert not (self.enabled and name == "root")
                del self.users[name]
            case "user", "grant-role":
                assert rest[0] == "root" or rest[0] in self.roles
                self.users[name].add(rest[0])
            case "user", "revoke-role":
                self.users[name].remove(rest[0])
            case _:
                raise AssertionError(argv)

    @staticmethod
    def _span(options: list[str], keys: list[str]) -> Span:
        key = keys[0].encode()
        if options == ["--prefix=true"]:
            return Span(key, prefix_end(key)) if key else Span(OPEN, OPEN)
        if options == ["--from-key=true"]:
            return Span(key, OPEN)
        assert not options
        return Span(key, keys[1].encode() if keys[1:] else b"")


WANTED = wanted_auth(settings(enabled=True, roles=APP, users={"alice": {"roles": ["app"]}}), "admin")
ROOTS = {"root": frozenset({"root"}), "admin": frozenset({"root"})}
STATES: Mapping[str, AuthState] = {
    "nothing": AuthState(False),
    "only root": AuthState(False, users={"root": frozenset()}),
    "on, and all else missing": AuthState(True, users=ROOTS),
    "role without permissions": AuthState(True, {"app": {}}, ROOTS),
    "other access": AuthState(True, {"app": {Span(b"/app/", b"/app0"): "read", Span(b"/k"): "readwrite"}}, ROOTS),
    "more permissions": AuthState(True, {"app": {Span(b"/x"): "read", Span(OPEN, OPEN): "readwrite"}}, ROOTS),
    "more roles": AuthState(
        True, {"app": {}, "ops": {}}, {**ROOTS, "alice": frozenset({"ops", "root"}), "root": frozenset({"root", "ops"})}
    ),
    "others": AuthState(True, {"ops": {Span(b"/x"): "read"}}, {**ROOTS, "carol": frozenset({"ops"})}),
    "killed while it was turned on": AuthState(True, users={**ROOTS, RESCUE: frozenset({"root"})}),
    "a name like an option": AuthState(True, {"-r": {}}, {**ROOTS, "-u": frozenset({"-r"})}),
}


@pytest.mark.parametrize("prune", [False, True])
@pytest.mark.parametrize("case", STATES)
def test_way(case: str, prune: bool) -> None:
    before = STATES[case]
    plan = plan_auth(WANTED, before, prune=prune)
    after = Etcd(before, "admin").play(plan)
    assert after.enabled
    assert {name: after.roles[name] for name in WANTED.roles} == WANTED.roles
    assert {name: after.users[name] for name in WANTED.users} == WANTED.users
    assert RESCUE not in after.users
    extra = {"carol", "-u"} & before.users.keys() | {"ops", "-r"} & before.roles.keys()
    if prune:
        assert (after.roles.keys(), after.users.keys()) == (WANTED.roles.keys(), WANTED.users.keys())
        assert not plan.warnings
    else:
        assert after.users.keys() - WANTED.users.keys() | after.roles.keys() - WANTED.roles.keys() == extra
        assert all(any(name in text for text in plan.warnings) for name in extra)
    again = plan_auth(WANTED, after, prune=prune)
    assert not again.changes
    assert not again.diff
    assert again.warnings == plan.warnings


def test_all_is_as_wanted_when_it_is_turned_on() -> None:
    before = AuthState(False, {"app": {Span(OPEN, OPEN): "readwrite"}}, {"alice": frozenset({"root"})})
    plan = plan_auth(WANTED, before)
    assert plan.turn_on
    assert plan.changes[-1] == "authentication is turned on"
    assert "role app: readwrite of all keys is removed" in plan.changes
    assert "user alice: role root is removed" in plan.changes


def test_off_comes_first_and_leaves_users() -> None:
    plan = plan_auth(wanted_auth(settings(enabled=False, roles=APP), "admin"), AuthState(True, users=ROOTS), prune=True)
    assert plan.turn_off
    assert plan.changes[0] == "authentication is turned off"
    after = Etcd(AuthState(True, users=ROOTS), "admin").play(plan)
    assert not after.enabled
    assert after.users == ROOTS


def test_left_as_it_is() -> None:
    wanted = wanted_auth(settings(roles=APP), "root")
    for enabled in (False, True):
        plan = plan_auth(wanted, AuthState(enabled, users={"root": frozenset({"root"})}))
        assert not plan.turn_on
        assert not plan.turn_off


def test_whom_certificates_name_is_not_removed() -> None:
    state = AuthState(True, users={**ROOTS, "old": frozenset({"root"})})
    assert (
        plan_auth(WANTED, state, prune=True, in_use=["old"]).changes
        == plan_auth(WANTED, AuthState(True, users=ROOTS)).changes
    )


def test_what_cannot_be_said_to_etcdctl_is_reported() -> None:
    state = AuthState(True, {"app": {**WANTED.roles["app"], Span(b"\xff"): "read"}}, WANTED.users)
    plan = plan_auth(WANTED, state)
    assert not plan.changes
    assert "etcdctl cannot remove it" in plan.warnings[0]


def test_passwords_come_with_the_user_and_are_mended() -> None:
    auth = settings(
        enabled=True,
        roles=APP,
        users={"bob": {"roles": ["app"], "password_env": "BOB"}, "root": {"roles": ["root"], "password_env": "ROOT"}},
    )
    wanted: WantedAuth = wanted_auth(auth, "root")
    new = plan_auth(wanted, AuthState(False))
    assert [one.text for one in new.operations if one.password_of] == ["user bob", "user root"]
    assert all("--interactive=false" in one.arguments for one in new.operations if one.password_of)
    there = AuthState(True, wanted.roles, wanted.users, {"bob": "right", "root": "right"})
    assert not plan_auth(wanted, there).changes
    wrong = plan_auth(wanted, AuthState(True, wanted.roles, wanted.users, {"bob": "wrong"}))
    assert wrong.changes == ("password of user bob is changed",)
    none = plan_auth(wanted, AuthState(True, wanted.roles, wanted.users, {"bob": "none", "root": "none"}))
    assert none.changes == ("user bob is removed", "user bob is added", "user bob: role app is added")
    assert "user root was made without a password" in none.warnings[0]


GOOD = (Proof("a", "admin"), Proof("b", "admin"))


@pytest.mark.parametrize(
    ("users", "proofs", "why"),
    [
        (ROOTS, GOOD, ""),
        ({"admin": frozenset({"root"})}, GOOD, "user root does not have role root"),
        ({**ROOTS, "admin": frozenset({"app"})}, GOOD, "user admin does not have role root"),
        (ROOTS, (*GOOD, Proof("c", "c.home.test")), "the client certificate on c names c.home.test, not admin"),
        (ROOTS, (*GOOD, Proof("c", "")), "the client certificate on c cannot be read"),
        (ROOTS, (*GOOD, Proof("c", "admin", "bad certificate")), "did not serve the client certificate on c: bad"),
        (ROOTS, (), "no host's client certificate was proven"),
    ],
)
def test_lockout(users: Mapping[str, frozenset[str]], proofs: tuple[Proof, ...], why: str) -> None:
    problems = lockout("admin", AuthState(False, users=users), proofs)
    assert bool(problems) == bool(why)
    assert why in "; ".join(problems)
