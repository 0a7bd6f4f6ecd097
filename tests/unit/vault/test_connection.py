"""Where Vault is and who we are to it, from settings and environment; and that a Secret stays one."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from etcdfleet.errors import VaultError
from etcdfleet.vault import AppRoleAuth, Secret, TokenAuth, VaultConnection
from etcdfleet.vault.transport import Transport
from tests.unit.support.certs_ca import ROOT

ADDRESS = "https://vault.home:8200"


def read(home: Path, address: str | None = ADDRESS, namespace: str | None = None, **environ: str) -> VaultConnection:
    return VaultConnection.from_env(address=address, namespace=namespace, environ=environ, home=home)


def test_the_environment_wins_over_the_settings(tmp_path: Path) -> None:
    connection = read(tmp_path, namespace="team/", VAULT_ADDR="https://other:8200/", VAULT_TOKEN="s.x\n")
    assert connection.address == "https://other:8200"
    assert connection.namespace == "team"
    assert connection.auth == TokenAuth(Secret("s.x"), "VAULT_TOKEN")
    assert connection.verify is True
    assert connection.warnings == ()
    assert read(tmp_path, namespace="team", VAULT_NAMESPACE="other").namespace == "other"
    assert read(tmp_path).address == ADDRESS
    assert read(tmp_path).auth is None
    assert "s.x" not in repr(connection)


def test_ways_to_log_in_in_their_order(tmp_path: Path) -> None:
    file, home_file = tmp_path / "token", tmp_path / ".vault-token"
    for path, text in ((file, "from-file\n"), (home_file, "from-home")):
        path.write_text(text)
        path.chmod(0o600)
    role = {"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}
    both = {**role, "VAULT_TOKEN_FILE": str(file)}
    assert read(tmp_path, **both, VAULT_TOKEN="t").auth == TokenAuth(Secret("t"), "VAULT_TOKEN")
    assert read(tmp_path, **both).auth == TokenAuth(Secret("from-file"), "VAULT_TOKEN_FILE")
    assert read(tmp_path, **role).auth == AppRoleAuth("r", Secret("s"))
    assert read(tmp_path, VAULT_TOKEN="").auth == TokenAuth(Secret("from-home"), str(home_file))
    file.chmod(0o644)
    assert "chmod 600" in read(tmp_path, VAULT_TOKEN_FILE=str(file)).warnings[0]


def test_trust(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(ROOT.pem)
    hashed = tmp_path / "hashed"
    hashed.mkdir()
    (hashed / "0a1b2c3d.0").write_text(ROOT.pem)
    assert read(tmp_path, VAULT_CACERT=str(file)).verify == str(file)
    assert read(tmp_path, VAULT_CAPATH=str(hashed)).verify == str(hashed)
    assert read(tmp_path, VAULT_CACERT=str(file), VAULT_CAPATH="nowhere").verify == str(file)
    assert read(tmp_path, VAULT_SKIP_VERIFY="false").verify is True
    pair = read(tmp_path, VAULT_CLIENT_CERT=str(file), VAULT_CLIENT_KEY=str(file)).client_certificate
    assert pair == (str(file), str(file))


@pytest.mark.parametrize(
    ("address", "environ", "what", "remedy"),
    [
        (None, {}, "not known where Vault is", "VAULT_ADDR"),
        (
            None,
            {"BAO_ADDR": ADDRESS, "BAO_TOKEN": "hush"},
            "not known where Vault is",
            'export VAULT_ADDR="$BAO_ADDR" VAULT_TOKEN="$BAO_TOKEN"',
        ),
        ("vault.home:8200", {}, "not an address of Vault", "pki.address"),
        (None, {"VAULT_ADDR": "ftp://x"}, "not an address of Vault", "VAULT_ADDR"),
        (None, {"VAULT_ADDR": "https://x:port"}, "not an address of Vault", "VAULT_ADDR"),
        ("https://me:hush@vault.home", {}, "more than scheme, host and port", "pki.address"),
        (ADDRESS, {"VAULT_SKIP_VERIFY": "1"}, "VAULT_SKIP_VERIFY is set", "VAULT_CACERT"),
        (ADDRESS, {"VAULT_CACERT": "/no/such/file"}, "VAULT_CACERT names cannot be read", "VAULT_CACERT"),
        (ADDRESS, {"VAULT_CACERT": __file__}, "holds no CA certificate in PEM form", "BEGIN CERTIFICATE"),
        (ADDRESS, {"VAULT_CAPATH": "/no/such"}, "not a folder with hashed", "openssl rehash"),
        (ADDRESS, {"VAULT_TOKEN_FILE": "/no/such"}, "VAULT_TOKEN_FILE names cannot be read", "VAULT_TOKEN_FILE"),
        (ADDRESS, {"VAULT_ROLE_ID": "r"}, "VAULT_ROLE_ID is set but VAULT_SECRET_ID is not", "VAULT_SECRET_ID"),
        (ADDRESS, {"VAULT_SECRET_ID": "hush"}, "VAULT_SECRET_ID is set but VAULT_ROLE_ID is not", "VAULT_ROLE_ID"),
        (ADDRESS, {"VAULT_TOKEN": "hush\nhush"}, "that is not a token", ""),
    ],
)
def test_refused_before_anything_is_contacted(
    tmp_path: Path, address: str | None, environ: dict[str, str], what: str, remedy: str
) -> None:
    with pytest.raises(VaultError) as caught:
        read(tmp_path, address, **environ)
    assert what in caught.value.what
    assert remedy in caught.value.remedy
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "hint"),
    [
        ({}, ""),
        ({"BAO_TOKEN": "hush"}, 'BAO_TOKEN set, and only VAULT_… is read here: export VAULT_TOKEN="$BAO_TOKEN"'),
        ({"BAO_TOKEN": "hush", "VAULT_TOKEN": "mine"}, ""),
        ({"BAO_FORMAT": "json"}, ""),
    ],
)
def test_variables_of_openbao_are_no_silent_loss(tmp_path: Path, environ: dict[str, str], hint: str) -> None:
    connection = read(tmp_path, **environ)
    assert connection.hint == hint
    assert connection.warnings == ((hint,) if hint else ())
    if "VAULT_TOKEN" not in environ:
        with pytest.raises(VaultError, match="there is no token for Vault") as caught:
            Transport(connection).token()
        assert hint in caught.value.remedy
        assert "hush" not in str(caught.value)


def test_an_empty_token_file_is_an_error_only_when_it_was_named(tmp_path: Path) -> None:
    (tmp_path / ".vault-token").touch()
    assert read(tmp_path).auth is None
    with pytest.raises(VaultError, match="token file is empty"):
        read(tmp_path, VAULT_TOKEN_FILE=str(tmp_path / ".vault-token"))


@pytest.mark.parametrize(
    ("address", "warned"),
    [("http://vault.home:8200", True), ("http://127.0.0.1:8200", False), ("http://localhost:8200", False)],
)
def test_plain_http_is_warned_of(tmp_path: Path, address: str, warned: bool) -> None:
    assert bool(read(tmp_path, address).warnings) == warned


def test_a_secret_shows_nothing() -> None:
    secret = Secret("hush")
    shown = f"{secret} {secret!r} {secret!s} {secret:>10} %s" % secret
    assert "hush" not in shown
    assert "hush" not in repr([secret, {"k": secret}])
    assert secret.reveal() == "hush"
    assert secret == Secret("hush")
    assert secret != Secret("hash")
    assert secret != "hush"
    assert copy.deepcopy(secret) is secret
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert not hasattr(secret, "__dict__")


def test_hvac_is_not_imported_before_it_is_needed() -> None:
    code = "import etcdfleet.vault, sys; sys.exit('hvac' in sys.modules or 'requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
