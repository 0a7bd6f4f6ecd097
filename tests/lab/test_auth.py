"""Roles, users and authentication on clusters of etcd 3.4 (three members) and 3.5, tried from outside by etcdctl."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab import releases
from tests.lab.conftest import LabHandle, sourced
from tests.lab.deploy_helpers import (
    CERTS,
    TOPOLOGIES,
    Outcome,
    deploy,
    inventory_variant,
    members,
    on_host,
    output,
    own_lab,
    start_times,
)

CLUSTERS = ("auth-sd", "auth-rc")
on_one = pytest.mark.parametrize(
    "cluster",
    [
        CLUSTERS[0],
        pytest.param(
            CLUSTERS[1],
            marks=pytest.mark.thorough(
                "lab/test_auth.py::test_deploy_turns_it_on_and_a_second_run_changes_nothing",
                "lab/test_auth.py::test_reader_reads_its_prefix_and_nothing_else",
                "lab/test_versions.py::test_a_rolling_change_and_authentication",
            ),
        ),
    ],
)
# What no version of etcd has a say in is tried on one of them.
systemd, openrc = (pytest.mark.parametrize("cluster", [name]) for name in CLUSTERS)
PASSWORD = "gr8-$ecret-'of'-\"bob\""
BOB = {"ETCD_PASSWORD_BOB": PASSWORD}
AUTH: dict[str, Any] = {
    "enabled": True,
    "roles": {
        "reader": [{"prefix": "/app/", "access": "read"}],
        "writer": [{"prefix": "/app/", "access": "readwrite"}, {"range": ["/a", "/b"], "access": "write"}],
    },
    "users": {"alice": {"roles": ["reader"]}, "bob": {"roles": ["writer"], "password_env": "ETCD_PASSWORD_BOB"}},
}
NOBODY = "--user=nobody:whatever"


@pytest.fixture(scope="module")
def lab_up(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    with own_lab("test-auth", TOPOLOGIES / "auth.yaml") as handle:
        yield handle


def variant(handle: LabHandle, folder: Path, *, common_name: str = "root", **auth: Any) -> Path:
    """The lab's configuration with the section auth for both clusters, some of its keys changed."""

    def edit(files: dict[str, Any]) -> None:
        for cluster in CLUSTERS:
            data = files["inventory/groups.yaml"][cluster]["data"]
            data["auth"] = {**AUTH, **auth}
            data.setdefault("pki", {})["client_common_name"] = common_name

    return inventory_variant(handle, folder, edit)


@pytest.fixture(scope="module")
def config(lab_up: LabHandle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return variant(lab_up, tmp_path_factory.mktemp("auth"))


@pytest.fixture(scope="module")
def preview(lab_up: LabHandle, config: Path) -> Outcome:
    """What ``deploy --check`` says of hosts on which there is nothing yet."""
    return deploy(lab_up, "--check", "--diff", config=config, env=BOB)


@pytest.fixture(scope="module")
def lab(lab_up: LabHandle, config: Path) -> LabHandle:
    """Both clusters, deployed with authentication on from the first run."""
    outcome = deploy(lab_up, config=config, env=BOB)
    assert outcome.exit_code == 0, outcome.text
    for cluster in CLUSTERS:
        output(lab_up, members(lab_up, cluster)[0], as_root("etcdctl put /app/x 1 && etcdctl put /other 2"))
    return lab_up


def setup_auth(handle: LabHandle, config: Path, *args: str, env: Mapping[str, str | None] = BOB) -> Outcome:
    return deploy(handle, *args, config=config, env=env, runbook="setup_auth")


def as_root(command: str) -> str:
    """Shell: as a person who became root by ``sudo -i`` or logged in as root."""
    return f"sh -lc {shlex.quote(command)}"


def is_on(handle: LabHandle, cluster: str) -> bool:
    """Whether a login with a wrong password is refused, which it is only while authentication is on."""
    done = on_host(handle, members(handle, cluster)[0], as_root(f"etcdctl {NOBODY} user list"))
    assert (done.returncode == 0) != ("authentication failed" in done.stderr), done.stderr
    return done.returncode != 0


def users(handle: LabHandle, cluster: str) -> list[str]:
    return output(handle, members(handle, cluster)[0], as_root("etcdctl user list")).split()


def roles_of(handle: LabHandle, cluster: str, user: str) -> list[str]:
    told = output(handle, members(handle, cluster)[0], as_root(f"etcdctl -w json user get {user}"))
    return list(json.loads(told).get("roles", []))


class Client:
    """etcdctl on the controller, with the files that ``client_cert.py`` wrote."""

    def __init__(self, handle: LabHandle, cluster: str, name: str, out: Path, config: Path, *args: str) -> None:
        self.name, self.folder = name, out
        argv = (name, "--cluster", cluster, "--out", str(out), *args)
        self.outcome = deploy(handle, *argv, config=config, runbook="client_cert")
        assert self.outcome.exit_code == 0, self.outcome.text
        self.env = sourced(out / f"{name}.env")
        # One member: some of etcdctl's commands take no more.
        self.env["ETCDCTL_ENDPOINTS"] = self.env["ETCDCTL_ENDPOINTS"].split(",")[-1]

    def __call__(self, *args: str) -> subprocess.CompletedProcess[str]:
        argv = [str(releases.binary("etcdctl")), "--command-timeout=5s", *args]
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=30, check=False)

    def may(self, *args: str) -> bool:
        """Whether etcd did it, or refused it for want of permission; anything else fails the test."""
        done = self(*args)
        assert done.returncode == 0 or "permission denied" in done.stderr, done.stderr
        return done.returncode == 0


