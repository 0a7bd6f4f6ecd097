"""The Vault client against a real OpenBao over TLS; only dropped and hung connections come from a server of our own."""

from __future__ import annotations

import subprocess
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from etcdfleet import certs
from etcdfleet.certs import parse_pem_bundle
from etcdfleet.errors import VaultError
from etcdfleet.renewal import RenewBefore
from etcdfleet.roles import RoleName, Usage
from etcdfleet.vault import AppRoleAuth, RoleFacts, Secret, TokenAuth, Vault, VaultConnection, policy_for
from etcdfleet.vault.admin import VaultAdmin
from etcdfleet.vault.names import name_problem
from etcdfleet.vault.transport import CONNECT_SECONDS, READ_SECONDS, Transport
from tests.unit.support import vault_server
from tests.unit.support.certs_ca import key as make_key
from tests.unit.support.vault_server import ROOT_TOKEN, Server

MOUNT = "pki_intermediate_ca"
PEER, SERVER, CLIENT = (
    "etc-az-k8s-home-server-crt",
    "etc-az-k8s-home-server-only-crt",
    "etc-az-k8s-home-client-only-crt",
)
FQDN = "etcd.az1.k8s.home"
WRONG = "s.wrong-token"
PATIENCE = (CONNECT_SECONDS, READ_SECONDS)
ROLES = {"peer": PEER, "server": SERVER, "client": CLIENT}
POLICY = {f"{MOUNT}/issue/{PEER}": ["update"], f"{MOUNT}/sign/{PEER}": ["update"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with vault_server.running(tmp_path_factory.mktemp("bao")) as running:
        vault_server.set_up_pki(running)
        running.call("PUT", "sys/policies/acl/issuer", {"policy": policy_for(POLICY)})
        yield running


def connect(
    server: Server, token: str | None = ROOT_TOKEN, *, timeout: tuple[float, float] | None = None, **changes: Any
) -> Vault:
    """A client with the project's own time-outs: a busy machine makes a real Vault slow, and no test wrong."""
    auth = TokenAuth(Secret(token), "VAULT_TOKEN") if token else None
    values: dict[str, Any] = {"address": server.address, "verify": str(server.ca_file or True), "auth": auth}
    connection = VaultConnection(**{**values, **changes})
    return Vault(connection, transport=Transport(connection, pause=0.01, timeout=timeout or PATIENCE))


def at(address: str, token: str | None = None, **changes: Any) -> Vault:
    """A client of a server that behaves badly, which is found out soon."""
    return connect(Server(address), token or "t", timeout=(2, 2), **{"verify": True, **changes})


@pytest.fixture
def vault(server: Server) -> Iterator[Vault]:
    with connect(server) as made:
        yield made


def token_for(server: Server, *policies: str, **more: Any) -> str:
    answer = server.call("POST", "auth/token/create", {"policies": list(policies), "ttl": "1h", **more})
    return str(answer["auth"]["client_token"])


def test_status_and_token(server: Server, vault: Vault) -> None:
    status = vault.check_ready()
    assert (status.initialised, status.sealed, status.standby) == (True, False, False)
    assert status.version.startswith("2.")
    assert status.server_time is not None
    assert abs(status.server_time - datetime.now(UTC)) < timedelta(seconds=5)
    root = vault.token_info()
    assert root.is_root
    assert root.ttl is None
    limited = connect(server, token_for(server, "issuer", num_uses=5)).token_info()
    assert limited.ttl is not None
    assert timedelta(minutes=59) < limited.ttl <= timedelta(hours=1)
    assert limited.policies == ("default", "issuer")
    assert limited.uses_left == 4
    assert not limited.is_root
    assert ROOT_TOKEN not in repr(root)


@pytest.mark.parametrize("role", ["peer", "server", "client"])
def test_every_role_gives_what_etcd_needs_and_it_is_kept(vault: Vault, role: RoleName) -> None:
    anchor = vault.ca_pem("pki_root")
    usages: dict[str, frozenset[Usage]] = {
        "peer": frozenset({"server", "client"}),
        "server": frozenset({"server"}),
        "client": frozenset({"client"}),
    }
    want = certs.want_for(
        role,
        fqdn=FQDN,
        address="10.240.1.2",
        service_name="etcd.home",
        usages=usages[role],
        trust_anchor=anchor,
        issuing_ca=vault.ca_pem(MOUNT),
    )
    issued = vault.issue(
        MOUNT,
        ROLES[role],
        common_name=want.common_name,
        alt_names=want.alt_names,
        ip_sans=want.ip_addresses,
        ttl=timedelta(hours=43800),
    )
    assert issued.warnings == ()
    assert issued.private_key is not None
    text = certs.bundle(issued.certificate, issued.chain)
    assert [c.common_name for c in certs.parse_pem_bundle(text)] == [FQDN, "Test Intermediate"]
    now = datetime.now(UTC)
    key = issued.private_key.reveal()
    assert certs.check_bundle(want, text, key, now=now, clock_of_host=now) == ()
    pair = certs.Observed(text, certs.public_key_fingerprint(key), now)
    kept = certs.decide(want, pair, renew_before=RenewBefore.parse("1/3"))
    assert isinstance(kept, certs.Keep)
    assert kept.certificate.serial == issued.serial
    assert kept.certificate.not_after == issued.not_after


def test_openssl_agrees_with_the_chain(vault: Vault, tmp_path: Path) -> None:
    issued = vault.issue(MOUNT, PEER, common_name=FQDN, ip_sans=["10.240.1.2"])
    (tmp_path / "ca.pem").write_text(vault.ca_pem("pki_root"))
    (tmp_path / "crt.pem").write_text(certs.bundle(issued.certificate, issued.chain))
    command = ["openssl", "verify", "-CAfile", "ca.pem", "-untrusted", "crt.pem", "-purpose", "sslserver", "crt.pem"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0


def test_a_ttl_beyond_the_limit_is_cut_with_a_warning(vault: Vault) -> None:
    issued = vault.issue(MOUNT, PEER, common_name=FQDN, ttl=timedelta(hours=100000))
    assert any("longer than permitted" in warning for warning in issued.warnings)
    assert issued.not_after < datetime.now(UTC) + timedelta(hours=87601)


def test_no_key_in_what_is_shown(vault: Vault) -> None:
    issued = vault.issue(MOUNT, PEER, common_name=FQDN)
    assert "hidden" in repr(issued)
    assert "PRIVATE" not in repr(issued)
    assert "BEGIN" not in str(issued)


def test_sign_leaves_the_key_where_it_is(vault: Vault) -> None:
    names = x509.SubjectAlternativeName([x509.DNSName(FQDN)])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, FQDN)])
    private = make_key("csr", "rsa")
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(names, critical=False)
        .sign(private, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )
    issued = vault.issue(MOUNT, PEER, csr=csr, common_name=FQDN, ttl=timedelta(hours=1))
    assert issued.private_key is None
    assert certs.public_key_fingerprint(issued.certificate) == certs.public_key_fingerprint(csr)


