"""Key files of every form, the order in which keys are tried, and what is said when none was accepted."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paramiko
import pytest

from etcdfleet.remote.login_keys import KeyFileError, Login, RefusedError, load_key, public_half


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key files as ssh-keygen and openssl make them."""
    folder = tmp_path_factory.mktemp("keys")
    for name, options in {
        "ed25519": ["-t", "ed25519", "-N", ""],
        "rsa": ["-t", "rsa", "-N", ""],
        "ecdsa": ["-t", "ecdsa", "-N", ""],
        "pem": ["-t", "rsa", "-m", "PEM", "-N", ""],
        "locked": ["-t", "ed25519", "-N", "sesame"],
        "locked-pem": ["-t", "rsa", "-m", "PEM", "-N", "sesame"],
    }.items():
        subprocess.run(["ssh-keygen", "-q", *options, "-f", str(folder / name)], check=True)
    for name, options in {
        "pkcs8-rsa": ["RSA"],
        "pkcs8-ed25519": ["ed25519"],
        "locked-pkcs8": ["RSA", "-aes256", "-pass", "pass:sesame"],
    }.items():
        argv = ["openssl", "genpkey", "-out", str(folder / name), "-algorithm", *options]
        subprocess.run(argv, check=True, capture_output=True)
    (folder / "crlf").write_bytes((folder / "ed25519").read_bytes().replace(b"\n", b"\r\n"))
    (folder / "putty.ppk").write_text("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n")
    (folder / "garbage").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    (folder / "empty").write_text("")
    return folder


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ed25519", "ssh-ed25519"),
        ("rsa", "ssh-rsa"),
        ("ecdsa", "ecdsa-sha2-nistp256"),
        ("pem", "ssh-rsa"),
        ("pkcs8-rsa", "ssh-rsa"),
        ("pkcs8-ed25519", "ssh-ed25519"),
        ("crlf", "ssh-ed25519"),
        ("locked", "ssh-ed25519"),
        ("locked-pem", "ssh-rsa"),
        ("locked-pkcs8", "ssh-rsa"),
    ],
)
def test_a_key_file_is_read_whatever_its_form(made: Path, name: str, kind: str) -> None:
    path = made / name
    assert load_key(path, path.read_bytes(), ["wrong", "sesame"]).get_name() == kind


@pytest.mark.parametrize(
    ("name", "what", "remedy"),
    [
        ("locked", "has a passphrase", "ssh-add {path}"),
        ("locked-pem", "has a passphrase", "ssh-add {path}"),
        ("locked-pkcs8", "has a passphrase", "ssh-add {path}"),
        ("putty.ppk", "is a PuTTY key", "puttygen {path} -O private-openssh"),
        ("garbage", "is not a private key that can be read", "ssh-keygen -y -f {path}"),
        ("empty", "is not a private key that can be read", "ssh-keygen -y -f {path}"),
        ("ed25519.pub", "is a public key", "ssh-add"),
    ],
)
def test_a_key_file_that_cannot_be_used_says_why_and_what_helps(made: Path, name: str, what: str, remedy: str) -> None:
    path = made / name
    with pytest.raises(KeyFileError, match=what) as caught:
        load_key(path, path.read_bytes())
    assert remedy.format(path=path) in caught.value.remedy
    assert str(path) in caught.value.what


@pytest.mark.parametrize("name", ["ed25519", "rsa", "ecdsa", "locked", "ed25519.pub"])
def test_the_public_half_needs_no_passphrase(made: Path, name: str) -> None:
    public = made / f"{name.removesuffix('.pub')}.pub"
    assert public_half((made / name).read_bytes()) == paramiko.pkey.PublicBlob.from_file(str(public)).key_blob


def test_a_form_without_a_public_half_takes_it_from_the_file_beside(made: Path) -> None:
    content = (made / "locked-pem").read_bytes()
    assert public_half(content) is None
    assert public_half(content, (made / "locked-pem.pub").read_bytes()) is not None


