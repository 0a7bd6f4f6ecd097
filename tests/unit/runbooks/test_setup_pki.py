"""The runbook setup_pki against a real OpenBao, looked at by the standard library and openssl alone."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.support.paths import ROOT
from tests.unit.support.setup_fixtures import DOMAINS, SIDES, blocks, good, openssl
from tests.unit.support.setup_fixtures import server as server
from tests.unit.support.setup_fixtures import site as site
from tests.unit.support.setup_site import Site
from tests.unit.support.terminal import at_terminal
from tests.unit.support.vault_server import ROOT_TOKEN, running, set_up_pki

# From a Vault with a root CA and nothing else.


def test_check_changes_nothing_then_all_is_made_then_nothing_is_left(site: Site) -> None:
    site.inventory()
    site.make_root()
    before = site.state()
    looked = good(site.run("--check", "--diff"))
    assert site.state() == before
    made = good(site.run())
    assert looked.changes == made.changes
    assert "+allowed_domains = a.home.test, b.home.test, c.home.test" in looked.text
    after = site.state()
    assert after != before
    for again in (good(site.run()), good(site.run("--check")), good(site.run("--yes"))):
        assert again.changes == []
        assert again.report["warnings"] == [], again.warnings
        assert {step["status"] for step in again.report["hosts"]["home"]["steps"]} == {"ok"}
    assert site.state() == after
    for ran in (looked, made):
        assert ROOT_TOKEN not in ran.text + ran.log + json.dumps(ran.report)


def test_each_side_has_a_ca_of_its_own_below_the_root(site: Site) -> None:
    site.inventory()
    site.make_root()
    good(site.run())
    (site.folder / "root.pem").write_text(str(site.get("pki_root/ca/pem")) + "\n")
    for side, mount in SIDES.items():
        pem = str(site.get(f"{mount}/ca/pem"))
        text = openssl("x509", "-noout", "-text", stdin=pem)
        assert f"Subject: CN = etcd home {side} CA" in text
        assert "CA:TRUE, pathlen:0" in text
        assert "prime256v1" in text
        assert f"{site.api}/pki_root/ca" in text
        assert openssl("verify", "-CAfile", str(site.folder / "root.pem"), stdin=pem).strip() == "stdin: OK"
        assert len(blocks(str(site.get(f"{mount}/ca_chain")))) == 2
        assert site.get(f"{mount}/config/urls")["issuing_certificates"] == [f"{site.api}/{mount}/ca"]
        assert site.get(f"{mount}/config/urls")["crl_distribution_points"] == [f"{site.api}/{mount}/crl"]
        assert site.get("sys/mounts")[f"{mount}/"]["config"]["max_lease_ttl"] >= 87600 * 3600
        # As long as the settings say, whatever the limits of the mounts.
        begin, end = (time.mktime(time.strptime(when, "%b %d %H:%M:%S %Y GMT")) for when in _validity(text))
        assert abs(end - begin - 131400 * 3600) < 120
    assert len(site.names("pki_etcd_home_peer/keys")) == 1


def _validity(text: str) -> tuple[str, str]:
    found = re.findall(r"Not (?:Before|After ?): *(.*GMT)", text)
    return found[0], found[1]


def test_roles_are_document_a_s(site: Site) -> None:
    subject = {"organization": ["Home Network"], "ou": ["IT"]}
    site.inventory(
        {"groups/home/data/cluster/service_name": "etcd.home.test", "defaults/data/pki/setup/subject": subject}
    )
    site.make_root()
    good(site.run())
    exact = {
        "allow_subdomains": False,
        "allow_glob_domains": False,
        "allow_localhost": False,
        "require_cn": True,
        "key_type": "rsa",
        "key_bits": 2048,
        "max_ttl": 87600 * 3600,
        **subject,
    }
    named = {**exact, "allow_any_name": False, "allow_bare_domains": True, "allow_ip_sans": True}
    named |= {"enforce_hostnames": True, "key_usage": ["DigitalSignature", "KeyEncipherment"]}
    wanted: dict[str, dict[str, Any]] = {
        "pki_etcd_home_peer/roles/etcd-peer": {
            **named,
            "allowed_domains": DOMAINS,
            "client_flag": True,
            "server_flag": True,
            "ext_key_usage": ["ServerAuth", "ClientAuth"],
        },
        "pki_etcd_home_client/roles/etcd-server": {
            **named,
            "allowed_domains": [*DOMAINS, "etcd.home.test"],
            "client_flag": False,
            "server_flag": True,
            "ext_key_usage": ["ServerAuth"],
        },
        "pki_etcd_home_client/roles/etcd-client": {
            **exact,
            "allow_any_name": True,
            "allow_ip_sans": False,
            "client_flag": True,
            "server_flag": False,
            "ext_key_usage": ["ClientAuth"],
            "key_usage": ["DigitalSignature"],
        },
    }
    for path, parameters in wanted.items():
        found = site.get(path)
        assert {key: found[key] for key in parameters} == parameters, path
    assert site.names("pki_etcd_home_peer/roles") == ["etcd-peer"]
    assert site.names("pki_etcd_home_client/roles") == ["etcd-client", "etcd-server"]


@pytest.mark.parametrize(("origin", "verbs"), [("host", ["sign"]), ("vault", ["issue", "sign"])])
def test_the_policy_allows_this_and_nothing_else(site: Site, origin: str, verbs: list[str]) -> None:
    site.inventory({"defaults/data/pki/key_origin": origin})
    site.make_root()
    good(site.run())
    text = site.get("sys/policies/acl/etcdfleet-home")["policy"]
    found = set(re.findall(r'path "([^"]+)" \{ capabilities = \["(\w+)"\] \}', text))
    roles = ("pki_etcd_home_peer etcd-peer", "pki_etcd_home_client etcd-server", "pki_etcd_home_client etcd-client")
    pairs = [tuple(role.split()) for role in roles]
    wanted = {(f"{mount}/{verb}/{role}", "update") for mount, role in pairs for verb in verbs}
    wanted |= {(f"{mount}/roles/{role}", "read") for mount, role in pairs}
    cas = ("ca/pem", "ca_chain", "cert/ca", "cert/ca_chain")
    wanted |= {(f"{mount}/{ca}", "read") for mount in (*SIDES.values(), "pki_root") for ca in cas}
    wanted |= {("auth/token/lookup-self", "read"), ("auth/token/revoke-self", "update")}
    wanted |= {("sys/capabilities-self", "update")}
    assert found == wanted
    assert len(text.splitlines()) == len(wanted)


def test_the_app_role_and_its_file(site: Site) -> None:
    networks = {"token_cidrs": ["127.0.0.0/8"], "secret_id_cidrs": ["127.0.0.1/32"], "secret_id_uses": 5}
    site.inventory({"defaults/data/pki/setup/approle": networks})
    site.make_root()
    ran = good(site.run("--secret-id", "deploy.env"))
    found = site.get("auth/approle/role/etcdfleet")
    assert found["token_policies"] == ["etcdfleet-home"]
    assert found["token_no_default_policy"] is True
    assert (found["token_ttl"], found["token_max_ttl"]) == (1200, 7200)
    assert found["token_bound_cidrs"] == ["127.0.0.0/8"]
    assert found["secret_id_bound_cidrs"] == ["127.0.0.1/32"]
    assert found["secret_id_num_uses"] == 5
    assert good(site.run()).changes == []
    file = site.folder / "deploy.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    values = sourced(site, file)
    assert values["VAULT_ADDR"] == site.server.address
    assert values["VAULT_CACERT"] == str(site.server.ca_file)
    assert "VAULT_TOKEN" not in values
    login = site.server.call("POST", "auth/approle/login", _login(values), token="")
    assert login["auth"]["token_policies"] == ["etcdfleet-home"]
    for text in (ran.text, ran.log, json.dumps(ran.report)):
        assert values["VAULT_SECRET_ID"] not in text


def sourced(site: Site, file: Path) -> dict[str, str]:
    """The environment after sourcing a file, in a shell that had the administrator's token."""
    script = f". {file} && env -0"
    done = subprocess.run(["sh", "-c", script], env=site.environment(), capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)


