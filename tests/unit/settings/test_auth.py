"""Mistakes in the section ``auth`` are reported before any host is touched; what is sound is read as it was meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from etcdfleet.settings.load import open_nornir
from etcdfleet.settings.problems import SettingsError
from tests.unit.support.settings_files import write_inventory

AUTH = "groups/home/data/auth"
APP = {"app": [{"prefix": "/app/", "access": "readwrite"}]}


@dataclass(frozen=True)
class Case:
    """What is written into the section, and what must be said about it: key, what, remedy."""

    auth: Any
    key: str
    what: str
    remedy: str = ""
    more: Mapping[str, Any] | None = None


def role(*permissions: Mapping[str, Any], name: str = "app") -> dict[str, Any]:
    return {"roles": {name: list(permissions)}}


def user(name: str = "alice", /, **settings: Any) -> dict[str, Any]:
    return {"roles": APP, "users": {name: settings}}


CASES = {
    "access": Case(role({"access": "rw", "key": "/a"}), "auth.roles.app.access", "'rw' is not allowed"),
    "no place": Case(role({"access": "read"}), "auth.roles.app", "not exactly one of key, prefix and range"),
    "two places": Case(
        role({"access": "read", "key": "/a", "prefix": "/a"}), "auth.roles.app", "not exactly one of key"
    ),
    "empty key": Case(role({"access": "read", "key": ""}), "auth.roles.app.key", "is empty"),
    "range out of order": Case(role({"access": "read", "range": ["/b", "/a"]}), "auth.roles.app", "in order"),
    "range of three": Case(role({"access": "read", "range": ["/a", "/b", "/c"]}), "auth.roles.app", "in order"),
    "range from nothing": Case(
        role({"access": "read", "range": ["", "/a"]}), "auth.roles.app", "begins with an empty key", "prefix: ''"
    ),
    "zero byte": Case(role({"access": "read", "key": "a\0b"}), "auth.roles.app", "zero byte"),
    "same permission twice": Case(
        role({"access": "read", "key": "/a"}, {"access": "write", "key": "/a"}),
        "auth.roles.app",
        "two permissions on the same keys (key /a)",
        "readwrite is both",
    ),
    "a range that is a prefix": Case(
        role({"access": "read", "prefix": "/a"}, {"access": "write", "range": ["/a", "/b"]}),
        "auth.roles.app",
        "on the same keys (range /a to /b)",
    ),
    "role root": Case(role(name="root"), "auth.roles.root", "is etcd's own"),
    "role without a name": Case(role(name=" "), "auth.roles. ", "is empty"),
    "role with a line end": Case(role(name="a\nb"), "auth.roles.a\nb", "cannot be seen"),
    "user without a name": Case(user(""), "auth.users.", "the name of user '' is empty"),
    "user with spaces": Case(user(" alice"), "auth.users. alice", "spaces around it"),
    "user of the runbooks": Case(user("etcdfleet-rescue"), "auth.users.etcdfleet-rescue", "users of their own"),
    "user named as a member": Case(
        user("b.home.test"), "auth.users.b.home.test", "anyone with a key of that member could be this user"
    ),
    "user too long for a certificate": Case(
        user("a" * 65), f"auth.users.{'a' * 65}", "too long for the common name", "64 characters, or set password_env"
    ),
    "colon and password": Case(
        user("a:b", password_env="A_B"),
        "auth.users.a:b",
        "after a colon",
    ),
    "password itself": Case(
        user(password_env="s3cret!"),
        "auth.users.alice.password_env",
        "a password itself does not belong in the inventory",
    ),
    "unknown role": Case(
        user(roles=["ap"]), "auth.users.alice.roles", "has role ap, which is not among", "one of: app, root"
    ),
    "role twice": Case(user(roles=["app", "app"]), "auth.users.alice.roles", "has role app more than once"),
    "root without root": Case(user("root", roles=["app"]), "auth.users.root.roles", "all would be locked out"),
    "client certificate's user without root": Case(
        user("ops", roles=["app"]),
        "auth.users.ops.roles",
        "etcdctl on the hosts acts as user ops",
        "add root",
        {"defaults/data/pki/client_common_name": "ops"},
    ),
    "life beyond the limit": Case(
        {"certificate_ttl": "9000h"}, "auth.certificate_ttl", "longer than certificate_max_ttl"
    ),
    "without client TLS": Case(
        {"enabled": True}, "auth.enabled", "while client_tls is off", "", {"groups/home/data/cluster/client_tls": False}
    ),
    "with the gateway": Case(
        {"enabled": True},
        "cluster.gateway",
        "exclude each other for every client",
        "gateway: false",
        {
            "groups/home/data/cluster/gateway": True,
            "defaults/data/pki/roles/server": {"name": "s", "usages": ["server", "client"]},
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_mistake(case: str, tmp_path: Path) -> None:
    one = CASES[case]
    with pytest.raises(SettingsError) as caught:
        open_nornir(write_inventory(tmp_path, {AUTH: one.auth, **(one.more or {})}))
    found = [problem for problem in caught.value.problems if problem.key == one.key]
    assert len(found) == 1, "each mistake is reported once, though three hosts have it"
    assert one.what in found[0].what
    assert one.remedy in found[0].remedy
    assert "groups.yaml:" in found[0].where or one.more
    others = {problem.key for problem in caught.value.problems} - {one.key}
    assert not others


def test_members_that_differ(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        open_nornir(write_inventory(tmp_path, {AUTH: {"enabled": True}, "hosts/b/data/auth": {"enabled": False}}))
    assert [problem.key for problem in caught.value.problems] == ["auth"]
    assert "members of cluster home differ" in caught.value.problems[0].what


def test_a_user_named_twice(tmp_path: Path) -> None:
    config = write_inventory(tmp_path, {AUTH: user("alice", roles=["app"])})
    groups = tmp_path / "groups.yaml"
    groups.write_text(groups.read_text().replace("        alice:\n", "        alice: {roles: []}\n        alice:\n"))
    with pytest.raises(SettingsError) as caught:
        open_nornir(config)
    assert any("alice" in problem.key or "alice" in problem.what for problem in caught.value.problems)
    assert "twice" in str(caught.value)


def test_sound(tmp_path: Path) -> None:
    edits = {
        AUTH: {
            "enabled": True,
            "roles": {"app": [{"prefix": "", "access": "read"}, {"range": ["/a", "/b"], "access": "write"}], "no": []},
            "users": {
                "alice@example.org": {"roles": ["app", "root"]},
                "system:kube-apiserver": {},
                "bob": {"password_env": "ETCD_PASSWORD_BOB"},
                "root": {"roles": ["root"]},
            },
            "certificate_ttl": "24h",
        }
    }
    _, fleet = open_nornir(write_inventory(tmp_path, edits))
    auth = fleet.hosts["a"].auth
    assert auth.managed
    assert auth.enabled
    assert [each.span for each in auth.roles["app"]] == [(b"\0", b"\0"), (b"/a", b"/b")]
    assert auth.users["alice@example.org"].roles == ("app", "root")
    assert auth.certificate_ttl == timedelta(days=1)


@pytest.mark.parametrize(("value", "enabled"), [(True, True), (False, False)])
def test_short_form(tmp_path: Path, value: bool, enabled: bool) -> None:
    _, fleet = open_nornir(write_inventory(tmp_path, {AUTH: value}))
    assert fleet.hosts["a"].auth.enabled is enabled


def test_nothing_is_managed_unless_it_says_so(tmp_path: Path) -> None:
    _, fleet = open_nornir(write_inventory(tmp_path, {AUTH: {"certificate_ttl": "24h"}}))
    assert not fleet.hosts["a"].auth.managed