def test_ca_and_chain_need_no_token(server: Server) -> None:
    without = connect(server, None)
    assert [certs.parse_pem_bundle(pem)[0].common_name for pem in without.ca_chain(MOUNT)] == [
        "Test Intermediate",
        "Test Root",
    ]
    assert certs.parse_pem_bundle(without.ca_pem(MOUNT))[0].common_name == "Test Intermediate"
    server.call("POST", "sys/mounts/pki_empty", {"type": "pki"})
    for ask in (without.ca_pem, without.ca_chain):
        with pytest.raises(VaultError, match="no CA certificate yet"):
            ask("pki_empty")
        with pytest.raises(VaultError, match="no PKI mount that serves this path") as caught:
            ask("pki_none")
        assert "pki.mounts, pki.mount or pki.trust_anchor.mount" in caught.value.remedy


def test_roles_are_read_back_normalised(server: Server, vault: Vault) -> None:
    facts = vault.read_role(MOUNT, SERVER)
    assert isinstance(facts, RoleFacts)
    assert facts.max_ttl == timedelta(hours=87600)
    assert facts.ttl is None
    assert facts.usages == {"server"}
    assert "etcd.home" in facts.allowed_domains
    assert facts.allow_ip_sans
    assert not facts.allow_localhost
    assert (facts.key_type, facts.key_bits) == ("rsa", 2048)
    client = vault.read_role(MOUNT, CLIENT)
    assert client is not None
    assert client.usages == {"client"}
    assert connect(server, token_for(server, "issuer")).read_role(MOUNT, SERVER) is None