def _login(values: dict[str, str]) -> dict[str, str]:
    return {"role_id": values["VAULT_ROLE_ID"], "secret_id": values["VAULT_SECRET_ID"]}


def test_an_address_outside_the_networks_is_refused(site: Site) -> None:
    site.inventory({"defaults/data/pki/setup/approle": {"secret_id_cidrs": ["192.0.2.0/24"]}})
    site.make_root()
    good(site.run("--secret-id", "deploy.env"))
    values = sourced(site, site.folder / "deploy.env")
    refused = site.server.call("POST", "auth/approle/login", _login(values), token="")
    assert "source address" in json.dumps(refused["errors"])


def test_another_file_is_not_replaced_and_ones_own_is(site: Site) -> None:
    site.inventory()
    site.make_root()
    other = site.folder / "other.env"
    other.write_text("mine\n")
    refused = site.run("--secret-id", str(other))
    assert refused.code == 2, refused.text
    assert other.read_text() == "mine\n"
    assert site.names("auth/approle/role/etcdfleet/secret-id") == [], "a secret id that nobody has"
    good(site.run("--secret-id", "deploy.env"))
    first = (site.folder / "deploy.env").read_text()
    good(site.run("--secret-id", "deploy.env"))
    assert (site.folder / "deploy.env").read_text() != first
    good(site.run("--secret-id", str(other), "--yes"))
    assert "VAULT_SECRET_ID" in other.read_text()


