"""Where Vault is and who we are to it, read from the settings and the environment; nothing is contacted here."""

from __future__ import annotations

import hmac
import os
import re
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from etcdfleet.errors import VaultError

WAYS_IN = (
    "give one of: VAULT_TOKEN; VAULT_TOKEN_FILE, the path of a file with the token; VAULT_ROLE_ID and VAULT_SECRET_ID "
    "(AppRole); or the file ~/.vault-token, which `vault login` and `bao login` write"
)
SET_UP = (
    "python runbooks/setup_pki.py --check --diff shows how Vault differs from the inventory, and without --check "
    "brings it there (with an administrator's token)"
)
"""The remedy for whatever setup_pki.py makes."""
_VARIABLES = ("ADDR", "TOKEN", "NAMESPACE", "CACERT", "CAPATH", "CLIENT_CERT", "CLIENT_KEY")


def bao_hint(environ: Mapping[str, str]) -> str:
    """Return which variables of OpenBao's own command line are set and count for nothing here; empty if none are.

    `bao` reads ``BAO_ADDR`` and so on first, and ``VAULT_ADDR`` as well; this project reads the latter alone.
    """
    idle = [name for name in _VARIABLES if environ.get(f"BAO_{name}") and not environ.get(f"VAULT_{name}")]
    if not idle:
        return ""
    them = ", ".join(f"BAO_{name}" for name in idle)
    exports = " ".join(f'VAULT_{name}="$BAO_{name}"' for name in idle)
    return f"{them} set, and only VAULT_… is read here: export {exports}"


class Secret:
    """A text that is shown only by ``reveal``: not in logs, tracebacks, reports or pickles."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself. To be called only where it is handed to its destination."""
        return self._text

    def __repr__(self) -> str:
        return "<hidden>"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not to be stored")


@dataclass(frozen=True)
class TokenAuth:
    """A token that the user has; ``source`` says from where, for messages."""

    token: Secret
    source: str


@dataclass(frozen=True)
class AppRoleAuth:
    """An AppRole to log in with, at ``auth/<mount>/login``."""

    role_id: str
    secret_id: Secret
    mount: str = "approle"
    source: str = "VAULT_ROLE_ID and VAULT_SECRET_ID"


@dataclass(frozen=True)
class VaultConnection:
    """All that is needed to reach Vault. ``auth`` is None when no way to log in was found.

    ``verify`` is a CA file, a folder of hashed CA files, or True for the system's own. ``client_certificate`` is a pair
    of paths (certificate, key). ``warnings`` are for the user; ``hint`` says which variables count for nothing here.
    """

    address: str
    namespace: str | None = None
    verify: str | bool = True
    client_certificate: tuple[str, str] | None = None
    auth: TokenAuth | AppRoleAuth | None = None
    warnings: tuple[str, ...] = field(default=())
    hint: str = ""

    @classmethod
    def from_env(
        cls,
        *,
        address: str | None = None,
        namespace: str | None = None,
        environ: Mapping[str, str] | None = None,
        home: Path | None = None,
    ) -> VaultConnection:
        """Read the settings ``pki.address`` and ``pki.namespace`` and the environment, which wins.

        Read are VAULT_ADDR, VAULT_NAMESPACE, VAULT_TOKEN, VAULT_TOKEN_FILE, VAULT_ROLE_ID with VAULT_SECRET_ID (and
        VAULT_APPROLE_MOUNT), VAULT_CACERT, VAULT_CAPATH, VAULT_CLIENT_CERT with VAULT_CLIENT_KEY, and
        ``~/.vault-token``. Raises VaultError when there is no address, a file that is named is missing, or
        VAULT_SKIP_VERIFY asks for an unchecked connection. No way to log in is not an error before Vault is asked for
        something that needs one.
        """
        env = os.environ if environ is None else environ
        warnings: list[str] = []
        hint = bao_hint(env)
        warnings += [hint] if hint else []
        url = _address(env.get("VAULT_ADDR", ""), address or "", warnings, hint)
        if env.get("VAULT_SKIP_VERIFY", "").strip().lower() not in ("", "0", "f", "false"):
            raise VaultError(
                "VAULT_SKIP_VERIFY is set, but private keys are not fetched over a connection that is not verified",
                where=url,
                remedy="unset VAULT_SKIP_VERIFY and set VAULT_CACERT to the CA certificate of Vault's listener",
            )
        certificate, key = env.get("VAULT_CLIENT_CERT", ""), env.get("VAULT_CLIENT_KEY", "")
        return cls(
            address=url,
            namespace=(env.get("VAULT_NAMESPACE") or namespace or "").strip("/") or None,
            verify=_trust(env),
            client_certificate=(
                (_existing(certificate, "VAULT_CLIENT_CERT"), _existing(key, "VAULT_CLIENT_KEY"))
                if certificate and key
                else None
            ),
            auth=_auth(env, home, warnings),
            warnings=tuple(warnings),
            hint=hint,
        )


