"""What a person sees when a first deploy cannot be done: which host, what, and how to mend it; and nothing is changed.

The hosts of the cluster f-new are never deployed, so each test can compare all that a deploy could change on them.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lab import faketime, pki, vault
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import (
    FILES,
    TOPOLOGIES,
    Outcome,
    begin_deploy,
    deploy,
    etcd_processes,
    inventory_variant,
    on_host,
    output,
    own_lab,
    unhealthy,
    wait_for,
)
from tests.lab.fault_helpers import blocks, failure, traces
from tests.lab.rotate_helpers import reach, seen, standing_still

NEW = ("f-new-1", "f-new-2", "f-new-3")
DEFAULTS, GROUPS, HOSTS = FILES[1:]
LATER = ("install", "trust", "certificates", "configure", "start", "auth", "verify")
Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def faults(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    """Hosts that no deploy has touched."""
    with own_lab("f-faults", TOPOLOGIES / "faults.yaml") as handle:
        yield handle


@pytest.fixture(scope="module")
def untouched(faults: LabHandle) -> dict[str, list[str]]:
    """All that a deploy could change on the hosts of f-new, before any test."""
    return {host: traces(faults, host) for host in NEW}


@pytest.fixture
def refused(faults: LabHandle, untouched: dict[str, list[str]]) -> Callable[..., Outcome]:
    """Deploys to f-new; checks that nothing was changed on its hosts, and that the report says so of each step."""

    def run(env: Mapping[str, str | None] | None = None, config: Path | None = None) -> Outcome:
        outcome = deploy(faults, "--cluster", "f-new", env=env, config=config)
        assert outcome.failed, outcome.text
        for host in NEW:
            assert traces(faults, host) == untouched[host]
            steps = {name: outcome.step(host, name)["status"] for name in LATER}
            assert steps == dict.fromkeys(LATER, "skipped"), outcome.text
        return outcome

    return run


def known_hosts_variant(faults: LabHandle, tmp_path: Path, change: Callable[[str], str]) -> Path:
    """A configuration with a copy of known_hosts in which the lines of f-new-2 were changed."""
    address = faults.plan.host("f-new-2").address
    lines = (faults.dir / "known_hosts").read_text().splitlines(keepends=True)
    copy = tmp_path / "known_hosts"
    copy.write_text("".join(change(line) if line.split(",")[0] == address else line for line in lines))

    def edit(files: dict[str, Any]) -> None:
        files[DEFAULTS]["connection_options"]["netmiko"]["extras"]["alt_key_file"] = str(copy)

    return inventory_variant(faults, tmp_path, edit)


# ---- SSH ------------------------------------------------------------------------------------------------------------


@pytest.mark.thorough(
    "lab/test_logins.py::test_login",
    "unit/remote/test_explain.py::test_a_failed_login_says_what_is_wrong_and_what_helps",
    "lab/test_failures.py::test_wrong_dns",
)
def test_unknown_host_key(faults: LabHandle, refused: Callable[..., Outcome], tmp_path: Path) -> None:
    """known_hosts knows nothing of one host: it is not trusted, and the command that accepts its key is given.

    The others' preflight stands, and nothing is changed on them either.
    """
    outcome = refused(config=known_hosts_variant(faults, tmp_path, lambda _: ""))
    block = failure(outcome, "f-new-2", "preflight")
    assert "key is unknown" in block.what
    assert f"ssh-keyscan -p 22 {faults.plan.host('f-new-2').address} >> {tmp_path}/known_hosts" in block.remedy
    assert outcome.failed == ["f-new-2"]
    assert outcome.step("f-new-1", "preflight")["status"] == "ok"


@pytest.mark.thorough(
    "lab/test_logins.py::test_login",
    "unit/remote/test_host_keys.py::test_a_key_is_judged_by_the_lines_for_its_host",
)
def test_changed_host_key(faults: LabHandle, refused: Callable[..., Outcome], tmp_path: Path) -> None:
    """known_hosts has another key for one host, as when a machine in between answers: refused, with the way out."""
    foreign = next(line for line in (faults.dir / "known_hosts").read_text().splitlines() if "f-new-1" in line)
    key = foreign.split(" ", 1)[1]
    config = known_hosts_variant(faults, tmp_path, lambda line: f"{line.split(' ')[0]} {key}\n")
    block = failure(refused(config=config), "f-new-2", "preflight")
    assert "not the one in known_hosts" in block.what
    assert f"ssh-keygen -f {tmp_path}/known_hosts -R" in block.remedy


@pytest.mark.thorough(
    "lab/test_logins.py::test_login",
    "unit/remote/test_explain.py::test_a_failed_login_says_what_is_wrong_and_what_helps",
)
def test_login_refused(faults: LabHandle, refused: Callable[..., Outcome], tmp_path: Path) -> None:
    """A user that one host does not know: login refused, by name, with what to try."""

    def edit(files: dict[str, Any]) -> None:
        files[HOSTS]["f-new-2"]["username"] = "nobody-there"

    block = failure(refused(config=inventory_variant(faults, tmp_path, edit)), "f-new-2", "preflight")
    assert "login refused" in block.what
    assert "username" in block.remedy


# ---- Vault ----------------------------------------------------------------------------------------------------------


def assert_all_failed(outcome: Outcome, *words: str) -> None:
    """Each host of f-new failed in the preflight, for a reason with these words in it, and with a remedy."""
    for host in NEW:
        block = failure(outcome, host, "preflight")
        assert [word for word in words if word not in f"{block.what} {block.remedy}"] == [], outcome.text


@pytest.mark.thorough(
    "unit/vault/test_client.py::test_no_token",
    "unit/tasks/test_preflight.py::test_one_thing_is_said_as_it_is",
    "lab/test_failures.py::test_several_faults_at_once",
)
def test_no_token(refused: Callable[..., Outcome], tmp_path: Path) -> None:
    """No way to log in to Vault is set, nor ~/.vault-token there: all the ways to give one are named."""
    ways = ("VAULT_TOKEN", "VAULT_TOKEN_FILE", "VAULT_ROLE_ID", "VAULT_SECRET_ID")
    outcome = refused(env={"HOME": str(tmp_path), **dict.fromkeys(ways)})
    assert_all_failed(outcome, *ways, "~/.vault-token")


@pytest.mark.thorough(
    "unit/vault/test_client.py::test_a_token_without_the_right_and_a_wrong_token_are_told_apart",
    "unit/program/test_main.py::test_secrets_are_nowhere",
    "lab/test_failures.py::test_several_faults_at_once",
)
def test_wrong_token(refused: Callable[..., Outcome]) -> None:
    """A token that Vault does not know: said so, without showing it."""
    outcome = refused(env={"VAULT_TOKEN": "s.thisIsNotTheTokenYouWant"})
    assert_all_failed(outcome, "does not accept the token from VAULT_TOKEN")
    assert "thisIsNot" not in outcome.text + outcome.log


@pytest.mark.thorough(
    "lab/test_failures.py::test_several_faults_at_once",
    "unit/vault/test_client.py::test_sealed_and_killed",
)
def test_sealed(faults: LabHandle, refused: Callable[..., Outcome]) -> None:
    """Vault has been restarted and nobody has unsealed it."""
    vault.seal(faults.plan)
    try:
        assert_all_failed(refused(), "Vault is sealed", "operator unseal")
    finally:
        vault.unseal(faults.plan)


@pytest.mark.thorough(
    "unit/vault/test_client.py::test_sealed_and_killed",
    "lab/test_failures.py::test_several_faults_at_once",
)
def test_vault_unreachable(faults: LabHandle, refused: Callable[..., Outcome]) -> None:
    """Nothing listens at Vault's address."""
    address = f"https://{faults.plan.address}:8299"
    assert_all_failed(refused(env={"VAULT_ADDR": address}), "nothing listens", "VAULT_ADDR")