def test_a_wrapped_secret_id_is_unwrapped_once(site: Site) -> None:
    site.inventory()
    site.make_root()
    good(site.run("--secret-id", "deploy.env", "--wrap", "10m"))
    wrapped = (site.folder / "deploy.env").read_text()
    assert "VAULT_SECRET_ID=" not in wrapped
    good(site.run("--unwrap", "deploy.env", token=None))
    values = sourced(site, site.folder / "deploy.env")
    assert "auth" in site.server.call("POST", "auth/approle/login", _login(values), token="")
    (site.folder / "deploy.env").write_text(wrapped)
    again = site.run("--unwrap", "deploy.env", token=None)
    assert again.code != 0
    assert "once" in again.text


ALLOWED = [
    ("GET", "auth/token/lookup-self"),
    ("GET", "pki_etcd_home_peer/roles/etcd-peer"),
    ("GET", "pki_root/cert/ca"),
]
REFUSED = [
    *(("POST", f"pki_etcd_home_{side}/{verb}") for side in SIDES for verb in ("issue/other", "sign/other")),
    *(("POST", f"pki_etcd_home_{side}/issue/etcd-{role}") for side in SIDES for role in ("peer", "server", "client")),
    ("POST", "pki_etcd_home_client/sign/etcd-peer"),
    ("POST", "pki_etcd_home_peer/sign/etcd-client"),
    *(("POST", f"{mount}/sign-verbatim/etcd-peer") for mount in SIDES.values()),
    *(("POST", f"{mount}/sign-verbatim") for mount in (*SIDES.values(), "pki_root")),
    *(("POST", f"{mount}/root/sign-intermediate") for mount in (*SIDES.values(), "pki_root")),
    *(("POST", f"{mount}/intermediate/generate/exported") for mount in SIDES.values()),
    *(("POST", f"{mount}/intermediate/set-signed") for mount in SIDES.values()),
    *(("POST", f"{mount}/root/generate/internal") for mount in (*SIDES.values(), "pki_root")),
    ("DELETE", "pki_root/root"),
    *(("POST", f"{mount}/config/urls") for mount in (*SIDES.values(), "pki_root")),
    *(("LIST", f"{mount}/{what}") for mount in (*SIDES.values(), "pki_root") for what in ("roles", "certs", "keys")),
    *(("POST", f"{mount}/revoke") for mount in SIDES.values()),
    *(("POST", f"{mount}/tidy") for mount in SIDES.values()),
    ("POST", "pki_etcd_home_peer/roles/etcd-peer"),
    ("DELETE", "pki_etcd_home_peer/roles/etcd-peer"),
    ("GET", "pki_etcd_home_peer/roles/other"),
    ("POST", "pki_other/issue/etcd-peer"),
    ("POST", "pki_other/sign/etcd-peer"),
    ("GET", "pki_other/roles/etcd-peer"),
    ("GET", "secret/data/anything"),
    ("LIST", "secret/metadata"),
    *(("GET", f"sys/{path}") for path in ("mounts", "auth", "policies/acl/etcdfleet-home", "audit", "config/cors")),
    *(("LIST", f"sys/{path}") for path in ("policies/acl", "leases/lookup")),
    ("POST", "sys/policies/acl/etcdfleet-home"),
    ("POST", "sys/mounts/mine"),
    ("POST", "sys/auth/mine"),
    ("POST", "sys/seal"),
    ("POST", "sys/capabilities"),
    ("POST", "sys/wrapping/wrap"),
    ("POST", "cubbyhole/mine"),
    ("POST", "auth/token/create"),
    ("POST", "auth/token/create-orphan"),
    ("POST", "auth/token/lookup"),
    ("POST", "auth/token/renew-self"),
    ("LIST", "auth/token/accessors"),
    ("LIST", "auth/approle/role"),
    ("GET", "auth/approle/role/etcdfleet"),
    ("GET", "auth/approle/role/etcdfleet/role-id"),
    ("POST", "auth/approle/role/etcdfleet/secret-id"),
    ("POST", "auth/approle/role/mine"),
    ("LIST", "identity/entity/id"),
]