def test_roles_as_older_servers_write_them() -> None:
    data = {"max_ttl": "87600h0m0s", "ttl": "30m", "allowed_domains": "a.b,c.d", "ext_key_usage": ["Any"]}
    facts = RoleFacts.from_answer("m", "r", data)
    assert facts.max_ttl == timedelta(hours=87600)
    assert facts.ttl == timedelta(minutes=30)
    assert facts.allowed_domains == ("a.b", "c.d")
    assert facts.usages == {"server", "client"}


def test_access_is_asked_before_it_is_needed(server: Server, vault: Vault) -> None:
    wanted = {f"{MOUNT}/issue/{PEER}": ["update"], f"{MOUNT}/issue/{CLIENT}": ["update"], "sys/x": ["read", "list"]}
    assert vault.check_access(wanted) == {}
    limited = connect(server, token_for(server, "issuer"))
    missing = limited.check_access(wanted)
    assert missing == {f"{MOUNT}/issue/{CLIENT}": ("update",), "sys/x": ("read", "list")}
    assert policy_for(missing).splitlines()[0] == f'path "{MOUNT}/issue/{CLIENT}" {{ capabilities = ["update"] }}'
    assert limited.check_access({}) == {}


def test_app_role_logs_in_once_and_revokes_at_the_end(server: Server) -> None:
    server.call("POST", "auth/approle/role/fleet", {"token_policies": "issuer", "token_ttl": "10m"})
    role_id = server.call("GET", "auth/approle/role/fleet/role-id")["data"]["role_id"]
    secret_id = server.call("POST", "auth/approle/role/fleet/secret-id", {})["data"]["secret_id"]
    with connect(server, auth=AppRoleAuth(role_id, Secret(secret_id))) as vault:
        with ThreadPoolExecutor(8) as pool:
            infos = list(pool.map(lambda _: vault.token_info(), range(16)))
        assert {info.policies for info in infos} == {("default", "issuer")}
        vault.issue(MOUNT, PEER, common_name=FQDN)
        token = vault._transport.token().reveal()
    gone = server.call("GET", "auth/token/lookup-self", token=token)
    assert gone == {"errors": ["permission denied"]}


def test_a_wrong_app_role_is_refused_once_and_explained(server: Server) -> None:
    wrong = connect(server, auth=AppRoleAuth("nobody", Secret("hush-hush")))
    with pytest.raises(VaultError, match="does not accept the AppRole: invalid role or secret ID") as caught:
        wrong.token_info()
    assert "secret-id" in caught.value.remedy
    assert "hush-hush" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(VaultError, match="does not let the AppRole log in") as caught:
        connect(server, auth=AppRoleAuth("nobody", Secret("x"), mount="elsewhere")).read_role(MOUNT, PEER)
    assert "vault auth enable -path=elsewhere approle" in caught.value.remedy


def test_an_app_role_is_locked_by_many_runs_and_not_by_one(server: Server) -> None:
    server.call("POST", "auth/approle/role/locked", {"token_policies": "issuer", "token_ttl": "10m"})
    role_id = server.call("GET", "auth/approle/role/locked/role-id")["data"]["role_id"]
    secret_id = server.call("POST", "auth/approle/role/locked/secret-id", {})["data"]["secret_id"]

    def run(secret: str) -> str:
        """One run with its many questions, and what comes of it."""
        vault, answers = connect(server, auth=AppRoleAuth(role_id, Secret(secret))), set()
        for _ in range(8):
            try:
                answers.add(vault.token_info().source)
            except VaultError as error:
                answers.add(error.remedy)
        assert len(answers) == 1
        vault.close()
        return answers.pop()

    assert "correct" in run("wrong")
    assert "VAULT" in run(secret_id)
    unlock = f"sys/locked-users/<accessor>/unlock/{role_id}"
    for _ in range(6):
        told = run("wrong")
    assert unlock in told
    assert unlock in run(secret_id)
    accessor = server.call("GET", "sys/auth")["data"]["approle/"]["accessor"]
    server.call("POST", unlock.replace("<accessor>", accessor))
    assert "VAULT" in run(secret_id)