@pytest.mark.thorough(
    "unit/vault/test_client.py::test_what_does_not_pass_ends_with_words",
    "lab/test_failures.py::test_several_faults_at_once",
)
def test_vault_does_not_answer(faults: LabHandle, refused: Callable[..., Outcome]) -> None:
    """Vault's address is one of a machine that is off: bounded, and said."""
    address = f"https://{list(faults.plan.subnet.hosts())[-1]}:8200"
    assert_all_failed(refused(env={"VAULT_ADDR": address}), "Vault", "VAULT_ADDR")


@pytest.mark.thorough(
    "unit/vault/test_client.py::test_tls_that_cannot_be_trusted",
    "unit/vault/test_connection.py::test_trust",
)
def test_wrong_authority(refused: Callable[..., Outcome], tmp_path: Path) -> None:
    """VAULT_CACERT is of another CA: the connection is not trusted, so no token is sent."""
    assert_all_failed(
        refused(env={"VAULT_CACERT": None, "HOME": str(tmp_path)}), "not trustworthy", "VAULT_CACERT to the CA"
    )


def role_variant(handle: LabHandle, tmp_path: Path, cluster: str, role: str, name: str) -> Path:
    """A configuration in which a role of a cluster has another name in Vault."""

    def edit(files: dict[str, Any]) -> None:
        files[GROUPS][cluster]["data"]["pki"]["roles"][role]["name"] = name

    return inventory_variant(handle, tmp_path, edit)