@pytest.fixture(name="plain")
def _plain(tmp_path: Path) -> Iterator[Site]:
    """A Vault of its own, for what there is only outside of namespaces."""
    folder = tmp_path / "vault"
    folder.mkdir()
    with running(folder) as server:
        yield Site(server, tmp_path)


def test_its_token_can_do_nothing_else(plain: Site) -> None:
    site = plain
    site.inventory()
    site.make_root()
    good(site.run("--secret-id", "deploy.env"))
    site.server.call("POST", "sys/mounts/pki_other", {"type": "pki"})
    site.server.call("POST", "pki_other/roles/etcd-peer", {"allow_any_name": True})
    for mount in SIDES.values():
        site.server.call("POST", f"{mount}/roles/other", {"allow_any_name": True})
    values = sourced(site, site.folder / "deploy.env")
    before = site.state()
    token = site.server.call("POST", "auth/approle/login", _login(values), token="")["auth"]["client_token"]
    for method, path in ALLOWED:
        assert "data" in site.server.call(method, path, token=token), path
    body = {"common_name": "a.home.test", "csr": csr("a.home.test"), "policy": 'path "*" {capabilities=["sudo"]}'}
    signed = site.server.call("POST", "pki_etcd_home_peer/sign/etcd-peer", body, token=token)
    assert "certificate" in signed["data"]
    for method, path in REFUSED:
        answer = site.server.call(method, path, body if method == "POST" else None, token=token)
        assert "permission denied" in json.dumps(answer), f"{method} {path}: {str(answer)[:300]}"
    after = site.state()
    assert after == before
    stranger = {"common_name": "evil.test", "csr": csr("evil.test")}
    assert "errors" in site.server.call("POST", "pki_etcd_home_peer/sign/etcd-peer", stranger, token=token)


def csr(name: str, key: Path | None = None) -> str:
    new = ["-newkey", "rsa:2048", "-nodes", "-keyout", "/dev/null"] if key is None else ["-new", "-key", str(key)]
    return subprocess.run(
        ["openssl", "req", *new, "-subj", f"/CN={name}"], capture_output=True, text=True, check=True
    ).stdout


def test_the_documented_policy_of_an_administrator_is_enough(site: Site) -> None:
    site.inventory()
    site.make_root()
    text = (ROOT / "docs" / "vault.md").read_text()
    (policy,) = re.findall(r"```hcl\n(.*?)```", text, re.DOTALL)
    site.server.call("POST", "sys/policies/acl/administrator", {"policy": policy})

    def token(*policies: str) -> str:
        made = site.server.call("POST", "auth/token/create", {"policies": policies})
        return str(made["auth"]["client_token"])

    before = site.state()
    refused = site.run(token=token("default"))
    assert refused.code == 1
    assert "may not set Vault up" in refused.errors
    assert site.state() == before
    administrator = token("administrator")
    good(site.run("--secret-id", "deploy.env", token=administrator))
    assert good(site.run(token=administrator)).changes == []
    assert good(site.run()).changes == []


# What is there already.


def document_a(site: Site, edits: dict[str, Any] | None = None) -> None:
    """Mounts of a single CA made by hand, and an inventory for them."""
    set_up_pki(site.server)
    prefix = "etc-az-k8s-home"
    names = {
        "peer": f"{prefix}-server-crt",
        "server": f"{prefix}-server-only-crt",
        "client": f"{prefix}-client-only-crt",
    }
    hosts = {
        f"hosts/{name}/data/member/fqdn": f"etcd.az{number}.k8s.home" for number, name in enumerate(("a", "b", "c"), 1)
    }
    site.inventory(
        {
            **hosts,
            "groups/home/data/cluster/service_name": "etcd.home",
            "defaults/data/pki/trust": "single",
            "defaults/data/pki/roles": {role: {"name": name} for role, name in names.items()},
            **(edits or {}),
        }
    )


