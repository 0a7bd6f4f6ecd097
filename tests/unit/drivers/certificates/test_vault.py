"""Roles of Vault, judged before a run changes anything: against a real OpenBao, so that its own verdict is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from etcdfleet.certs.local import make_key, request_for
from etcdfleet.drivers.certificates import vault as module
from etcdfleet.drivers.certificates.vault import VaultSource, key_problem
from etcdfleet.errors import VaultError
from etcdfleet.roles import RoleName
from etcdfleet.settings.pki import KeyType
from etcdfleet.settings.vault import VaultPki
from etcdfleet.vault import RoleFacts, policy_for
from tests.unit.host.test_preflight import GOOD
from tests.unit.support import vault_server
from tests.unit.support.site import settings
from tests.unit.support.vault_server import ROOT_TOKEN, Server
from tests.unit.vault.test_client import CLIENT, FQDN, MOUNT, PEER, ROLES, SERVER, connect, token_for

JUDGED = "judged"
CLIENT_ONLY = {"server_flag": False, "client_flag": True, "ext_key_usage": "ClientAuth"}
SERVER_ONLY = {"server_flag": True, "client_flag": False, "ext_key_usage": "ServerAuth"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with vault_server.running(tmp_path_factory.mktemp("bao")) as running:
        vault_server.set_up_pki(running)
        yield running


class Judge:
    """Lets a driver check roles as a deploy does."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server, self.monkeypatch = server, monkeypatch

    def change(self, role: str, **changes: Any) -> None:
        """Makes the role of the test out of a good one."""
        self.server.call("POST", f"{MOUNT}/roles/{JUDGED}", {**vault_server.roles()[role], **changes})

    def check(self, role: RoleName, name: str = JUDGED, *, token: str = ROOT_TOKEN, **pki: Any) -> tuple[str, ...]:
        """What the driver warns of."""
        roles = {each: {"name": name if each == role else ROLES[each]} for each in ROLES}
        of = VaultPki.model_validate({"trust": "single", "mount": MOUNT, "roles": roles, **pki})
        with connect(self.server, token) as vault:
            self.monkeypatch.setattr(module, "vault_of", lambda *_: vault)
            return VaultSource(of, cast(Any, None)).check(settings(pki=of, service_name="etcd.home"), GOOD, (role,))

    def refused(self, *args: Any, **how: Any) -> VaultError:
        with pytest.raises(VaultError) as caught:
            self.check(*args, **how)
        return caught.value


@pytest.fixture
def judge(server: Server, monkeypatch: pytest.MonkeyPatch) -> Judge:
    return Judge(server, monkeypatch)


@pytest.mark.parametrize(
    ("kind", "bits", "wanted", "problem"),
    [
        ("rsa", 2048, "rsa-2048", ""),
        ("rsa", 2048, "rsa-3072", ""),  # a role says how many bits a key must have at least
        ("rsa", 3072, "rsa-2048", "it signs for rsa keys of 3072 bits or more, and pki.key_type is rsa-2048"),
        ("rsa", 2048, "ec-p256", "it signs for rsa keys of 2048 bits or more, and pki.key_type is ec-p256"),
        ("ec", 256, "ec-p256", ""),
        ("ec", 256, "ec-p384", ""),
        ("ec", 384, "ec-p256", "it signs for ec keys of 384 bits or more, and pki.key_type is ec-p256"),
        ("ec", 256, "rsa-2048", "it signs for ec keys of 256 bits or more, and pki.key_type is rsa-2048"),
        ("ed25519", 0, "ec-p256", "it signs for ed25519 keys, and pki.key_type is ec-p256"),
        ("any", 0, "rsa-2048", ""),
        ("any", 0, "ec-p256", ""),
    ],
)
def test_keys_are_judged_as_the_server_does(
    server: Server, judge: Judge, kind: str, bits: int, wanted: KeyType, problem: str
) -> None:
    judge.change(SERVER, key_type=kind, key_bits=bits)
    with connect(server) as vault:
        facts = vault.read_role(MOUNT, JUDGED)
        assert facts
        assert key_problem(facts, wanted) == problem
        try:
            vault.issue(MOUNT, JUDGED, csr=request_for(make_key(wanted), FQDN), common_name=FQDN)
            verdict = ""
        except VaultError as error:
            verdict = error.what
    assert bool(verdict) == bool(problem), verdict


def test_a_role_that_says_nothing_of_keys_is_not_judged_by_them() -> None:
    assert key_problem(RoleFacts.from_answer(MOUNT, JUDGED, {}), "ec-p384") == ""


@pytest.mark.parametrize("role", ["peer", "server", "client"])
def test_good_roles_are_passed(judge: Judge, role: RoleName) -> None:
    warnings = judge.check(role, ROLES[role])
    assert len(warnings) == 1
    assert "root token" in warnings[0]