def token(handle: LabHandle, policy: str, *more: str) -> str:
    """A token with a policy of its own, and ``more`` that there are."""
    root = vault.client(handle.plan)
    root.sys.create_or_update_policy("of-a-test", policy)
    made: dict[str, Any] = root.auth.token.create(policies=["of-a-test", *more], ttl="1h")
    return str(made["auth"]["client_token"])


@pytest.mark.thorough(
    "unit/vault/test_client.py::test_access_is_asked_before_it_is_needed",
    "unit/drivers/certificates/test_vault.py::test_a_token_that_may_not_use_a_role_is_told_what_it_lacks",
)
def test_role_the_token_may_not_use(faults: LabHandle, refused: Callable[..., Outcome], tmp_path: Path) -> None:
    """The inventory names a role that the deploy's token has no right to: the policy it would take is shown."""
    outcome = refused(config=role_variant(faults, tmp_path, "f-new", "peer", "no-such-role"))
    assert_all_failed(outcome, "may not", "pki_etcd_f-new_peer/sign/no-such-role", "capabilities")


@pytest.mark.thorough(
    "unit/vault/test_client.py::test_what_a_role_refuses_is_passed_on",
    "unit/drivers/certificates/test_vault.py::test_a_role_that_is_not_there_is_named_beside_those_that_are",
)
def test_role_that_does_not_exist(faults: LabHandle, refused: Callable[..., Outcome], tmp_path: Path) -> None:
    """The same with a token that may do everything: Vault has no such role."""
    config = role_variant(faults, tmp_path, "f-new", "peer", "no-such-role")
    outcome = refused(env={"VAULT_TOKEN": vault.client(faults.plan).token}, config=config)
    assert_all_failed(outcome, "no role 'no-such-role'", "the roles there are: ", "pki.roles.")


WRONG_USAGE = {"server_flag": True, "client_flag": False, "ext_key_usage": ["ServerAuth"]}


def changed_role(handle: LabHandle, mount: str, usual: str, name: str, **changes: Any) -> str:
    """Makes a role like the ``usual`` one of a mount but for these parameters; returns its name."""
    root = vault.client(handle.plan)
    root.write_data(f"{mount}/roles/{name}", data={**root.read(f"{mount}/roles/{usual}")["data"], **changes})
    return name


