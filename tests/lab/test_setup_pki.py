"""Vault set up by the runbook, then deploys with the AppRole alone, whose token can do nothing else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hvac
import pytest

from lab import pki, vault
from tests.lab.conftest import LabHandle, sourced
from tests.lab.deploy_helpers import (
    CERTS,
    TOPOLOGIES,
    Outcome,
    deploy,
    inventory_variant,
    members,
    output,
    own_lab,
    unhealthy,
)

NEW, OLD = "s-new", "s-old"
SIDES = tuple(pki.side_mount(NEW, side) for side in ("peer", "client"))
OLD_CLIENT = pki.role_names(OLD)["client"]


@pytest.fixture(scope="module")
def empty(lab_machine: None) -> Iterator[LabHandle]:  # noqa: ARG001
    """Hosts without etcd, and a Vault with a root CA and a single CA below it, one role of which is wrong."""
    with own_lab("test-setup", TOPOLOGIES / "setup.yaml") as handle:
        client = vault.client(handle.plan)
        for mount in pki.mount_roles(handle.plan):
            if mount != pki.INTERMEDIATE:
                client.sys.disable_secrets_engine(mount)
        for cluster in (NEW, OLD):
            for name in pki.role_names(cluster).values():
                if cluster == NEW or name != OLD_CLIENT:
                    client.delete(f"{pki.INTERMEDIATE}/roles/{name}")
        wrong = {**pki.role_parameters("client", ()), "server_flag": True}
        client.write_data(f"{pki.INTERMEDIATE}/roles/{OLD_CLIENT}", data=wrong)
        yield handle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("setup")


def config(handle: LabHandle, folder: Path, **old: Any) -> Path:
    """The lab's inventory with a single CA for the old cluster, or other settings for it."""

    def edit(files: dict[str, Any]) -> None:
        files["inventory/groups.yaml"][OLD]["data"]["pki"] |= old or {"trust": "single", "mount": pki.INTERMEDIATE}

    return inventory_variant(handle, folder, edit)


@pytest.fixture(scope="module")
def inventory(empty: LabHandle, folder: Path) -> Path:
    return config(empty, folder)


def administrator(handle: LabHandle) -> dict[str, str | None]:
    """The variables of a person with the root token."""
    token: str = vault.client(handle.plan).token
    return {"VAULT_TOKEN": token}


def setup(handle: LabHandle, config: Path, *args: str) -> Outcome:
    return deploy(handle, *args, config=config, runbook="setup_pki", env=administrator(handle))


def content(handle: LabHandle) -> dict[str, Any]:
    """What is in Vault, by its own answers."""
    client = vault.client(handle.plan)

    def names(path: str) -> list[str]:
        found = client.list(path)
        return sorted(found["data"]["keys"]) if found else []

    mounts = client.sys.list_mounted_secrets_engines()["data"]
    found: dict[str, Any] = {"mounts": sorted(mounts), "auth": sorted(client.sys.list_auth_methods()["data"])}
    for mount in (path for path, entry in mounts.items() if entry["type"] == "pki"):
        roles = {name: client.read(f"{mount}roles/{name}")["data"] for name in names(f"{mount}roles")}
        found[mount] = {"roles": roles, "issuers": names(f"{mount}issuers"), "keys": names(f"{mount}keys")}
    found["policies"] = {name: client.sys.read_policy(name)["data"] for name in client.sys.list_policies()["policies"]}
    found["approles"] = names("auth/approle/role") if "approle/" in found["auth"] else []
    return found


def by_approle(file: Path) -> dict[str, str | None]:
    """What sourcing the file changes in the environment of a person, and no token from anywhere else."""
    values = sourced(file)
    return {"VAULT_TOKEN": None, **{key: value for key, value in values.items() if key.startswith("VAULT_")}}


@pytest.fixture(scope="module")
def credentials(empty: LabHandle, inventory: Path, folder: Path) -> Path:
    """Vault set up, and the file with the AppRole's secret id."""
    file = folder / "deploy.env"
    outcome = setup(empty, inventory, "--secret-id", str(file))
    assert outcome.exit_code == 1, "a role that was there differs still, since there was no terminal to ask at"
    assert outcome.failed == [], outcome.text
    assert "not as the inventory says, and left" in json.dumps(outcome.report["error"])
    return file


@pytest.mark.thorough(
    "unit/runbooks/test_setup_pki.py::test_check_changes_nothing_then_all_is_made_then_nothing_is_left",
    "unit/runbooks/test_setup_pki.py::test_what_differs_is_shown_and_changed_only_with_yes",
)
def test_check_shows_all_and_changes_nothing(empty: LabHandle, inventory: Path) -> None:
    before = content(empty)
    outcome = setup(empty, inventory, "--check", "--diff")
    assert outcome.exit_code == 0, outcome.text
    assert content(empty) == before
    for mount in SIDES:
        assert f"{mount} gets the CA" in json.dumps(outcome.report)
    assert "-server_flag = true" in outcome.stdout
    assert "+server_flag = false" in outcome.stdout