def test_document_a_s_ca_is_adopted(site: Site) -> None:
    document_a(site)
    before = site.state()
    ran = site.run()
    assert ran.code == 1, "the peers' role allows a name too many, and nobody was asked"
    assert ran.errors == ""
    after = site.state()
    for path in ("pki_root/", "pki_intermediate_ca/"):
        for kept in ("issuers", "keys", "ca"):
            assert after[path][kept] == before[path][kept]
    # The server role has the members' names and the service's, as it should; the peers' need no service name.
    roles = {name: after["pki_intermediate_ca/"]["roles"][name] for name in before["pki_intermediate_ca/"]["roles"]}
    assert roles == before["pki_intermediate_ca/"]["roles"]
    assert "etc-az-k8s-home-server-crt" in ran.warnings
    assert "server-only" not in ran.warnings
    assert "client-only" not in ran.warnings
    assert site.get("auth/approle/role/etcdfleet")["token_policies"] == ["etcdfleet-home"]
    assert 'path "pki_intermediate_ca/sign/etc-az-k8s-home-server-crt"' in after["policies"]["etcdfleet-home"]["policy"]


def test_what_differs_is_shown_and_changed_only_with_yes(site: Site) -> None:
    document_a(site)
    role = "pki_intermediate_ca/roles/etc-az-k8s-home-client-only-crt"
    by_hand = {**site.get(role), "server_flag": True, "max_ttl": "3600h", "no_store": True}
    site.server.call("POST", role, by_hand)
    there = site.get(role)
    urls = {"issuing_certificates": ["http://old.test/ca"], "ocsp_servers": ["http://old.test/ocsp"]}
    site.server.call("POST", "pki_intermediate_ca/config/urls", urls)
    left = site.run("--diff")
    assert left.code == 1, "something differs still, and nobody was asked"
    assert "then run again with --yes" in left.text
    assert site.get(role) == there
    assert site.get("pki_intermediate_ca/config/urls")["issuing_certificates"] == ["http://old.test/ca"]
    for words in ("-server_flag = true", "+server_flag = false", "http://old.test/ca"):
        assert words in left.text, words
    assert "server_flag" in left.warnings
    assert "--yes" in left.warnings
    assert "http://old.test/ca" in left.warnings
    done = good(site.run("--yes"))
    assert done.report["warnings"] == [], "what OpenBao does not know is not sent back to it"
    changed = site.get(role)
    assert changed == {**there, "server_flag": False, "max_ttl": 87600 * 3600}
    assert site.get("pki_intermediate_ca/config/urls")["ocsp_servers"] == ["http://old.test/ocsp"]
    assert "old.test/ca" not in json.dumps(site.get("pki_intermediate_ca/config/urls"))
    again = good(site.run())
    assert (again.changes, again.report["warnings"]) == ([], []), again.text


def test_a_mount_s_short_limit_is_shown_and_raised_with_yes(site: Site) -> None:
    document_a(site)
    site.server.call("POST", "sys/mounts/pki_intermediate_ca/tune", {"max_lease_ttl": "768h"})
    left = site.run()
    assert (left.code, "max_lease_ttl" in left.warnings) == (1, True), left.text
    assert site.get("sys/mounts")["pki_intermediate_ca/"]["config"]["max_lease_ttl"] == 768 * 3600
    good(site.run("--yes"))
    assert site.get("sys/mounts")["pki_intermediate_ca/"]["config"]["max_lease_ttl"] == 87600 * 3600


def test_a_question_is_asked_at_a_terminal(site: Site) -> None:
    document_a(site)
    role = "pki_intermediate_ca/roles/etc-az-k8s-home-server-crt"
    before = site.get(role)
    code, text = at_a_terminal(site, [("[y/N]", "n")])
    assert code == 0, text
    assert site.get(role) == before
    code, text = at_a_terminal(site, [("[y/N]", "y")])
    assert code == 0, text
    assert site.get(role)["allowed_domains"] == ["etcd.az1.k8s.home", "etcd.az2.k8s.home", "etcd.az3.k8s.home"]


