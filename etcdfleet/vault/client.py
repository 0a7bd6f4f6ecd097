"""The questions and requests that the runbooks have for Vault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar
from urllib.parse import quote

from etcdfleet.certs.model import pem_blocks
from etcdfleet.errors import VaultError
from etcdfleet.vault import errors as meaning
from etcdfleet.vault.answers import Issued, RoleFacts, Status, TokenInfo, words
from etcdfleet.vault.connection import AppRoleAuth, VaultConnection
from etcdfleet.vault.errors import policy_for
from etcdfleet.vault.transport import Broken, Method, Refused, Transport

__all__ = ["Vault", "policy_for"]

_GIVEN_TWICE = 'was provided but the role is set with "use_csr_'
CAPABILITIES: Mapping[Method, str] = {"get": "read", "post": "update", "list": "list"}
"""What a policy must allow for a request."""
_STATES = ("standby", "sealed", "uninit", "performancestandby", "drsecondary", "removed")
T = TypeVar("T")


class Vault:
    """One Vault, for all threads of a run. Every method raises VaultError, with a remedy, and takes bounded time.

    A context manager: at the end, connections are closed and a token made by logging in is revoked.
    """

    def __init__(self, connection: VaultConnection, *, transport: Transport | None = None) -> None:
        self.connection = connection
        self._transport = transport or Transport(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and revoke the token of an AppRole login. Raises nothing."""
        self._transport.close()

    def status(self) -> Status:
        """Return the state of the server that answers, sealed or not, without logging in."""
        # Any state is an answer here, not an error.
        data = self._get("sys/health", {f"{state}code": "200" for state in _STATES}, root=True)
        if not isinstance(data, Mapping) or "sealed" not in data:
            raise VaultError(
                "what answers there is not Vault",
                where=self.connection.address,
                remedy="correct VAULT_ADDR or pki.address: scheme, host and port only",
            )
        clock = data.get("server_time_utc")
        return Status(
            initialised=bool(data.get("initialized")),
            sealed=bool(data["sealed"]),
            standby=bool(data.get("standby")),
            version=str(data.get("version") or ""),
            server_time=datetime.fromtimestamp(int(clock), UTC) if clock else None,
        )

    def check_ready(self) -> Status:
        """Return the status. Raises VaultError when the server is sealed or not initialised."""
        status = self.status()
        if problem := meaning.unready(status, self.connection):
            raise problem
        return status

    def token_info(self) -> TokenInfo:
        """Return what Vault knows of our token. VaultError when it is wrong or expired, or there is none."""
        answer = self._ask("get", "auth/token/lookup-self")
        data = answer["data"]
        # A lookup's own data holds the token itself ("id"), so nothing but the named fields is taken from it.
        never = data.get("expire_time") is None and not int(data.get("ttl") or 0)
        uses = int(data.get("num_uses") or 0)
        return TokenInfo(
            ttl=None if never else timedelta(seconds=int(data.get("ttl") or 0)),
            policies=(*words(data.get("policies")), *words(data.get("identity_policies"))),
            uses_left=uses or None,
            source=self._source,
        )

    def check_access(self, requests: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
        """Return which of the wanted capabilities (by path, such as ``pki/issue/x`` to ``update``) are missing.

        Empty when the token may do all of it. Whether a path exists is not looked at. ``policy_for`` of the answer is
        what a policy lacks.
        """
        wanted = {path: tuple(capabilities) for path, capabilities in requests.items()}
        if not wanted:
            return {}
        answer = self._ask("post", "sys/capabilities-self", {"paths": list(wanted)})
        data = answer.get("data") or answer
        missing = {}
        for path, capabilities in wanted.items():
            has = words(data.get(path))
            if "root" not in has and (lacks := tuple(c for c in capabilities if c not in has)):
                missing[path] = lacks
        return missing

    def read_role(self, mount: str, role: str) -> RoleFacts | None:
        """Return the role as Vault has it, None when the token may not read it. VaultError when there is none."""
        path = f"{quoted(mount)}/roles/{quoted(role)}"
        answer = self._said("get", path)
        if not isinstance(answer, Refused):
            return RoleFacts.from_answer(mount, role, answer["data"])
        if answer.status == 403 and self._token_is_good(answer):
            return None
        if answer.nothing_there:
            raise self._unknown_role(mount, role)
        raise self._meaning(answer, path, "read")

    def list_roles(self, mount: str) -> tuple[str, ...] | None:
        """Return the names of the roles of a mount, or None when they cannot be listed."""
        try:
            answer = self._transport.request("list", f"{quoted(mount)}/roles")
        except (Refused, Broken, VaultError):
            return None
        return words(answer["data"]["keys"]) if isinstance(answer, Mapping) else ()

    def issue(
        self,
        mount: str,
        role: str,
        *,
        common_name: str,
        alt_names: Iterable[str] = (),
        ip_sans: Iterable[str] = (),
        ttl: timedelta | None = None,
        csr: str | None = None,
    ) -> Issued:
        """Have Vault make a certificate: for the key behind ``csr`` (PEM), or for a new one that it makes.

        Without a common name where that is empty. A TTL beyond the role's limit is cut down with a warning. A role with
        ``use_csr_sans`` (the default) takes the names of the CSR and not these: put them into both.
        """
        path = f"{quoted(mount)}/{'issue' if csr is None else 'sign'}/{quoted(role)}"
        life = "" if ttl is None else f"{int(ttl.total_seconds())}s"
        names = {"common_name": common_name, "alt_names": ",".join(alt_names), "ip_sans": ",".join(ip_sans)}
        asked = {"format": "pem", "csr": csr, **names, "ttl": life}
        body = {key: value for key, value in asked.items() if value}
        answer = self._said("post", path, body)
        if isinstance(answer, Refused):
            unknown = "unknown role" in answer.words.lower()
            raise self._unknown_role(mount, role) if unknown else self._meaning(answer, path, "update")
        try:
            made = Issued.from_answer(answer)
        except (KeyError, TypeError, ValueError):
            made = None
        if made is None:  # Outside the handler, so that the answer, with its key, does not hang on the error.
            raise VaultError("Vault's answer is not a certificate", where=f"{self.connection.address}, {path}")
        # That names were given twice is on purpose, whichever the role takes.
        return replace(made, warnings=tuple(w for w in made.warnings if _GIVEN_TWICE not in w))

    def ca_pem(self, mount: str) -> str:
        """Return the certificate (PEM) of the CA that the mount issues with. Needs no token."""
        return self._pem(f"{quoted(mount)}/ca/pem")[0]

    def ca_chain(self, mount: str) -> tuple[str, ...]:
        """Return the mount's CA certificate and those above it that Vault knows, one PEM each. Needs no token."""
        return self._pem(f"{quoted(mount)}/ca_chain")

    def crl_pem(self, mount: str) -> str:
        """Return the revocation list of the mount's CA. Needs no token."""
        path = f"{quoted(mount)}/crl/pem"
        answer = self._get(path)
        blocks = pem_blocks("" if isinstance(answer, Mapping) else str(answer.text), "X509 CRL")
        if not blocks:
            raise VaultError(
                f"the mount {mount!r} has no revocation list",
                where=f"{self.connection.address}, {path}",
                remedy=f"vault read {mount}/crl/rotate makes one; see {mount}/config/crl (disable)",
            )
        return blocks[0]

    def revoke(self, mount: str, serial: str) -> datetime:
        """Revoke a certificate of the mount by its serial number; return when that was done. Again is no error."""
        answer = self._ask("post", f"{quoted(mount)}/revoke", {"serial_number": serial})
        data = answer.get("data") or {}
        return datetime.fromtimestamp(int(data.get("revocation_time") or 0), UTC)

    @property
    def _source(self) -> str:
        return self.connection.auth.source if self.connection.auth else "nowhere"

    def _pem(self, path: str) -> tuple[str, ...]:
        answer = self._get(path)
        text = "" if isinstance(answer, Mapping) else str(answer.text)
        blocks = pem_blocks(text, "CERTIFICATE")
        if not blocks:
            raise meaning.no_ca(f"{self.connection.address}, {path}")
        return blocks

    def _get(self, path: str, query: Mapping[str, str] | None = None, *, root: bool = False) -> Any:
        """Send a request that takes no token."""
        answer = self._heard(lambda: self._transport.request("get", path, query=query, login=False, root=root))
        if not isinstance(answer, Refused):
            return answer
        if answer.status == 403:  # Vault's answer where it does not tell whether there is such a mount
            answer = Refused(404, ("no handler for route, or it may not be known",))
        raise self._meaning(answer, path)

    def _ask(self, method: Method, path: str, body: Mapping[str, Any] | None = None, wrap_ttl: int = 0) -> Any:
        """Send a request with our token."""
        answer = self._said(method, path, body, wrap_ttl)
        if isinstance(answer, Refused):
            raise self._meaning(answer, path, CAPABILITIES[method])
        return answer

    def _said(self, method: Method, path: str, body: Mapping[str, Any] | None = None, wrap_ttl: int = 0) -> Any:
        """Return the answer to a request with our token, or the refusal."""
        auth, login = self.connection.auth, self._heard(self._transport.token)
        if not isinstance(login, Refused):
            return self._heard(lambda: self._transport.request(method, path, body=body, wrap_ttl=wrap_ttl))
        if not isinstance(auth, AppRoleAuth) or login.status >= 500 or login.passing:
            raise self._meaning(login, "auth")
        raise meaning.login_refused(login, auth, self.connection)

    def _heard(self, request: Callable[[], T]) -> T | Refused:
        """Return the answer to a request, or the refusal. Raises VaultError when there was neither."""
        try:
            return request()
        except Refused as refusal:
            return refusal
        except Broken as broken:
            raise meaning.broken(broken, self.connection) from None

    def _meaning(self, refusal: Refused, path: str, need: str = "") -> VaultError:
        if refusal.status >= 500 and path != "sys/health":
            try:
                problem = meaning.unready(self.status(), self.connection)
            except VaultError:
                problem = None
            if problem:
                return problem
        if refusal.status == 403:
            if self._token_is_good(refusal):
                return meaning.forbidden(path, need, self._source, self.connection)
            return meaning.bad_token(self._source, self.connection)
        return meaning.refused(refusal, path, need, self.connection)

    def _token_is_good(self, refusal: Refused) -> bool:
        """Return whether a 403 is about the path only.

        Vault says the same of a wrong token. A token's policies let it look itself up unless that was taken away;
        then only the form of the refusal is left: an unknown token is refused before any policy is evaluated.
        """
        try:
            self._transport.request("get", "auth/token/lookup-self")
        except Refused as second:
            return second.status != 403 or (
                "1 error occurred" in refusal.words and "invalid token" not in refusal.words
            )
        except (Broken, VaultError):
            return True
        return True

    def _unknown_role(self, mount: str, role: str) -> VaultError:
        there = self.list_roles(mount)
        listed = f"; the roles there are: {', '.join(there) or 'none'}" if there is not None else ""
        return VaultError(
            f"Vault has no role {role!r} in the mount {mount!r}{listed}",
            where=self.connection.address,
            remedy="correct pki.roles.<role>.name or pki.mounts (with trust: single, pki.mount) in the inventory; or "
            "have the role made: python runbooks/setup_pki.py (with an administrator's token)",
        )


def quoted(name: str) -> str:
    """Return a mount or a name as part of a path."""
    return quote(name.strip("/"), safe="/")