OTHER_ROLES = pytest.mark.thorough(
    "unit/drivers/certificates/test_vault.py::test_a_role_for_something_else_is_refused",
    "lab/test_failures.py::test_role_for_something_else",
)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param(WRONG_USAGE, ("issues certificates for server", "server and client"), marks=OTHER_ROLES),
        ({"allowed_domains": ["f-new-1.faults.home"]}, ("does not sign for HOST", "it allows f-new-1.faults.home")),
        pytest.param({"allow_ip_sans": False}, ("it signs for no IP address", "allow_ip_sans"), marks=OTHER_ROLES),
    ],
)
def test_role_for_something_else(
    faults: LabHandle, refused: Callable[..., Outcome], tmp_path: Path, changes: dict[str, Any], words: Sequence[str]
) -> None:
    """A role for another usage or for other names, and the token may read what it is: seen before any change."""
    mount = pki.side_mount("f-new", "peer")
    role = changed_role(faults, mount, "f-new-server-crt", "f-new-server-only-crt", **changes)
    rights = f'path "{mount}/sign/{role}" {{ capabilities = ["update"] }}\n'
    rights += f'path "{mount}/roles/{role}" {{ capabilities = ["read"] }}\n'
    env = {"VAULT_TOKEN": token(faults, rights, pki.POLICY)}
    outcome = refused(env=env, config=role_variant(faults, tmp_path, "f-new", "peer", role))
    if "allowed_domains" in changes:  # the first member's name is allowed
        assert set(outcome.failed) == {"f-new-2", "f-new-3"}, outcome.text
        for host in outcome.failed:
            block = failure(outcome, host, "preflight")
            assert all(word in block.what for word in words), outcome.text
            assert "setup_pki.py --check --diff" in block.remedy
    else:
        assert_all_failed(outcome, "f-new-server-only-crt", *words, "setup_pki.py --check --diff")


@pytest.mark.parametrize(
    "fault",
    [
        "usage",
        pytest.param(
            "names",
            marks=pytest.mark.thorough(
                "lab/test_failures.py::test_unreadable_role_is_found_out_before_placing",
                "unit/vault/test_client.py::test_what_a_role_refuses_is_passed_on",
                "unit/tasks/certificates/test_rotate.py::test_what_is_not_fit_is_not_placed",
            ),
        ),
    ],
)
def test_unreadable_role_is_found_out_before_placing(faults: LabHandle, tmp_path: Path, fault: str) -> None:
    """The token may use but not read the role, which gives another usage, or allows other names than asked for.

    Only what comes back can tell. No certificate is placed, no new key stays, etcd is not configured and not started.
    """
    peer, client = pki.side_mount("f-disk", "peer"), pki.side_mount("f-disk", "client")
    changes: dict[str, Any] = WRONG_USAGE if fault == "usage" else {"allowed_domains": ["other.home"]}
    role = changed_role(faults, peer, "f-disk-server-crt", f"f-disk-wrong-{fault}", **changes)
    paths = [f"{peer}/sign/{role}", *(f"{client}/sign/f-disk-{kind}-only-crt" for kind in ("server", "client"))]
    # Reading the CAs takes no right.
    rights = "".join(f'path "{path}" {{ capabilities = ["update"] }}\n' for path in paths)

    def edit(files: dict[str, Any]) -> None:
        files[GROUPS]["f-disk"]["data"]["pki"]["roles"]["peer"]["name"] = role
        files[HOSTS]["f-disk-1"]["data"]["preflight"] = {"min_free_bytes": 2**20}

    env = {"VAULT_TOKEN": token(faults, rights)}
    outcome = deploy(faults, "--cluster", "f-disk", env=env, config=inventory_variant(faults, tmp_path, edit))
    block = failure(outcome, "f-disk-1", "certificates")
    words = ("peer certificate", "client") if fault == "usage" else ("f-disk-1.faults.home",)
    assert [word for word in words if word not in block.what] == [], outcome.text
    assert role in f"{block.what} {block.where}", outcome.text
    assert on_host(faults, "f-disk-1", "find /etc/etcd /etc/init.d/etcd -name '*.pem' -o -name '*.key'").stdout == ""
    assert outcome.step("f-disk-1", "start")["status"] == "skipped"