@pytest.mark.thorough(
    "unit/runbooks/test_setup_pki.py::test_document_a_s_ca_is_adopted",
    "unit/runbooks/test_setup_pki.py::test_what_differs_is_shown_and_changed_only_with_yes",
    "unit/runbooks/test_setup_pki.py::test_the_app_role_and_its_file",
)
def test_what_is_there_is_adopted_and_a_second_run_changes_nothing(
    empty: LabHandle, inventory: Path, credentials: Path
) -> None:
    assert credentials.stat().st_mode & 0o777 == 0o600
    before = content(empty)
    assert len(before[f"{pki.INTERMEDIATE}/"]["keys"]) == 1
    assert before[f"{pki.INTERMEDIATE}/"]["roles"][OLD_CLIENT]["server_flag"] is True
    again = setup(empty, inventory)
    assert again.exit_code == 1, again.text
    assert again.changed == {NEW: 0, OLD: 0}
    assert "server_flag" in json.dumps(again.report["warnings"])
    assert content(empty) == before


@pytest.fixture(scope="module")
def deployed(empty: LabHandle, inventory: Path, credentials: Path) -> LabHandle:
    """Both clusters, deployed with the AppRole alone, once a yes has corrected the role that would be refused."""
    agreed = setup(empty, inventory, "--yes")
    assert agreed.exit_code == 0, agreed.text
    assert content(empty)[f"{pki.INTERMEDIATE}/"]["roles"][OLD_CLIENT]["server_flag"] is False
    outcome = deploy(empty, config=inventory, env=by_approle(credentials), timeout=600)
    assert outcome.exit_code == 0, outcome.text
    secret = by_approle(credentials)["VAULT_SECRET_ID"]
    assert secret
    for text in (outcome.stdout, outcome.stderr, outcome.log, json.dumps(outcome.report)):
        assert secret not in text
    return empty


def test_deploy_works_with_the_app_role_alone(deployed: LabHandle, inventory: Path, credentials: Path) -> None:
    for cluster in (NEW, OLD):
        assert unhealthy(deployed, cluster) == ""
    again = deploy(deployed, config=inventory, env=by_approle(credentials))
    assert (again.exit_code, set(again.changed.values())) == (0, {0}), again.text
    host = members(deployed, NEW)[0]
    for file, side in (("peerCA.pem", "peer"), ("clientCA.pem", "client")):
        text = output(deployed, host, f"cat {CERTS}/{file}")
        assert f"etcd {NEW} {side} CA" in x509(text, "-subject")


def x509(pem: str, *what: str) -> str:
    return subprocess.run(
        ["openssl", "x509", "-noout", *what], input=pem, capture_output=True, text=True, check=True
    ).stdout


