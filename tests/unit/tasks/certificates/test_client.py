"""Client certificates for people: keys and requests made here, files written whole, names and lives refused."""

from __future__ import annotations

import stat
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from etcdfleet.certs import Want, public_key_fingerprint, request_problems, want_for
from etcdfleet.certs.local import key_pem, make_key, request_for
from etcdfleet.client_files import client_files
from etcdfleet.drivers.certificates import Obtained
from etcdfleet.errors import CertificateError, FleetError, UsageError
from etcdfleet.settings.auth import AuthSettings
from tasks.certificates.client import must_fit, unknown_user
from tests.unit.support import certs_ca
from tests.unit.support.site import settings

ENDPOINTS = ("https://a:2379", "https://b:2379")


def want_client(name: str = "alice", anchor: str = "") -> Want:
    return want_for("client", fqdn="", address="", usages=("client",), trust_anchor=anchor, common_name=name)


@pytest.mark.parametrize("key_type", ["rsa-2048", "rsa-3072", "ec-p256", "ec-p384"])
def test_keys_and_requests(key_type: str) -> None:
    key = make_key(key_type)
    csr = request_for(key, "alice@example.org")
    assert request_problems(want_client("alice@example.org"), csr, key_type) == ()
    assert public_key_fingerprint(csr) == public_key_fingerprint(key_pem(key))
    serialization.load_pem_private_key(key_pem(key).encode(), None)


def test_files(tmp_path: Path) -> None:
    files = client_files(tmp_path / "deep" / "a folder", "alice")
    assert not files.existing
    files.write(key="KEY\n", certificate="CERT\n", ca="CA\n", endpoints=ENDPOINTS, about="alice, for a while")
    assert files.existing == (files.key, files.certificate, files.environment)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (files.folder, *files.folder.iterdir())}
    assert modes == {"a folder": 0o700, "alice.key": 0o600, "alice.pem": 0o644, "alice.env": 0o644, "ca.pem": 0o644}
    assert files.environment.read_text().startswith(
        "# alice, for a while\n"
        "export ETCDCTL_ENDPOINTS=https://a:2379,https://b:2379\n"
        f"export ETCDCTL_CACERT='{files.ca}'\n"
        f"export ETCDCTL_CERT='{files.certificate}'\n"
        f"export ETCDCTL_KEY='{files.key}'\n"
    )


@pytest.mark.parametrize(
    ("says", "api"),
    [
        ("echo 'etcdctl version: 3.3.25'; echo 'API version: 2'", "3"),  # Ubuntu 22.04's
        ("echo 'etcdctl version: 3.4.23'; echo 'API version: 3.4'", ""),
        ("echo 'etcdctl version: 3.6.14'; echo 'API version: 3.6'", ""),
        ("echo 'Error: unknown flag: --version' >&2; exit 128", ""),
        ("exit 127", ""),
    ],
)
def test_the_old_api_s_variable_is_for_an_old_etcdctl(tmp_path: Path, says: str, api: str) -> None:
    files = client_files(tmp_path, "alice")
    files.write(key="KEY\n", certificate="CERT\n", ca="CA\n", endpoints=ENDPOINTS, about="alice")
    etcdctl = tmp_path / "etcdctl"
    etcdctl.write_text(f"#!/bin/sh\n{says}\n")
    etcdctl.chmod(0o755)
    asked = f'. {files.environment}; echo "$ETCDCTL_API"'
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", asked], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (api, "")


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    files = client_files(tmp_path, "alice")
    files.write(key="KEY\n", certificate="CERT\n", ca="CA\n", endpoints=ENDPOINTS, about="first")
    files.environment.unlink()
    files.environment.mkdir()  # cannot be replaced by a file
    with pytest.raises(FleetError, match="cannot be written"):
        files.write(key="NEW\n", certificate="NEW\n", ca="CA\n", endpoints=ENDPOINTS, about="second")
    pair = [path.read_text() if path.exists() else "" for path in (files.key, files.certificate)]
    assert pair != ["NEW\n", "CERT\n"], "a key beside another key's certificate"
    assert not list(tmp_path.glob(".*")), "nothing half written is left"


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FleetError, match="cannot be written"):
        client_files(tmp_path / "file", "alice").write(key="", certificate="", ca="", endpoints=(), about="")


@pytest.mark.parametrize("name", ["", " alice", "../alice", "a/b", ".hidden", "-x", "a\nb", "a" * 65])
def test_names_that_cannot_be(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        client_files(tmp_path, name)


def test_who_is_no_user_is_warned_of() -> None:
    auth = AuthSettings.model_validate({"enabled": True, "users": {"alice": {}}})
    assert unknown_user(settings(auth=auth), "alice") == ()
    assert unknown_user(settings(auth=auth), "root") == ()
    assert "user alic is not among auth.users (did you mean alice?)" in unknown_user(settings(auth=auth), "alic")[0]


def test_where_etcd_asks_nobody_who_it_is_that_is_said() -> None:
    for off in (AuthSettings(), AuthSettings(enabled=False), AuthSettings.model_validate({"users": {"alice": {}}})):
        said = unknown_user(settings(auth=off), "alice")
        assert len(said) == 1
        assert "while it is off, alice may read and write everything" in said[0]


def signed(**how: object) -> tuple[str, str, str]:
    """Bundle, key and trust anchor of a certificate that a CA made for alice."""
    root = certs_ca.ca("Root")
    made = certs_ca.leaf(root, "alice", **{"dns": (), "ips": (), "usages": ("client",), "end": _END, **how})  # type: ignore[arg-type]
    return made.pem, certs_ca.pem_of(made.key), root.pem


_END = certs_ca.NOW + timedelta(days=3650)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        @staticmethod
        def now(_zone: object) -> object:
            return certs_ca.NOW

    monkeypatch.setattr("tasks.certificates.client.datetime", Clock)


@pytest.mark.parametrize(
    ("how", "ttl", "problem"),
    [
        ({}, 30, ""),
        ({"usages": ("server", "client")}, 30, "may also be used as a server certificate"),
        ({"dns": ("etcd.home",)}, 30, "also valid for etcd.home"),
        ({"end": certs_ca.NOW + timedelta(days=10)}, 30, "it ends at"),
        ({"end": certs_ca.NOW + timedelta(days=30) - timedelta(minutes=2)}, 30, ""),
    ],
)
def test_what_comes_back_is_looked_at(how: dict[str, object], ttl: int, problem: str) -> None:
    pem, key, anchor = signed(**how)
    made = Obtained(pem, warnings=("Vault cut it",))

    def fit() -> str:
        return must_fit(want_client(anchor=anchor), made, key, timedelta(days=ttl), "Vault").pem

    if not problem:
        assert fit() == pem
        return
    with pytest.raises(CertificateError, match=problem) as caught:
        fit()
    assert "Vault says: Vault cut it" in caught.value.what
    assert "was not written" in caught.value.what