def _address(from_env: str, from_settings: str, warnings: list[str], hint: str) -> str:
    source = "VAULT_ADDR" if from_env.strip() else "pki.address"
    url = (from_env.strip() or from_settings.strip()).rstrip("/")
    remedy = f"set {source} to something like https://vault.example.org:8200"
    if not url:
        raise VaultError(
            "it is not known where Vault is",
            remedy=f"{hint}; or " * bool(hint)
            + "set VAULT_ADDR, or pki.address in the inventory, to something like https://vault.example.org:8200",
        )
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = url if "@" not in url else "the address"
        raise VaultError(f"{shown!r} is not an address of Vault", where=source, remedy=remedy)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise VaultError("the address of Vault holds more than scheme, host and port", where=source, remedy=remedy)
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        warnings.append(
            f"Vault is reached without TLS ({url}): its token and the private keys it makes can be read on the way; "
            "give its listener a certificate and use https"
        )
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _trust(env: Mapping[str, str]) -> str | bool:
    if file := env.get("VAULT_CACERT", "").strip():
        return _certificates(_existing(file, "VAULT_CACERT"))
    folder = env.get("VAULT_CAPATH", "").strip()
    if not folder:
        return True
    path = Path(folder).expanduser()
    if not path.is_dir() or not any(re.fullmatch(r"[0-9a-f]{8}\.\d+", entry.name) for entry in path.iterdir()):
        raise VaultError(
            "VAULT_CAPATH is not a folder with hashed CA certificates",
            where=folder,
            remedy=f"run `openssl rehash {folder}`, or set VAULT_CACERT to one file with the CA certificate",
        )
    return str(path)


def _certificates(file: str) -> str:
    # Here the file can be named; in a handshake that fails, it would be one cause among many.
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        raise VaultError(
            "the file that VAULT_CACERT names holds no CA certificate in PEM form",
            where=file,
            remedy="name the file with the certificate of the CA that signed the one of Vault's listener; it has a line"
            " -----BEGIN CERTIFICATE-----",
        ) from None
    return file


def _existing(file: str, variable: str) -> str:
    path = Path(file).expanduser()
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise VaultError(
            f"the file that {variable} names cannot be read: {error.strerror}",
            where=str(path),
            remedy=f"correct {variable}; it is a path on this machine",
        ) from None
    return str(path)


def _auth(env: Mapping[str, str], home: Path | None, warnings: list[str]) -> TokenAuth | AppRoleAuth | None:
    if token := env.get("VAULT_TOKEN", "").strip():
        return TokenAuth(_token(token, "VAULT_TOKEN"), "VAULT_TOKEN")
    if file := env.get("VAULT_TOKEN_FILE", "").strip():
        return _from_file(Path(_existing(file, "VAULT_TOKEN_FILE")), "VAULT_TOKEN_FILE", warnings)
    role_id, secret_id = env.get("VAULT_ROLE_ID", "").strip(), env.get("VAULT_SECRET_ID", "").strip()
    if role_id and secret_id:
        return AppRoleAuth(role_id, Secret(secret_id), env.get("VAULT_APPROLE_MOUNT", "").strip("/ ") or "approle")
    if role_id or secret_id:
        have, lack = ("VAULT_ROLE_ID", "VAULT_SECRET_ID") if role_id else ("VAULT_SECRET_ID", "VAULT_ROLE_ID")
        raise VaultError(f"{have} is set but {lack} is not", remedy=f"set {lack} too, or unset {have}")
    try:
        path = (home or Path.home()) / ".vault-token"
        return _from_file(path, str(path), warnings) if path.is_file() and path.stat().st_size else None
    except (OSError, RuntimeError):  # no home, or not ours to read
        return None


def _from_file(path: Path, source: str, warnings: list[str]) -> TokenAuth:
    try:
        text = path.read_text(encoding="utf-8").strip()
        mode = stat.S_IMODE(path.stat().st_mode)
    except (OSError, UnicodeDecodeError):
        raise VaultError("the token file cannot be read", where=str(path), remedy=WAYS_IN) from None
    if not text:
        raise VaultError("the token file is empty", where=str(path), remedy=WAYS_IN)
    if mode & 0o077:
        warnings.append(f"others may read the token file {path}: chmod 600 {path}")
    return TokenAuth(_token(text, source), source)


def _token(text: str, source: str) -> Secret:
    # A line end or blank inside would otherwise surface as an "invalid header" error that quotes the token.
    if not text.isascii() or not text.isprintable() or " " in text:
        raise VaultError("that is not a token: it holds blanks, line ends or other odd characters", where=source)
    return Secret(text)