def test_the_token_is_asked_for_at_a_terminal(site: Site) -> None:
    site.inventory()
    site.make_root()
    refused = site.run(token=None)
    assert refused.code != 0
    assert "VAULT_TOKEN" in refused.text
    assert site.names("sys/policies/acl") == ["default"]
    code, text = at_a_terminal(site, [("stored nowhere", ROOT_TOKEN)], token=None)
    assert code == 0, text
    assert ROOT_TOKEN not in text
    assert "etcdfleet-home" in site.names("sys/policies/acl")
    assert not (site.folder / ".vault-token").exists()


def at_a_terminal(site: Site, script: list[tuple[str, str]], token: str | None = ROOT_TOKEN) -> tuple[int, str]:
    """The runbook with a terminal at which a person answers: (what is waited for, what is typed) in order."""
    runbook = str(ROOT / "runbooks/setup_pki.py")
    return at_terminal(
        [sys.executable, runbook, "--config", "config.yaml", "--report-dir", "reports"],
        {**site.environment(token), "TERM": "dumb"},
        typed=[(asked, f"{answer}\n".encode()) for asked, answer in script],
        cwd=site.folder,
    )


def test_a_mount_of_another_kind_is_refused_before_anything(site: Site) -> None:
    site.inventory()
    site.make_root()
    site.server.call("POST", "sys/mounts/pki_etcd_home_client", {"type": "kv"})
    before = site.state()
    ran = site.run("--yes")
    assert ran.code == 1, ran.text
    assert "of type kv, not pki" in ran.errors
    assert site.state() == before


def test_a_ca_below_another_root_is_refused_before_anything(site: Site) -> None:
    site.inventory()
    site.make_root()
    site.make_root("pki_other")
    site.server.call("POST", "sys/mounts/pki_etcd_home_client", {"type": "pki"})
    site.server.call("POST", "pki_etcd_home_client/root/generate/internal", {"common_name": "Stranger"})
    before = site.state()
    ran = site.run("--yes")
    assert ran.code == 1, ran.text
    assert "does not lead to the root CA" in ran.errors
    assert site.state() == before


def test_a_root_is_made_only_when_asked_for(site: Site) -> None:
    site.inventory()
    before = site.state()
    ran = site.run()
    assert ran.code == 1
    assert "--create-root" in ran.errors
    assert site.state() == before
    assert "root CA" in " ".join(good(site.run("--check", "--create-root")).changes)
    assert site.state() == before
    made = good(site.run("--create-root"))
    assert made.report["warnings"] == [], made.warnings
    after = site.state()
    assert [len(after[f"{mount}/"]["issuers"]) for mount in ("pki_root", *SIDES.values())] == [1, 2, 2]
    assert good(site.run("--create-root")).changes == []
    assert site.state() == after


def test_a_root_whose_mount_would_cut_the_ca_short(site: Site) -> None:
    """As it is when nobody has tuned the mount: Vault's limit is 768h, and it cuts without a word."""
    site.inventory()
    site.make_root()
    site.server.call("POST", "sys/mounts/pki_root/tune", {"max_lease_ttl": "768h"})
    ran = site.run()
    assert ran.code == 1, ran.text
    assert "max_lease_ttl" in ran.errors
    assert not site.names("pki_etcd_home_peer/issuers")
    good(site.run("--yes"))
    text = openssl("x509", "-noout", "-text", stdin=str(site.get("pki_etcd_home_peer/ca/pem")))
    begin, end = (time.mktime(time.strptime(when, "%b %d %H:%M:%S %Y GMT")) for when in _validity(text))
    assert abs(end - begin - 131400 * 3600) < 120


def test_a_run_that_was_cut_off_is_finished_with_the_key_that_is_there(site: Site) -> None:
    site.inventory()
    site.make_root()
    site.server.call("POST", "sys/mounts/pki_etcd_home_peer", {"type": "pki"})
    site.server.call(
        "POST", "pki_etcd_home_peer/intermediate/generate/internal", {"common_name": "x", "key_type": "ec"}
    )
    (key,) = site.names("pki_etcd_home_peer/keys")
    good(site.run("--yes"))
    assert site.names("pki_etcd_home_peer/keys") == [key]
    assert "etcd home peer CA" in openssl(
        "x509", "-noout", "-subject", stdin=str(site.get("pki_etcd_home_peer/ca/pem"))
    )


def test_warnings_of_vault_reach_the_user(site: Site) -> None:
    site.inventory()
    site.make_root()
    site.server.call("POST", "pki_root/config/urls", {"issuing_certificates": ""})
    ran = good(site.run())
    assert "authority information access" in ran.warnings
    assert "authority information access" in ran.text
