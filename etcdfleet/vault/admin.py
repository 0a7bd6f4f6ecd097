"""What an administrator's token is for: mounts, CAs, roles, policies and AppRoles, made and read.

Parameters are passed on as Vault names them; its warnings (an unknown parameter is answered with one, not refused) are
collected in ``warnings``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from etcdfleet.errors import VaultError
from etcdfleet.vault.answers import duration, words
from etcdfleet.vault.client import CAPABILITIES, Vault, quoted
from etcdfleet.vault.connection import Secret, VaultConnection
from etcdfleet.vault.transport import Method, Refused, Transport


class VaultAdmin(Vault):
    """A `Vault` whose token may change it. Every method raises VaultError with a remedy."""

    def __init__(self, connection: VaultConnection, *, transport: Transport | None = None) -> None:
        super().__init__(connection, transport=transport)
        self.warnings: list[str] = []

    def mounts(self) -> dict[str, Mapping[str, Any]]:
        """Return the secrets engines by path (without the final slash): ``type`` and ``config``."""
        return self._by_path(self._ask("get", "sys/mounts"))

    def auth_mounts(self) -> dict[str, Mapping[str, Any]]:
        """Return the ways to log in by path, without the final slash."""
        return self._by_path(self._ask("get", "sys/auth"))

    def enable_pki(self, mount: str, longest: int) -> None:
        """Make a PKI mount that issues for at most ``longest`` seconds."""
        self._write(f"sys/mounts/{quoted(mount)}", {"type": "pki", "config": {"max_lease_ttl": f"{longest}s"}})

    def longest(self, mount: str) -> int:
        """Return for how many seconds a mount issues at most, Vault's own limit counted in."""
        answer = self.read(f"sys/mounts/{quoted(mount)}/tune") or {}
        return int(duration(answer.get("max_lease_ttl")).total_seconds())

    def tune(self, mount: str, longest: int) -> None:
        """Let a mount issue for up to ``longest`` seconds."""
        self._write(f"sys/mounts/{quoted(mount)}/tune", {"max_lease_ttl": f"{longest}s"})

    def unwritable(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Return those of ``paths`` that the token may not write to, as far as Vault says."""
        asked = list(dict.fromkeys(paths))
        try:
            missing = self.check_access(dict.fromkeys(asked, ("update",)))
            also = self.check_access(dict.fromkeys(missing, ("create",)))
        except VaultError:
            return ()  # the token may not ask: what it may not do will show
        return tuple(also)

    def has_issuer(self, mount: str) -> bool:
        """Return whether a mount has a CA."""
        return bool(self._list(f"{quoted(mount)}/issuers"))

    def keys(self, mount: str) -> tuple[str, ...]:
        """Return the ids of the private keys in a mount."""
        return self._list(f"{quoted(mount)}/keys")

    def request_ca(self, mount: str, name: str, kind: str, bits: int, key: str = "") -> str:
        """Return a CSR (PEM) for a CA in a mount; for the key with the id ``key``, or a new one that stays there."""
        wanted: dict[str, Any] = {"common_name": name, "format": "pem"}
        wanted |= {"key_ref": key} if key else {"key_type": kind, "key_bits": bits}
        path = f"{quoted(mount)}/intermediate/generate/{'existing' if key else 'internal'}"
        return str(self._write(path, wanted)["csr"])

    def sign_ca(self, root: str, csr: str, name: str, ttl: int) -> str:
        """Return a CA certificate, with the chain above it (PEM), signed by the CA of the mount ``root``."""
        body = {"csr": csr, "common_name": name, "ttl": f"{ttl}s", "max_path_length": 0, "format": "pem"}
        signed = self._write(f"{quoted(root)}/root/sign-intermediate", body)
        chain = [signed["certificate"], *(signed.get("ca_chain") or [signed["issuing_ca"]])]
        return "".join(f"{pem.strip()}\n" for pem in dict.fromkeys(pem.strip() for pem in chain))

    def set_signed(self, mount: str, chain: str) -> None:
        """Give a mount its CA certificate, with those above it."""
        self._write(f"{quoted(mount)}/intermediate/set-signed", {"certificate": chain})

    def make_root(self, mount: str, name: str, kind: str, bits: int, ttl: int) -> None:
        """Make a root CA whose key stays in the mount."""
        body = {"common_name": name, "key_type": kind, "key_bits": bits, "ttl": f"{ttl}s"}
        self._write(f"{quoted(mount)}/root/generate/internal", body)

    def read(self, path: str) -> Mapping[str, Any] | None:
        """Return what is at a path, None for nothing."""
        return self._found("get", path)

    def write(self, path: str, data: Mapping[str, Any]) -> None:
        """Set what is at a path."""
        self._write(path, data)

    def enable_approle(self, mount: str) -> None:
        """Make the AppRole way to log in."""
        self._write(f"sys/auth/{quoted(mount)}", {"type": "approle"})

    def new_secret_id(self, mount: str, name: str, wrap: int = 0) -> Secret:
        """Make a secret id of an AppRole; with ``wrap`` seconds, a token that unwraps it once within that time."""
        path = f"auth/{quoted(mount)}/role/{quoted(name)}/secret-id"
        answer = self._ask("post", path, {}, wrap_ttl=wrap)
        return Secret(answer["wrap_info"]["token"] if wrap else answer["data"]["secret_id"])

    def unwrap(self) -> Secret:
        """Return the secret id behind the wrapping token that this connection has; works once."""
        answer = self._ask("post", "sys/wrapping/unwrap", {})
        return Secret(answer["data"]["secret_id"])

    def _write(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self._ask("post", path, body)
        if isinstance(answer, Mapping):
            self.warnings += [f"{path}: {warning}" for warning in answer.get("warnings") or ()]
        return _data(answer) or {}

    def _list(self, path: str) -> tuple[str, ...]:
        return words((self._found("list", path) or {}).get("keys"))

    def _found(self, method: Method, path: str) -> Mapping[str, Any] | None:
        answer = self._said(method, path)
        if not isinstance(answer, Refused):
            return _data(answer)
        if answer.nothing_there:
            return None
        raise self._meaning(answer, path, CAPABILITIES[method])

    @staticmethod
    def _by_path(answer: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        data = answer.get("data") or answer
        return {path.rstrip("/"): entry for path, entry in data.items() if isinstance(entry, Mapping)}


def _data(answer: Any) -> Mapping[str, Any] | None:
    data = answer.get("data") if isinstance(answer, Mapping) else None
    return data if isinstance(data, Mapping) else None


def check_pki(mounts: Mapping[str, Mapping[str, Any]], mount: str) -> bool:
    """Return whether there is such a PKI mount. Raises VaultError when there is a mount of another kind."""
    entry = mounts.get(mount)
    if entry is not None and entry.get("type") != "pki":
        raise VaultError(
            f"the mount {mount!r} is of type {entry.get('type')}, not pki",
            remedy="name another mount in the inventory (pki.mounts, pki.mount, pki.trust_anchor.mount)",
        )
    return entry is not None