@pytest.mark.thorough(
    "unit/etcd/test_auth.py::test_way",
    "unit/etcd/test_auth.py::test_all_is_as_wanted_when_it_is_turned_on",
    "unit/plays/test_access.py::test_what_is_still_to_change_proves_nothing_yet",
)
def test_check_says_what_would_be_made(lab_up: LabHandle, preview: Outcome) -> None:
    assert preview.exit_code == 0, preview.text
    for cluster in CLUSTERS:
        first = members(lab_up, cluster)[0]
        changes = preview.step(first, "auth")["changes"]
        assert "role reader: read of prefix /app/ is added" in changes
        assert "user root: role root is added" in changes
        assert changes[-1] == "authentication is turned on"
        assert "+ user alice: role reader" in preview.step(first, "auth")["diff"]


@on_one
def test_deploy_turns_it_on_and_a_second_run_changes_nothing(lab: LabHandle, config: Path, cluster: str) -> None:
    assert is_on(lab, cluster)
    assert users(lab, cluster) == ["alice", "bob", "root"]
    assert roles_of(lab, cluster, "bob") == ["writer"]
    before = start_times(lab)
    for runbook in ("deploy", "setup_auth"):
        again = deploy(lab, "--cluster", cluster, config=config, env=BOB, runbook=runbook)
        assert again.exit_code == 0, again.text
        assert again.changed == dict.fromkeys(again.changed, 0), again.text
    assert start_times(lab) == before


def test_root_works_on_every_host(lab: LabHandle) -> None:
    for cluster, login in (("auth-sd", "sudo -i"), ("auth-rc", "sh -l -c")):
        for name in members(lab, cluster):
            for command in ("etcdctl put /root/was/here yes", "etcdctl user list", "etcdctl endpoint health"):
                done = lab.ssh(name, f"{login} {command if cluster == 'auth-sd' else shlex.quote(command)}")
                assert done.returncode == 0, f"{name}: {command}: {done.stderr}"


@on_one
def test_reader_reads_its_prefix_and_nothing_else(lab: LabHandle, config: Path, cluster: str, tmp_path: Path) -> None:
    alice = Client(lab, cluster, "alice", tmp_path / "alice", config)
    got = alice("get", "/app/x", "--print-value-only")
    assert got.stdout == "1\n", got.stderr
    assert alice.may("get", "--prefix", "/app/")
    for refused in (
        ["put", "/app/x", "2"],
        ["del", "/app/x"],
        ["get", "/other"],
        ["get", "/app"],
        ["get", "--prefix", "/ap"],
        ["get", "--prefix", ""],
        ["get", "--from-key", "/app/"],
        ["put", "/other", "2"],
        ["user", "list"],
        ["user", "add", "eve", "--no-password"],
        ["user", "grant-role", "alice", "root"],
        ["role", "grant-permission", "reader", "readwrite", "/app/"],
        ["auth", "disable"],
        ["snapshot", "save", str(tmp_path / "stolen")],
    ):
        assert not alice.may(*refused), refused
    assert "writer" not in roles_of(lab, cluster, "alice")