def refused(mounts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Requests that the AppRole's token must not be able to make; ``mounts`` with a role each."""
    for mount, role in mounts.items():
        for path in ("issue/other", "sign/other", f"issue/{role}", f"sign-verbatim/{role}", "sign-verbatim", "revoke"):
            yield "POST", f"{mount}/{path}"
        yield "POST", f"{mount}/roles/{role}"
        yield "DELETE", f"{mount}/roles/{role}"
    for mount in (*mounts, pki.ROOT):
        for path in ("root/sign-intermediate", "root/generate/internal", "intermediate/set-signed", "config/urls"):
            yield "POST", f"{mount}/{path}"
        for path in ("roles", "certs", "keys", "certs/revoked"):  # issuers may be listed by anybody, without a token
            yield "LIST", f"{mount}/{path}"
        yield "DELETE", f"{mount}/root"
    for path in ("mounts", "auth", "policies/acl/default", "audit", "remount", "rotate"):
        yield "GET", f"sys/{path}"
    for path in ("mounts/x", "auth/x", "policies/acl/x", "seal", "capabilities", "wrapping/wrap", "leases/revoke"):
        yield "POST", f"sys/{path}"
    for path in ("token/create", "token/create-orphan", "token/lookup", "token/renew-self", "approle/role/x"):
        yield "POST", f"auth/{path}"
    yield "POST", "auth/approle/role/etcdfleet/secret-id"
    yield "GET", "auth/approle/role/etcdfleet"
    yield "GET", "auth/approle/role/etcdfleet/role-id"
    yield "LIST", "auth/approle/role"
    yield "LIST", "auth/token/accessors"
    yield "LIST", "sys/policies/acl"
    yield "POST", "cubbyhole/x"


@pytest.mark.thorough(
    "unit/runbooks/test_setup_pki.py::test_its_token_can_do_nothing_else",
    "unit/runbooks/test_setup_pki.py::test_the_policy_allows_this_and_nothing_else",
    "unit/vault/test_desired.py::test_policy",
)
def test_its_token_can_do_nothing_else(deployed: LabHandle, credentials: Path) -> None:
    values = by_approle(credentials)
    client: hvac.Client = vault.client(deployed.plan)
    made = client.auth.approle.login(values["VAULT_ROLE_ID"], values["VAULT_SECRET_ID"], use_token=False)["auth"]
    assert made["policies"] == [f"etcdfleet-{NEW}", f"etcdfleet-{OLD}"]
    assert made["lease_duration"] <= 1200
    mounts = {SIDES[0]: pki.role_names(NEW)["peer"], SIDES[1]: pki.role_names(NEW)["client"]}
    mounts[pki.INTERMEDIATE] = OLD_CLIENT
    for mount in mounts:
        client.write_data(f"{mount}/roles/other", data={"allow_any_name": True})
    before = content(deployed)
    client.token = made["client_token"]
    assert client.read(f"{SIDES[0]}/roles/{mounts[SIDES[0]]}")
    allowed = []
    for method, path in refused(mounts):
        body = {"common_name": "s-new-1.setup.home", "type": "pki", "policy": "", "format": "pem"}
        answer = client.adapter.request(method, f"/v1/{path}", raise_exception=False, json=body)
        if getattr(answer, "status_code", 200) != 403:
            allowed.append((method, path, str(answer)[:200]))
    assert allowed == []
    assert content(deployed) == before


@pytest.mark.thorough(
    "unit/runbooks/test_setup_pki.py::test_an_address_outside_the_networks_is_refused",
    "unit/vault/test_client.py::test_a_wrong_app_role_is_refused_once_and_explained",
)
def test_a_secret_id_for_another_network_is_refused(deployed: LabHandle, folder: Path) -> None:
    def edit(files: dict[str, Any]) -> None:
        app = {"name": "far-away", "secret_id_cidrs": ["192.0.2.0/24"]}
        files["inventory/defaults.yaml"]["data"]["pki"]["setup"] = {"approle": app}

    config = inventory_variant(deployed, folder, edit)
    file = folder / "far.env"
    assert setup(deployed, config, "--cluster", NEW, "--secret-id", str(file)).exit_code == 0
    outcome = deploy(deployed, "--check", "--cluster", NEW, config=config, env=by_approle(file))
    assert outcome.exit_code == 1, outcome.text
    assert "CIDR" in outcome.error(members(deployed, NEW)[0])


def test_a_live_cluster_moves_to_cas_below_a_root_kept_offline(deployed: LabHandle, folder: Path) -> None:
    """From a single CA: requests written, signed by openssl elsewhere, read back, deployed."""
    root, key = folder / "root.pem", folder / "root.key"
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "7300"]
    openssl("req", "-x509", *new, "-subj", "/CN=Root In The Safe", "-keyout", str(key), "-out", str(root))
    config_file = config(deployed, folder, trust_anchor={"file": str(root)})
    where = ["--csr-dir", str(folder / "requests"), "--signed-dir", str(folder / "signed"), "--cluster", OLD]
    for _ in range(2):
        outcome = setup(deployed, config_file, *where)
        assert outcome.exit_code == 1, outcome.text
        assert "waits for the signature" in outcome.error(OLD)
    requests = sorted((folder / "requests").iterdir())
    assert [path.name for path in requests] == [f"{pki.side_mount(OLD, side)}.csr" for side in ("client", "peer")]
    (folder / "signed").mkdir()
    (folder / "ca.cnf").write_text(
        "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n"
    )
    for path in requests:
        files = ["-in", str(path), "-CA", str(root), "-CAkey", str(key), "-extfile", str(folder / "ca.cnf")]
        openssl("x509", "-req", *files, "-days", "5475", "-out", str(folder / "signed" / f"{path.stem}.pem"))
    file = folder / "old.env"
    outcome = setup(deployed, config_file, *where, "--secret-id", str(file))
    assert outcome.exit_code == 0, outcome.text
    for side in ("peer", "client"):
        assert len(vault.client(deployed.plan).list(f"{pki.side_mount(OLD, side)}/keys")["data"]["keys"]) == 1
    moved = deploy(deployed, "--yes", "--cluster", OLD, config=config_file, env=by_approle(file))
    assert moved.exit_code == 0, moved.text
    assert unhealthy(deployed, OLD) == ""
    leaf = output(deployed, members(deployed, OLD)[0], f"cat {CERTS}/server/*.pem")
    assert f"etcd {OLD} peer CA" in x509(leaf, "-issuer")


def openssl(*args: str) -> None:
    subprocess.run(["openssl", *args], capture_output=True, text=True, check=True)