# ---- the host -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        pytest.param(
            "f-new-1",
            marks=pytest.mark.thorough(
                "lab/test_failures.py::test_clock_a_year_off", "lab/test_failures.py::test_several_faults_at_once"
            ),
        ),
        "f-new-3",
    ],
)
def test_clock_a_year_off(faults: LabHandle, refused: Callable[..., Outcome], host: str) -> None:
    """The clock of one host (Alpine, Debian) is a year behind, as after a boot of a Pi without network."""
    target = faults.plan.host(host)
    faketime.set(faults.plan, target, "-365d")
    try:
        block = failure(refused(), host, "preflight")
    finally:
        faketime.clear(faults.plan, target)
    assert "365 days behind" in block.what
    assert "set the clock" in block.remedy


@pytest.mark.parametrize(
    "host",
    [
        pytest.param(
            "f-new-1",
            marks=pytest.mark.thorough(
                "lab/test_failures.py::test_wrong_dns", "lab/test_failures.py::test_several_faults_at_once"
            ),
        ),
        "f-new-3",
    ],
)
def test_wrong_dns(faults: LabHandle, refused: Callable[..., Outcome], host: str) -> None:
    """One host takes a member's name for another address: etcd there would talk to a stranger."""
    output(faults, host, "cp -p /etc/hosts /root/hosts && echo 203.0.113.9 f-new-2.faults.home >> /etc/hosts")
    try:
        outcome = refused()
    finally:
        output(faults, host, "cat /root/hosts > /etc/hosts; rm /root/hosts")
    block = failure(outcome, host, "preflight")
    assert "f-new-2.faults.home resolves there to 203.0.113.9" in block.what
    assert faults.plan.host("f-new-2").address in block.what
    assert "/etc/hosts" in block.remedy
    assert outcome.failed == [host]


def test_port_taken(faults: LabHandle, refused: Callable[..., Outcome]) -> None:
    """Another program listens on the client port of one host; it is named, and lives on."""
    output(faults, "f-new-1", "setsid nc -lk -p 2379 -e true >/dev/null 2>&1 </dev/null &")
    listens = "netstat -ltn | grep -q :2379"
    wait_for("nc listens", lambda: on_host(faults, "f-new-1", listens).returncode == 0)
    try:
        block = failure(refused(), "f-new-1", "preflight")
        assert on_host(faults, "f-new-1", listens).returncode == 0
    finally:
        output(faults, "f-new-1", "pkill -x nc")
    assert re.search(r"port 2379 is taken by nc \(pid \d+\)", block.what)
    assert "client_port" in block.remedy


def test_several_faults_at_once(faults: LabHandle, refused: Callable[..., Outcome]) -> None:
    """Wrong clock and wrong name on one host, and Vault sealed: all of it is said in one run."""
    target = faults.plan.host("f-new-1")
    faketime.set(faults.plan, target, "-365d")
    output(faults, "f-new-1", "cp -p /etc/hosts /root/hosts && echo 203.0.113.9 f-new-2.faults.home >> /etc/hosts")
    vault.seal(faults.plan)
    try:
        outcome = refused()
    finally:
        vault.unseal(faults.plan)
        output(faults, "f-new-1", "cat /root/hosts > /etc/hosts; rm /root/hosts")
        faketime.clear(faults.plan, target)
    block = failure(outcome, "f-new-1", "preflight")
    assert "365 days" in block.what
    assert "203.0.113.9" in block.what
    assert "sealed" in block.what
    assert "sealed" in failure(outcome, "f-new-2", "preflight").what


@pytest.mark.thorough(
    "unit/host/test_preflight.py::test_one_trouble_at_a_time",
    "unit/remote/test_scripts_run.py::test_the_space_of_folders_that_are_not_there_yet",
)
def test_full_disk_in_preflight(faults: LabHandle) -> None:
    """The data directory's disk has less room than is asked for: said in MiB, nothing changed."""
    before = traces(faults, "f-disk-1")
    block = failure(deploy(faults, "--cluster", "f-disk"), "f-disk-1", "preflight")
    assert re.search(r"/var/lib/etcd has \d+ MiB free, and 1024 MiB are needed", block.what)
    assert "df -h" in block.remedy
    assert "min_free_bytes" in block.remedy
    assert traces(faults, "f-disk-1") == before