def test_many_threads_get_their_own_names(vault: Vault) -> None:
    names = [f"etcd.az{number % 3 + 1}.k8s.home" for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        made = list(pool.map(lambda name: vault.issue(MOUNT, PEER, common_name=name, ip_sans=["127.0.0.1"]), names))
    assert [certs.parse_pem_bundle(issued.certificate)[0].common_name for issued in made] == names
    assert len({issued.serial for issued in made}) == 12


@pytest.mark.parametrize(
    ("role", "asked", "what", "remedy"),
    [
        (PEER, {"common_name": "stranger.home"}, "stranger.home not allowed by this role", "allowed_domains"),
        (PEER, {"common_name": FQDN, "alt_names": ["localhost"]}, "localhost not allowed", "allowed_domains"),
        (CLIENT, {"common_name": FQDN, "ip_sans": ["10.0.0.1"]}, "IP Subject Alternative Names", "allow_ip_sans=true"),
        ("nope", {"common_name": FQDN}, f"no role 'nope' in the mount '{MOUNT}'; the roles there are: etc-az", "roles"),
    ],
)
def test_what_a_role_refuses_is_passed_on(
    vault: Vault, role: str, asked: dict[str, Any], what: str, remedy: str
) -> None:
    with pytest.raises(VaultError) as caught:
        vault.issue(MOUNT, role, **asked)
    assert what in caught.value.what
    assert remedy in caught.value.remedy
    assert MOUNT in str(caught.value)


@pytest.mark.parametrize(
    "name", ["etcd.az1.k8s.home", "ETCD.az1.k8s.home", "x.k8s.home", "k8s.home", "localhost", "a.b"]
)
@pytest.mark.parametrize(
    "role",
    [
        {"allowed_domains": "etcd.az1.k8s.home", "allow_bare_domains": True},
        {"allowed_domains": "etcd.az1.k8s.home", "allow_bare_domains": False},
        {"allowed_domains": "k8s.home", "allow_subdomains": True, "allow_localhost": False},
        {"allowed_domains": "k8s.home", "allow_subdomains": True, "allow_bare_domains": True},
        {"allowed_domains": "*.k8s.home", "allow_glob_domains": True},
        {"allowed_domains": "*.k8s.home", "allow_glob_domains": False},
        {"allowed_domains": ""},
        {"allow_any_name": True},
    ],
)
def test_the_names_of_a_role_are_judged_as_the_server_does(
    server: Server, vault: Vault, role: dict[str, Any], name: str
) -> None:
    server.call("POST", f"{MOUNT}/roles/names", {"allow_ip_sans": True, "ttl": "1h", **role})
    facts = vault.read_role(MOUNT, "names")
    assert facts
    try:
        vault.issue(MOUNT, "names", common_name=name)
        problem = ""
    except VaultError as error:
        problem = error.what
    assert bool(name_problem(facts, [name], [])) == bool(problem), problem


def test_addresses_of_a_role_are_judged_as_the_server_does(server: Server, vault: Vault) -> None:
    server.call("POST", f"{MOUNT}/roles/names", {"allow_any_name": True, "allow_ip_sans": False, "ttl": "1h"})
    facts = vault.read_role(MOUNT, "names")
    assert facts
    assert "allow_ip_sans" in name_problem(facts, [FQDN], ["192.0.2.1"])
    with pytest.raises(VaultError, match="IP Subject Alternative Names"):
        vault.issue(MOUNT, "names", common_name=FQDN, ip_sans=["192.0.2.1"])
    assert name_problem(facts, [FQDN], []) == ""


@pytest.mark.parametrize("demands", [True, False])
def test_no_common_name_is_judged_as_the_server_does(server: Server, vault: Vault, demands: bool) -> None:
    """What a name of more than 64 characters needs: it is among the names alone."""
    long = f"{'x' * 60}.k8s.home"
    role = {
        "allowed_domains": long,
        "allow_bare_domains": True,
        "require_cn": demands,
        "key_type": "ec",
        "key_bits": 256,
    }
    server.call("POST", f"{MOUNT}/roles/names", role)
    facts = vault.read_role(MOUNT, "names")
    assert facts
    if demands:
        assert "require_cn" in name_problem(facts, ["", long], [])
        with pytest.raises(VaultError, match="common_name"):
            vault.issue(MOUNT, "names", common_name="", alt_names=[long])
        return
    assert name_problem(facts, ["", long], []) == ""
    (leaf,) = parse_pem_bundle(vault.issue(MOUNT, "names", common_name="", alt_names=[long]).certificate)
    assert (leaf.common_name, leaf.dns_names) == ("", (long,))


def test_life_beyond_the_ca_and_mounts_that_are_not_there(server: Server, vault: Vault) -> None:
    server.call("POST", "sys/mounts/pki_short", {"type": "pki"})
    server.call("POST", "pki_short/root/generate/internal", {"common_name": "Short", "ttl": "2h"})
    server.call("POST", "pki_short/roles/r", {"allow_any_name": True, "max_ttl": "100h"})
    with pytest.raises(VaultError, match="beyond the expiration of the CA") as caught:
        vault.issue("pki_short", "r", common_name="a.b", ttl=timedelta(hours=50))
    assert "shorter life" in caught.value.remedy
    with pytest.raises(VaultError, match="no PKI mount that serves this path"):
        vault.issue("pki_none", PEER, common_name=FQDN)
    with pytest.raises(VaultError, match="no PKI mount that serves this path"):
        vault.read_role("pki_none", PEER)
    with pytest.raises(VaultError, match="no role 'nope'"):
        vault.read_role(MOUNT, "nope")
    server.call("POST", "sys/mounts/pki_bare", {"type": "pki"})
    server.call("POST", "pki_bare/roles/r", {"allow_any_name": True})
    with pytest.raises(VaultError, match="no CA certificate yet"):
        vault.issue("pki_bare", "r", common_name="a.b")


def test_a_token_without_the_right_and_a_wrong_token_are_told_apart(server: Server) -> None:
    limited = connect(server, token_for(server, "issuer"))
    limited.issue(MOUNT, PEER, common_name=FQDN)
    path = f"{MOUNT}/issue/{CLIENT}"
    with pytest.raises(VaultError, match='needs the capability "update"') as caught:
        limited.issue(MOUNT, CLIENT, common_name=FQDN)
    assert path in caught.value.where
    assert f'path "{path}" {{ capabilities = ["update"] }}' in caught.value.remedy
    with pytest.raises(VaultError, match="does not accept the token from VAULT_TOKEN") as caught:
        connect(server, WRONG).issue(MOUNT, PEER, common_name=FQDN)
    assert WRONG not in "".join(traceback.format_exception(caught.value))
    bare = connect(server, token_for(server, "issuer", no_default_policy=True))
    bare.issue(MOUNT, PEER, common_name=FQDN)
    with pytest.raises(VaultError, match="may not use this path"):
        bare.issue(MOUNT, CLIENT, common_name=FQDN)
    with pytest.raises(VaultError, match="may not use this path") as caught:
        bare.check_access({path: ["update"]})
    assert "sys/capabilities-self" in caught.value.where


def test_no_token(server: Server) -> None:
    with pytest.raises(VaultError, match="no token") as caught:
        connect(server, None).issue(MOUNT, PEER, common_name=FQDN)
    for way in ("VAULT_TOKEN", "VAULT_TOKEN_FILE", "VAULT_ROLE_ID", "VAULT_SECRET_ID", "~/.vault-token"):
        assert way in caught.value.remedy


def test_wrong_namespace(server: Server) -> None:
    astray = connect(server, namespace="nowhere")
    assert not astray.status().sealed
    with pytest.raises(VaultError, match="no namespace 'nowhere'"):
        astray.token_info()


def test_sealed_and_killed(tmp_path: Path) -> None:
    with vault_server.running(tmp_path, tls=False) as server:
        vault = connect(server, verify=True)
        vault.check_ready()
        server.call("PUT", "sys/seal")
        assert vault.status().sealed
        begin = time.monotonic()
        for ask in (vault.check_ready, vault.token_info, lambda: vault.ca_pem("x"), lambda: vault.read_role("x", "y")):
            with pytest.raises(VaultError, match="Vault is sealed") as caught:
                ask()
            assert "unseal" in caught.value.remedy
        assert time.monotonic() - begin < 2
        server.call("PUT", "sys/unseal", {"key": server.unseal_key})
        assert vault.token_info().is_root
        assert server.process is not None
        server.process.kill()
        server.process.wait(10)
        for _ in range(2):
            with pytest.raises(VaultError, match="nothing listens at this address") as caught:
                vault.token_info()
        assert caught.value.where == server.address
        assert "VAULT_ADDR" in caught.value.remedy


def test_not_initialised(tmp_path: Path) -> None:
    with vault_server.uninitialised(tmp_path) as server:
        vault = at(server.address)
        assert not vault.status().initialised
        for ask in (vault.check_ready, vault.token_info):
            with pytest.raises(VaultError, match="not initialised") as caught:
                ask()
            assert "operator init" in caught.value.remedy


def test_tls_that_cannot_be_trusted(server: Server) -> None:
    with pytest.raises(VaultError, match="signed by a CA that is not trusted here") as caught:
        at(server.address).status()
    assert "VAULT_CACERT" in caught.value.remedy
    other = server.address.replace("127.0.0.1", "127.1")  # the same address, but not by that name in the certificate
    with pytest.raises(VaultError, match="TLS connection is not trustworthy: its certificate is for another"):
        at(other, verify=str(server.ca_file)).status()
    plain = at(server.address.replace("https:", "http:"))
    with pytest.raises(VaultError, match=r"speaks TLS on this port|dropped the connection") as caught:
        plain.status()
    assert "https://" in caught.value.remedy
    with (
        vault_server.misbehaving((200, {})) as badly,
        pytest.raises(VaultError, match="does not speak TLS on that port"),
    ):
        at(badly.address.replace("http:", "https:")).status()


def test_a_name_that_does_not_resolve() -> None:
    begin = time.monotonic()
    with pytest.raises(VaultError, match="does not resolve"):
        at("http://vault.invalid:8200").status()
    assert time.monotonic() - begin < 10


GOOD = (200, {"data": {"ttl": 60, "expire_time": "x", "policies": ["p"]}})
NO_LEADER = (500, {"errors": ["local node not active but active cluster node not found"]})
HEALTH = (200, {"initialized": True, "sealed": False, "standby": True, "version": "1"})


@pytest.mark.parametrize(
    "script",
    [
        ["drop", "drop", "drop", GOOD],
        [(502, {}), (503, {"errors": ["upstream"]}), (473, {"errors": []}), GOOD],
        [(429, {"errors": ["slow down"]}), (472, {}), NO_LEADER, GOOD],
    ],
)
def test_what_passes_is_tried_again(script: list[Any]) -> None:
    with vault_server.misbehaving(*script) as badly:
        assert at(badly.address).token_info().ttl == timedelta(seconds=60)
        assert len(badly.seen) == 4


def test_a_refusal_is_not_tried_again() -> None:
    with vault_server.misbehaving((400, {"errors": ["odd words"]})) as badly:
        with pytest.raises(VaultError, match="Vault refused: odd words"):
            at(badly.address).token_info()
        assert len(badly.seen) == 1


@pytest.mark.parametrize(
    ("script", "what", "requests"),
    [
        (["drop"], r"dropped the connection, 4 times in a row", 4),
        (["hang"], r"took the request but did not answer", 1),
        ([NO_LEADER, NO_LEADER, NO_LEADER, NO_LEADER, HEALTH], r"standby, and its cluster has no leader", 5),
        ([(429, {"errors": ["quota"]})], r"limits the rate of requests: quota", 4),
        ([(502, {})], r"Vault failed: status 502|Vault failed: \{\}", 8),
    ],
)
def test_what_does_not_pass_ends_with_words(script: list[Any], what: str, requests: int) -> None:
    with vault_server.misbehaving(*script) as badly:
        vault = at(badly.address)
        with pytest.raises(VaultError, match=what):
            vault.token_info()
        assert len(badly.heard()) == requests


def test_a_broken_connection_has_words_for_an_administrator_too() -> None:
    with vault_server.misbehaving("drop") as badly:
        connection = at(badly.address).connection
        admin = VaultAdmin(connection, transport=Transport(connection, pause=0.01, timeout=(2, 2)))
        for ask in (lambda: admin.read("sys/policies/acl/x"), lambda: admin.keys("pki"), admin.mounts):
            with pytest.raises(VaultError, match="dropped the connection, 4 times in a row"):
                ask()


def test_what_is_not_vault_at_all() -> None:
    with (
        vault_server.misbehaving((200, {"hello": "world"})) as badly,
        pytest.raises(VaultError, match="what answers there is not Vault"),
    ):
        at(badly.address).status()


def test_no_request_of_an_error_can_be_dug_out() -> None:
    with vault_server.misbehaving("drop") as badly:
        with pytest.raises(VaultError) as caught:
            at(badly.address, "s.very-secret").token_info()
        error: BaseException | None = caught.value
        while error is not None:
            assert not hasattr(error, "request")
            assert "s.very-secret" not in repr(vars(error))
            error = error.__cause__ or error.__context__
