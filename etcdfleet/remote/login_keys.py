"""The keys that a login tries, in ssh's order: the named file, the agent, the other files, then a password.

A file that cannot be used does not end the login; why it could not is told when nothing else was accepted.
"""

from __future__ import annotations

import base64
import io
import logging
import os
import shlex
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import paramiko

log = logging.getLogger("etcdfleet.remote")
_PUBLIC = (b"ssh-", b"ecdsa-", b"sk-")


class KeyFileError(Exception):
    """A key file that cannot be used: the cause, and the command that helps."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


class RefusedError(Exception):
    """The host accepted nothing of what was offered. ``causes`` are the files that could not be offered at all."""

    def __init__(self, reason: str, offered: Sequence[str], causes: Sequence[KeyFileError]) -> None:
        super().__init__(reason)
        self.reason, self.offered, self.causes = reason, tuple(offered), tuple(causes)


def load_key(path: Path, content: bytes, passphrases: Sequence[str] = ()) -> paramiko.PKey:
    """Return the private key in ``content``: OpenSSH's own form, PEM, or PKCS#8. Raises KeyFileError."""
    from cryptography.exceptions import UnsupportedAlgorithm

    name = shlex.quote(str(path))
    if content.startswith(b"PuTTY-User-Key-File"):
        raise KeyFileError(
            f"{path} is a PuTTY key, which ssh does not read either",
            f"convert it: puttygen {name} -O private-openssh -o {shlex.quote(str(path.with_suffix('')) + '.openssh')}, "
            "and name that file",
        )
    if content.lstrip().startswith(_PUBLIC):
        raise KeyFileError(
            f"{path} is a public key, and the ssh-agent does not have its private half",
            "add the private half to the agent (ssh-add FILE; ssh-add -l lists), or name the file of the private key",
        )
    for passphrase in (None, *passphrases):
        try:
            return _private(content, passphrase.encode() if passphrase else None)
        except TypeError:  # encrypted, and this was without a passphrase
            continue
        except UnsupportedAlgorithm as error:
            raise KeyFileError(
                f"{path} is of a kind that only ssh itself can use ({error})",
                f"let the ssh-agent use it: ssh-add {name}; or take a key of kind ed25519",
            ) from error
        except ValueError as error:
            if passphrase:
                continue
            raise KeyFileError(
                f"{path} is not a private key that can be read ({str(error).partition(chr(10))[0] or 'broken'})",
                f"see whether ssh reads it: ssh-keygen -y -f {name}; ssh-keygen -p -f {name} writes it anew in "
                "OpenSSH's form",
            ) from error
    raise KeyFileError(
        f"the key {path} has a passphrase" + (", and it is not the one in the inventory" if passphrases else ""),
        f'give it to the ssh-agent: ssh-add {name} (where no agent runs, first: eval "$(ssh-agent)")',
    )


def _private(content: bytes, passphrase: bytes | None) -> paramiko.PKey:
    import paramiko
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
        load_ssh_private_key,
    )

    read = load_ssh_private_key if b"BEGIN OPENSSH PRIVATE KEY" in content else load_pem_private_key
    key: Any = read(content.replace(b"\r\n", b"\n"), passphrase)
    kinds: list[tuple[type, Any]] = [
        (ed25519.Ed25519PrivateKey, paramiko.Ed25519Key),
        (ec.EllipticCurvePrivateKey, paramiko.ECDSAKey),
        (rsa.RSAPrivateKey, paramiko.RSAKey),
    ]
    kind = next((wanted for form, wanted in kinds if isinstance(key, form)), None)
    if kind is None:
        raise UnsupportedAlgorithm(type(key).__name__.removesuffix("PrivateKey"))
    # One form for paramiko, whatever the file had: it does not read PKCS#8 of every kind.
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    made: paramiko.PKey = kind.from_private_key(io.StringIO(plain))
    return made