def test_disk_that_fills_up_after_the_preflight(faults: LabHandle, tmp_path: Path) -> None:
    """The file system of /etc/etcd fills up when the preflight is over, on a host that has a working member.

    Files of before are all there and whole, nothing is there beside them, etcd runs on: when the host cannot make a
    key, and when a key that Vault made cannot be placed. With room again, the next run completes.
    """

    def room(files: dict[str, Any]) -> None:
        files[HOSTS]["f-disk-1"]["data"]["preflight"] = {"min_free_bytes": 2**20}

    def change(files: dict[str, Any]) -> None:
        room(files)
        files[GROUPS]["f-disk"]["data"]["cluster"]["snapshot_count"] = 20000

    def change_with_keys_by_vault(files: dict[str, Any]) -> None:
        change(files)
        files[DEFAULTS]["data"]["pki"]["key_origin"] = "vault"

    cluster = ("--cluster", "f-disk")
    output(faults, "f-disk-1", "rm -rf /etc/etcd; mkdir /etc/etcd; mount -t tmpfs -o size=1M,mode=755 tmpfs /etc/etcd")
    first = deploy(faults, *cluster, config=inventory_variant(faults, tmp_path, room))
    assert first.exit_code == 0, first.text
    listing = "cd /etc/etcd; find . -type f ! -name filler -exec sha256sum {} + | sort; "
    listing += "find . -type l -exec stat -c %N {} +"
    output(faults, "f-disk-1", "rm /etc/etcd/certs/client/*.pem")  # so that certificates are placed as well
    runs = etcd_processes(faults, "f-disk-1")
    before = output(faults, "f-disk-1", listing)
    for edit, promise in ((change, "run again"), (change_with_keys_by_vault, "nothing was half replaced")):
        running = begin_deploy(faults, *cluster, config=inventory_variant(faults, tmp_path, edit))
        reach(running, "the preflight is over", seen(running, "step_finished", "preflight"))
        with standing_still(running):
            on_host(faults, "f-disk-1", "cat /dev/zero > /etc/etcd/filler")
        outcome = running.finish()
        block = failure(outcome, "f-disk-1", "certificates")
        assert "No space left" in block.what
        assert "free space" in block.remedy
        assert promise in block.remedy
        assert output(faults, "f-disk-1", listing) == before
        assert etcd_processes(faults, "f-disk-1") == runs
        output(faults, "f-disk-1", "rm /etc/etcd/filler")
    again = deploy(faults, *cluster, "--yes", config=inventory_variant(faults, tmp_path, change))
    assert again.exit_code == 0, again.text
    assert unhealthy(faults, "f-disk") == ""
    assert "snapshot-count: 20000" in output(faults, "f-disk-1", "cat /etc/etcd/conf.yml")
    assert on_host(faults, "f-disk-1", "find /etc/etcd -name '.*.??????' -o -name '.new-*'").stdout == ""


# ---- sudo -----------------------------------------------------------------------------------------------------------


@pytest.mark.thorough(
    "lab/test_logins.py::test_login",
    "unit/remote/test_host.py::test_a_password_is_given_to_sudo_and_to_nobody_else",
)
def test_sudo_without_a_password(faults: LabHandle) -> None:
    """sudo on the host asks for a password and none is set: said, with the variable to set."""
    before = traces(faults, "f-sudo-1")
    outcome = deploy(faults, "--cluster", "f-sudo", env={"ETCDFLEET_SUDO_PASSWORD": None})
    block = failure(outcome, "f-sudo-1", "preflight")
    assert "sudo asks for a password" in block.what
    assert "ETCDFLEET_SUDO_PASSWORD" in block.remedy
    assert traces(faults, "f-sudo-1") == before