class Server:
    """paramiko's transport, as far as a login needs it: takes the keys in ``good``, and the password ``sesame``."""

    def __init__(self, good: Sequence[bytes] = (), *, then: Sequence[str] = (), patience: int = 99) -> None:
        self.good, self.then, self.patience = good, list(then), patience
        self.asked: list[bytes | str] = []

    def is_active(self) -> bool:
        return len(self.asked) < self.patience

    def auth_publickey(self, _user: str, key: paramiko.PKey) -> list[str]:
        self.asked.append(key.asbytes())
        if key.asbytes() not in self.good:
            raise paramiko.AuthenticationException("Authentication failed.")
        return self.then

    def auth_password(self, _user: str, password: str) -> list[str]:
        self.asked.append(password)
        if password != "sesame":
            raise paramiko.AuthenticationException("Authentication failed.")
        return []


def blob(path: Path) -> bytes:
    return load_key(path, path.read_bytes(), ["sesame"]).asbytes()


@pytest.fixture
def agent(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the agent, with the keys ``rsa`` and ``locked``."""

    class Held(paramiko.AgentKey):
        pass

    keys = [Held(None, blob(made / name), name) for name in ("rsa", "locked")]  # type: ignore[arg-type]
    monkeypatch.setattr("etcdfleet.remote.login_keys.agent_keys", lambda which: [] if which == "none" else keys)


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("options", "order"),
    [
        ({}, ["rsa", "locked"]),
        ({"others": ["ed25519"]}, ["rsa", "locked", "ed25519"]),
        ({"first": ["ed25519"]}, ["ed25519", "rsa", "locked"]),
        ({"first": ["locked"]}, ["locked", "rsa"]),
        ({"others": ["locked", "ed25519"]}, ["locked", "rsa", "ed25519"]),
        ({"others": ["locked.pub"], "identities_only": True}, ["locked"]),
        ({"others": ["ed25519"], "identities_only": True}, ["ed25519"]),
        ({"others": ["ed25519"], "agent": "none"}, ["ed25519"]),
        ({"others": ["none", "locked"], "agent": "none"}, []),
    ],
)
def test_keys_are_tried_in_the_order_of_ssh(made: Path, options: dict[str, Any], order: list[str]) -> None:
    files = {key: [made / name for name in value] for key, value in options.items() if isinstance(value, list)}
    server = Server()
    with pytest.raises(RefusedError):
        Login("pi", **{**options, **files}).authenticate(server)  # type: ignore[arg-type]
    assert server.asked == [blob(made / name) for name in order]


@pytest.mark.parametrize(
    ("login", "server", "accepted"),
    [
        ({"others": ["rsa", "ed25519"]}, {"good": ["ed25519"]}, True),
        ({"others": ["locked", "ed25519"]}, {"good": ["ed25519"]}, True),
        ({"others": ["locked"], "passphrase": "sesame"}, {"good": ["locked"]}, True),
        ({"others": ["locked"], "password": "sesame"}, {"good": ["locked"]}, True),
        ({"others": ["rsa"], "password": "sesame"}, {}, True),
        ({"password": "sesame"}, {}, True),
        ({"password": "wrong"}, {}, False),
        ({"others": ["rsa"], "password": "sesame"}, {"good": ["rsa"], "then": ["password"]}, True),
        ({"others": ["rsa"]}, {"good": ["rsa"], "then": ["password"]}, False),
        ({"others": ["rsa", "ed25519"]}, {"good": ["ed25519"], "patience": 1}, False),
        ({}, {}, False),
    ],
)
def test_who_gets_in(made: Path, login: dict[str, Any], server: dict[str, Any], accepted: bool) -> None:
    files = [made / name for name in login.get("others", ())]
    good = [blob(made / name) for name in server.get("good", ())]
    host: Any = Server(**{**server, "good": good})
    mine = Login("pi", **{**login, "others": files, "agent": "none"})
    if accepted:
        mine.authenticate(host)
    else:
        with pytest.raises(RefusedError):
            mine.authenticate(host)