@pytest.mark.parametrize(
    ("role", "changes", "what", "remedy"),
    [
        (
            "peer",
            SERVER_ONLY,
            "it issues certificates for server, and the peer certificate needs server and client",
            "correct pki.roles.peer.name (or its usages)",
        ),
        (
            "server",
            CLIENT_ONLY,
            "it issues certificates for client, and the server certificate needs server",
            "correct pki.roles.server.name (or its usages)",
        ),
        (
            "client",
            {"server_flag": True, "ext_key_usage": "ServerAuth,ClientAuth"},
            "it issues certificates for client and server, and the client certificate needs client",
            "correct pki.roles.client.name (or its usages)",
        ),
        (
            "server",
            {"max_ttl": "720h"},
            "it issues for at most 720h, and pki.roles.",
            "lower pki.roles.server.ttl",
        ),
        (
            "server",
            {"key_type": "ec", "key_bits": 256},
            "it signs for ec keys of 256 bits or more, and pki.key_type is rsa-2048",
            "correct pki.key_type",
        ),
        ("server", {"key_bits": 4096}, "it signs for rsa keys of 4096 bits", "correct pki.key_type"),
        (
            "peer",
            {"allow_ip_sans": False},
            "it signs for no IP address, and 198.51.100.11 must be in the certificate",
            "setup_pki.py",
        ),
        (
            "server",
            {"allowed_domains": "etcd.az2.k8s.home,etcd.home"},
            f"it does not sign for {FQDN} (it allows etcd.az2.k8s.home, etcd.home)",
            "correct member.fqdn, cluster.service_name",
        ),
        (
            "server",
            {"allowed_domains": FQDN},
            f"it does not sign for etcd.home (it allows {FQDN})",
            "correct member.fqdn, cluster.service_name",
        ),
        (
            "client",
            {"allow_any_name": False, "allowed_domains": "admin", "allow_bare_domains": True},
            "it does not sign for root (it allows admin)",
            "pki.client_common_name",
        ),
    ],
)
def test_a_role_for_something_else_is_refused(
    judge: Judge, role: RoleName, changes: dict[str, Any], what: str, remedy: str
) -> None:
    judge.change(ROLES[role], **changes)
    refused = judge.refused(role)
    assert refused.what.startswith(what)
    assert refused.where == f"role {JUDGED} of {MOUNT}"
    assert remedy in refused.remedy
    assert "python runbooks/setup_pki.py --check --diff" in refused.remedy


def test_keys_that_vault_makes_are_as_its_role_says(judge: Judge) -> None:
    judge.change(SERVER, key_type="ec", key_bits=256)
    assert len(judge.check("server", key_origin="vault")) == 1


def test_a_role_that_is_not_there_is_named_beside_those_that_are(judge: Judge) -> None:
    refused = judge.refused("server", "etcd-servr")
    assert refused.what.startswith(f"Vault has no role 'etcd-servr' in the mount '{MOUNT}'; the roles there are: ")
    assert {PEER, SERVER, CLIENT} <= set(refused.what.rpartition(": ")[2].split(", "))
    assert "correct pki.roles.server.name or pki.mount" in refused.remedy


def token(server: Server, **paths: str) -> str:
    """A token with these capabilities for the role of the test."""
    rights = {f"{MOUNT}/{path}/{JUDGED}": [capability] for path, capability in paths.items()}
    server.call("PUT", "sys/policies/acl/judged", {"policy": policy_for(rights)})
    return token_for(server, "judged")


@pytest.mark.parametrize(
    ("rights", "origin", "path"),
    [
        ({"roles": "read"}, "host", f"{MOUNT}/sign/{JUDGED}"),
        ({"roles": "read", "issue": "update"}, "host", f"{MOUNT}/sign/{JUDGED}"),
        ({"roles": "read", "sign": "update"}, "vault", f"{MOUNT}/issue/{JUDGED}"),
    ],
)
def test_a_token_that_may_not_use_a_role_is_told_what_it_lacks(
    server: Server, judge: Judge, rights: dict[str, str], origin: str, path: str
) -> None:
    judge.change(SERVER)
    refused = judge.refused("server", token=token(server, **rights), key_origin=origin)
    assert refused.what == f"the token (VAULT_TOKEN) may not write to {path}"
    assert f'path "{path}" {{ capabilities = ["update"] }}' in refused.remedy


def test_what_a_token_may_not_read_is_left_to_the_check_of_what_comes_back(server: Server, judge: Judge) -> None:
    """A policy written by hand may allow no more than the use of a role: that is no reason to stop."""
    judge.change(SERVER, **CLIENT_ONLY, allowed_domains="other.home", key_type="ec", key_bits=256)
    assert judge.check("server", token=token(server, sign="update")) == ()
    reader = token(server, sign="update", roles="read")
    assert "issues certificates for client" in judge.refused("server", token=reader).what