@pytest.mark.thorough(
    "lab/test_logins.py::test_login",
    "unit/remote/test_host.py::test_a_password_is_given_to_sudo_and_to_nobody_else",
)
def test_sudo_with_a_wrong_password(faults: LabHandle) -> None:
    """The password is wrong: said, without showing it, and without a retry that could lock the account."""
    before = traces(faults, "f-sudo-1")
    outcome = deploy(faults, "--cluster", "f-sudo", env={"ETCDFLEET_SUDO_PASSWORD": "not-the-password"})
    block = failure(outcome, "f-sudo-1", "preflight")
    assert "did not accept the password" in block.what
    assert "ETCDFLEET_SUDO_PASSWORD" in block.remedy
    assert "not-the-password" not in outcome.text + outcome.log
    assert traces(faults, "f-sudo-1") == before


@pytest.mark.thorough(
    "lab/test_secrets.py::test_process_lists_have_no_secret",
    "unit/remote/test_host.py::test_a_password_is_given_to_sudo_and_to_nobody_else",
)
def test_sudo_with_the_right_password(faults: LabHandle) -> None:
    """With the right one everything works, from the installation to the proofs."""
    outcome = deploy(faults, "--cluster", "f-sudo")
    assert outcome.exit_code == 0, outcome.text
    assert unhealthy(faults, "f-sudo") == ""


# ---- settings -------------------------------------------------------------------------------------------------------


def _typo(files: dict[str, Any]) -> None:
    files[GROUPS]["f-new"]["data"]["cluster"]["hartbeat_ms"] = 500


def _name_in_listen(files: dict[str, Any]) -> None:
    files[HOSTS]["f-new-2"]["data"]["member"]["address"] = "f-new-2.faults.home"


def _same_address(files: dict[str, Any]) -> None:
    files[HOSTS]["f-new-2"]["data"]["member"]["address"] = files[HOSTS]["f-new-1"]["data"]["member"]["address"]


def _all_of_them(files: dict[str, Any]) -> None:
    _typo(files)
    _name_in_listen(files)
    files[HOSTS]["f-new-3"]["groups"] = ["f-new"]


@pytest.mark.parametrize(
    ("edit", "places"),
    [
        (_typo, [("groups.yaml", "hartbeat_ms")]),
        (_name_in_listen, [("hosts.yaml", "f-new-2")]),
        (_same_address, [("hosts.yaml", "f-new-2")]),
        (_all_of_them, [("groups.yaml", "hartbeat_ms"), ("hosts.yaml", "f-new-2"), ("hosts.yaml", "f-new-3")]),
    ],
    ids=["unknown key", "name as address", "one address twice", "all at once"],
)
def test_wrong_settings(faults: LabHandle, tmp_path: Path, edit: Edit, places: list[tuple[str, str]]) -> None:
    """Mistakes in the inventory: exit code 2, each with file and line, and no host gets as much as a connection.

    All hosts' SSH goes to a listener of the test instead, which nobody may come to.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        visitors: list[object] = []

        def listen() -> None:
            try:
                visitors.append(server.accept()[1])
            except OSError:
                return

        threading.Thread(target=listen, daemon=True).start()

        def all_edits(files: dict[str, Any]) -> None:
            edit(files)
            for host in files[HOSTS].values():
                host |= {"hostname": "127.0.0.1", "port": server.getsockname()[1]}

        config = inventory_variant(faults, tmp_path, all_edits)
        outcome = deploy(faults, config=config)
        server.shutdown(socket.SHUT_RDWR)
    assert outcome.exit_code == 2, outcome.text
    assert outcome.report == {}
    assert visitors == []
    assert outcome.seconds < 10
    assert "Traceback" not in outcome.text
    for file, word in places:
        line = _line_of(config.parent / "inventory" / file, word)
        assert re.search(rf"{re.escape(file)}:\d+", outcome.stderr), outcome.text
        assert word in outcome.stderr, outcome.text
        assert f"{file}:{line}" in outcome.stderr or word != "hartbeat_ms", outcome.text
    assert blocks(outcome) == []


def _line_of(path: Path, word: str) -> int:
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if word in line)