def public_half(content: bytes, beside: bytes = b"") -> bytes | None:
    """Return the public key of a key file, as sent to hosts, where it can be had without a passphrase.

    It is in the file itself (OpenSSH's form has it in plain, PROTOCOL.key), or in the ``.pub`` file ``beside``.
    """
    for text in (content, beside):
        words = text.split()
        if text.lstrip().startswith(_PUBLIC) and len(words) > 1:
            try:
                return base64.b64decode(words[1], validate=True)
            except ValueError:
                continue
    _, header, rest = content.partition(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    if not header:
        return None
    try:
        data = base64.b64decode(b"".join(rest.partition(b"-----END")[0].split()), validate=True)
    except ValueError:
        return None
    data = data.removeprefix(b"openssh-key-v1\0")
    for _ in range(3):  # cipher, key derivation, its options
        data = data[4 + int.from_bytes(data[:4], "big") :]
    size = int.from_bytes(data[4:8], "big")
    return data[8 : 8 + size] or None


@dataclass
class Login:
    """A login as paramiko's client wants it (``auth_strategy``). ``first`` files come before the agent's other keys."""

    user: str
    first: Sequence[Path] = ()
    others: Sequence[Path] = ()
    certificates: Sequence[Path] = ()
    agent: str = ""
    identities_only: bool = False
    given: paramiko.PKey | None = None
    password: str = field(default="", repr=False)
    passphrase: str = field(default="", repr=False)
    causes: list[KeyFileError] = field(default_factory=list)
    offered: list[str] = field(default_factory=list)

    def authenticate(self, transport: paramiko.Transport) -> object:
        """Log in; what is returned means nothing. Raises RefusedError, or what broke the connection."""
        import paramiko

        self.causes, self.offered, reason = [], [], ""
        for name, key in self._keys():
            try:
                left = transport.auth_publickey(self.user, key)
            except paramiko.BadAuthenticationType as error:
                reason = f"it takes {', '.join(error.allowed_types)} only"
                break
            except paramiko.SSHException as error:
                self.offered.append(name)
                reason = str(error)
                log.debug("%s was not accepted: %s", name, error)
                if not transport.is_active():
                    reason = "it ended the connection after so many keys"
                    raise RefusedError(reason, self.offered, self.causes) from error
                continue
            self.offered.append(name)
            if not left:
                return None
            break  # accepted, and something else is wanted beside it
        if self.password:
            self.offered.append("the password")
            try:
                transport.auth_password(self.user, self.password)
            except paramiko.SSHException as error:
                raise RefusedError(str(error), self.offered, self.causes) from error
            return None
        raise RefusedError(reason, self.offered, self.causes)

    def _keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        if self.given is not None:
            yield "the key of pkey", self.given
        agents = agent_keys(self.agent)
        done: set[bytes] = set()
        for path in self.first:
            yield from self._of_file(path, agents, done)
        wanted = [(path, _public_of(path)) for path in self.others]
        chosen = [key for _, blob in wanted for key in agents if blob is not None and key.blob == blob]
        rest = [] if self.identities_only else [key for key in agents if key not in chosen]
        for key in (*chosen, *rest):
            if key.blob not in done:
                done.add(key.blob)
                yield f"the agent's {key.comment or key.get_name()}", key
        for path, _ in wanted:
            yield from self._of_file(path, agents, done)

    def _of_file(
        self, path: Path, agents: Sequence[paramiko.AgentKey], done: set[bytes]
    ) -> Iterator[tuple[str, paramiko.PKey]]:
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self.causes.append(KeyFileError(f"{path} cannot be read: {error.strerror}", "check its owner and mode"))
            return
        blob = _public_of(path)
        if blob is not None and blob in done:
            return
        held = next((key for key in agents if blob is not None and key.blob == blob), None)
        try:
            secrets = [text for text in (self.passphrase, self.password) if text]
            key = held or load_key(path, content, secrets)
        except KeyFileError as error:
            self.causes.append(error)
            return
        done.add(blob or key.asbytes())
        for certificate in (Path(f"{path}-cert.pub"), *self.certificates):
            if certificate.is_file():
                try:
                    key.load_certificate(str(certificate))
                    yield f"{path} with {certificate}", key
                except ValueError as error:  # another key's
                    log.debug("%s does not go with %s: %s", certificate, path, error)
                key.public_blob = None
        yield str(path), key


def _public_of(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    beside = Path(f"{path}.pub")
    try:
        return public_half(content, beside.read_bytes() if beside.is_file() else b"")
    except OSError:
        return public_half(content)


def agent_keys(which: str) -> list[paramiko.AgentKey]:
    """Return the ssh-agent's keys. ``which`` is IdentityAgent's value: empty for SSH_AUTH_SOCK, ``none`` for none."""
    import paramiko
    from paramiko.agent import AgentSSH
    from paramiko.pkey import PublicBlob

    if which.lower() == "none":
        return []
    place = os.environ.get("SSH_AUTH_SOCK", "") if which in ("", "SSH_AUTH_SOCK") else which
    place = os.path.expandvars(os.path.expanduser(place))  # noqa: PTH111  IdentityAgent may be a variable's value
    if not place:
        return []
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(30)  # an agent may ask a person
    agent = AgentSSH()
    try:
        connection.connect(place)
        agent._connect(connection)  # type: ignore[attr-defined]  # the public class knows SSH_AUTH_SOCK alone
    except (OSError, paramiko.SSHException) as error:
        log.debug("no ssh-agent at %s: %s", place, error)
        connection.close()
        return []
    keys = list(agent.get_keys())
    for key in keys:
        if key.get_name().endswith("-cert-v01@openssh.com"):  # to be shown as it is; signing takes the key in it
            key.public_blob = PublicBlob(key.get_name(), key.blob)  # type: ignore[assignment]
    return keys