@systemd
def test_what_client_cert_writes(lab: LabHandle, config: Path, cluster: str, tmp_path: Path) -> None:
    alice = Client(lab, cluster, "alice", tmp_path / "deep" / "alice", config, "--ttl", "2h")
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (alice.folder, *alice.folder.iterdir())}
    assert modes == {
        "alice": "0o700",
        "alice.key": "0o600",
        "alice.pem": "0o644",
        "alice.env": "0o644",
        "ca.pem": "0o644",
    }
    shown = subprocess.run(
        ["openssl", "x509", "-in", str(alice.folder / "alice.pem"), "-noout", "-subject", "-ext", "extendedKeyUsage"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "CN = alice" in shown
    assert "TLS Web Client Authentication" in shown
    assert "TLS Web Server Authentication" not in shown
    assert "export ETCDCTL_CERT=" in alice.outcome.stdout
    assert "PRIVATE KEY" not in alice.outcome.text + alice.outcome.log + json.dumps(alice.outcome.report)
    before = (alice.folder / "alice.pem").read_text()
    again = Client(lab, cluster, "alice", alice.folder, config, "--yes")
    assert (alice.folder / "alice.pem").read_text() != before
    assert again.may("get", "/app/x")


@openrc
def test_who_is_no_user_is_refused(lab: LabHandle, config: Path, cluster: str, tmp_path: Path) -> None:
    stranger = Client(lab, cluster, "alicia", tmp_path / "alicia", config)
    assert any(
        "alicia is not among auth.users (did you mean alice?)" in w["text"] for w in stranger.outcome.report["warnings"]
    )
    assert not stranger.may("get", "/app/x")
    # A certificate of a member is none of a user either.
    fqdn = lab.plan.host(members(lab, cluster)[0]).fqdn
    pair = f"ETCDCTL_CERT={CERTS}/server/{fqdn}.pem ETCDCTL_KEY={CERTS}/server/{fqdn}.key"
    done = on_host(lab, members(lab, cluster)[0], as_root(f"{pair} etcdctl --command-timeout=3s get /app/x"))
    assert done.returncode != 0
    assert done.stdout == ""


@openrc
def test_a_user_with_a_password(lab: LabHandle, config: Path, cluster: str, tmp_path: Path) -> None:
    alice = Client(lab, cluster, "alice", tmp_path / "alice", config)
    bob = ("--user=bob", f"--password={PASSWORD}")
    assert alice.may(*bob, "put", "/app/y", "3")
    assert alice.may(*bob, "put", "/aa", "3")
    assert not alice.may(*bob, "get", "/aa")
    assert not alice.may(*bob, "put", "/b", "3")
    assert "authentication failed" in alice("--user=bob", "--password=other", "get", "/app/y").stderr
    # Another one in the environment is noticed, and set; back again.
    other = {"ETCD_PASSWORD_BOB": "another-1"}
    changed = setup_auth(lab, config, "--cluster", cluster, env=other)
    assert changed.exit_code == 0, changed.text
    assert changed.step(members(lab, cluster)[0], "auth")["changes"] == ["password of user bob is changed"]
    assert alice.may("--user=bob", "--password=another-1", "put", "/app/y", "4")
    without = setup_auth(lab, config, "--cluster", cluster, env={"ETCD_PASSWORD_BOB": None})
    assert without.exit_code == 0, without.text
    assert without.changed == dict.fromkeys(without.changed, 0)
    assert any("password of user bob was not looked at" in warning["text"] for warning in without.report["warnings"])
    back = setup_auth(lab, config, "--cluster", cluster)
    assert alice.may(*bob, "put", "/app/y", "5")
    for outcome in (changed, back):
        for secret in ("another-1", PASSWORD):
            assert secret not in outcome.text + outcome.log + json.dumps(outcome.report) + json.dumps(outcome.events)


@pytest.mark.parametrize(
    "cluster",
    [
        pytest.param(
            CLUSTERS[0],
            marks=pytest.mark.thorough(
                "lab/test_auth.py::test_what_is_not_in_the_inventory",
                "unit/etcd/test_auth.py::test_way",
                "unit/etcd/test_auth.py::test_permissions",
                "unit/etcd/test_auth.py::test_roles_of_users",
            ),
        ),
        CLUSTERS[1],
    ],
)
def test_what_is_not_in_the_inventory(lab: LabHandle, config: Path, cluster: str, tmp_path: Path) -> None:
    first = members(lab, cluster)[0]
    for command in (
        "user add mallory --no-password",
        "role add all",
        'role grant-permission all readwrite --prefix=true ""',
        "user grant-role mallory all",
        "user grant-role mallory root",
        'role grant-permission reader readwrite --prefix=true ""',
        "user grant-role alice all",
    ):
        output(lab, first, as_root(f"etcdctl {command}"))
    alice = Client(lab, cluster, "alice", tmp_path / "alice", config)
    assert alice.may("put", "/other", "2"), "the test's own premise"
    outcome = deploy(lab, "--cluster", cluster, config=config, env=BOB)
    assert outcome.exit_code == 0, outcome.text
    assert outcome.step(first, "auth")["changes"] == [
        "role reader: readwrite of all keys is removed",
        "user alice: role all is removed",
    ]
    assert not alice.may("put", "/other", "2")
    assert alice.may("get", "/app/x")
    said = [warning["text"] for warning in outcome.report["warnings"]]
    assert any(text.startswith("user mallory is in etcd and not in the inventory") for text in said), said
    assert any(text.startswith("role all is in etcd and not in the inventory") for text in said), said
    assert "mallory" in users(lab, cluster)
    mallory = Client(lab, cluster, "mallory", tmp_path / "mallory", config)
    assert mallory.may("put", "/other", "3"), "not removed without being asked to"
    preview = setup_auth(lab, config, "--cluster", cluster, "--prune", "--check")
    assert preview.step(first, "auth")["changes"] == ["user mallory is removed", "role all is removed"]
    assert "mallory" in users(lab, cluster)
    pruned = setup_auth(lab, config, "--cluster", cluster, "--prune")
    assert pruned.exit_code == 0, pruned.text
    assert users(lab, cluster) == ["alice", "bob", "root"]
    assert not mallory.may("get", "/other")
    again = setup_auth(lab, config, "--cluster", cluster, "--prune")
    assert again.changed == dict.fromkeys(again.changed, 0), again.text


@pytest.mark.thorough(
    "lab/test_auth.py::test_locking_oneself_out_is_refused",
    "lab/test_auth.py::test_it_is_turned_off_again_when_certificates_are_not_obeyed",
    "unit/etcd/test_auth.py::test_off_comes_first_and_leaves_users",
)
@openrc
def test_off_and_on_again(lab: LabHandle, config: Path, cluster: str, tmp_path: Path) -> None:
    alice = Client(lab, cluster, "alice", tmp_path / "alice", config)
    off = setup_auth(lab, variant(lab, tmp_path, enabled=False), "--cluster", cluster)
    assert off.exit_code == 0, off.text
    assert off.step(members(lab, cluster)[0], "auth")["changes"] == ["authentication is turned off"]
    assert not is_on(lab, cluster)
    assert alice.may("put", "/other", "4")
    assert users(lab, cluster) == ["alice", "bob", "root"], "they stay for the next time"
    on = deploy(lab, "--cluster", cluster, config=config, env=BOB)
    assert on.exit_code == 0, on.text
    assert on.step(members(lab, cluster)[0], "auth")["changes"] == ["authentication is turned on"]
    assert is_on(lab, cluster)
    assert not alice.may("put", "/other", "4")
    assert users(lab, cluster) == ["alice", "bob", "root"]


@systemd
def test_locking_oneself_out_is_refused(lab: LabHandle, config: Path, cluster: str, tmp_path: Path) -> None:
    """The hosts' certificates name root; the inventory says ops."""
    assert setup_auth(lab, variant(lab, tmp_path, enabled=False), "--cluster", cluster).exit_code == 0
    for check in ((), ("--check",)):
        refused = setup_auth(lab, variant(lab, tmp_path, common_name="ops"), "--cluster", cluster, *check)
        assert refused.exit_code == 3, refused.text
        assert (
            f"the client certificate on {members(lab, cluster)[0]} names root, not ops"
            in refused.report["protections"][0]["what"]
        )
        assert not is_on(lab, cluster)
        assert users(lab, cluster) == ["alice", "bob", "root"], "nothing was changed"
    assert deploy(lab, "--cluster", cluster, config=config, env=BOB).exit_code == 0
    assert is_on(lab, cluster)


@systemd
def test_the_hosts_own_user_is_renamed_while_it_is_on(
    lab: LabHandle, config: Path, cluster: str, tmp_path: Path
) -> None:
    first = members(lab, cluster)[0]
    ops = variant(lab, tmp_path, common_name="ops")
    outcome = deploy(lab, "--cluster", cluster, config=ops, env=BOB)
    assert outcome.exit_code == 0, outcome.text
    for name in members(lab, cluster):
        assert "CN = ops" in output(lab, name, as_root("openssl x509 -noout -subject -in $ETCDCTL_CERT"))
        assert output(lab, name, as_root("etcdctl user list")).split() == ["alice", "bob", "ops", "root"]

    # Without a section auth nobody makes the user: the certificates that would lock everybody out are not placed.
    def edit(files: dict[str, Any]) -> None:
        data = files["inventory/groups.yaml"][cluster]["data"]
        del data["auth"]
        data["pki"]["client_common_name"] = "zed"

    unmanaged = inventory_variant(_Folder(lab, ops), tmp_path, edit)
    refused = deploy(lab, "--cluster", cluster, config=unmanaged)
    assert refused.exit_code == 3, refused.text
    assert "zed" in refused.report["protections"][0]["what"]
    output(lab, first, as_root("etcdctl user list"))
    back = deploy(lab, "--cluster", cluster, config=config, env=BOB)
    assert back.exit_code == 0, back.text
    assert setup_auth(lab, config, "--cluster", cluster, "--prune").exit_code == 0
    assert users(lab, cluster) == ["alice", "bob", "root"]


class _Folder(LabHandle):
    """The lab with another configuration as the one to make variants of."""

    def __init__(self, handle: LabHandle, config: Path) -> None:
        super().__init__(handle.name, config.parent, handle.env)


def test_it_is_turned_off_again_when_certificates_are_not_obeyed(lab: LabHandle, config: Path, tmp_path: Path) -> None:
    """A member that takes no names from certificates: authentication would be on, and nobody could turn it off."""
    (name,) = members(lab, "auth-rc")
    assert setup_auth(lab, variant(lab, tmp_path, enabled=False), "--cluster", "auth-rc").exit_code == 0
    restart = "rc-service etcd restart >/dev/null 2>&1"
    wait = "for i in $(seq 60); do etcdctl endpoint health >/dev/null 2>&1 && exit 0; sleep 0.5; done; exit 1"
    edit = "sed -i 's/client-cert-auth: true/client-cert-auth: false/' /etc/etcd/conf.yml"
    output(lab, name, f"cp -p /etc/etcd/conf.yml /root/ && {edit} && {restart}")
    output(lab, name, as_root(wait))
    refused = setup_auth(lab, config, "--cluster", "auth-rc")
    assert refused.exit_code == 3, refused.text
    assert "was turned off again" in refused.report["protections"][0]["what"]
    assert not is_on(lab, "auth-rc")
    assert users(lab, "auth-rc") == ["alice", "bob", "root"], "and nothing is left of the way back"
    output(lab, name, f"mv /root/conf.yml /etc/etcd/conf.yml && {restart}")
    output(lab, name, as_root(wait))
    mended = deploy(lab, "--cluster", "auth-rc", config=config, env=BOB)
    assert mended.exit_code == 0, mended.text
    assert is_on(lab, "auth-rc")
