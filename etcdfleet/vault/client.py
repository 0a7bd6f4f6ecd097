"""The questions and requests that the runbooks have for Vault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self
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
# Any state is an answer here, not an error.
_ANY_STATE = {
    "standbycode": "200",
    "sealedcode": "200",
    "uninitcode": "200",
    "performancestandbycode": "200",
    "drsecondarycode": "200",
    "removedcode": "200",
}


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
        data = self._get("sys/health", _ANY_STATE, root=True)
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
        answer = self._ask("get", "auth/token/lookup-self", needs=("read",))
        data = answer["data"]
        # A lookup's own data holds the token itself ("id"), so nothing but the named fields is taken from it.
        never = data.get("expire_time") is None and not int(data.get("ttl") or 0)
        uses = int(data.get("num_uses") or 0)
        return TokenInfo(
            ttl=None if never else timedelta(seconds=int(data.get("ttl") or 0)),
            renewable=bool(data.get("renewable")),
            policies=(*words(data.get("policies")), *words(data.get("identity_policies"))),
            uses_left=uses or None,
            source=self._source,
            display_name=str(data.get("display_name") or ""),
        )

    def check_access(self, requests: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
        """Return which of the wanted capabilities (by path, such as ``pki/issue/x`` to ``update``) are missing.

        Empty when the token may do all of it. Whether a path exists is not looked at. ``policy_for`` of the answer is
        what a policy lacks.
        """
        wanted = {path: tuple(capabilities) for path, capabilities in requests.items()}
        if not wanted:
            return {}
        answer = self._ask("post", "sys/capabilities-self", {"paths": list(wanted)}, needs=("update",))
        data = answer.get("data") or answer
        missing = {}
        for path, capabilities in wanted.items():
            has = set(words(data.get(path)))
            lacks = () if "root" in has else tuple(c for c in capabilities if c not in has)
            if lacks:
                missing[path] = lacks
        return missing

    def read_role(self, mount: str, role: str) -> RoleFacts | None:
        """Return the role as Vault has it, None when the token may not read it. VaultError when there is none."""
        path = f"{quoted(mount)}/roles/{quoted(role)}"
        self._log_in()
        try:
            answer = self._transport.request("get", path)
        except Refused as refusal:
            failure = refusal
        except Broken as broken:
            raise meaning.broken(broken, self.connection) from None
        else:
            return RoleFacts.from_answer(mount, role, answer["data"])
        if failure.status == 403 and self._token_is_good(failure):
            return None
        if failure.status == 404 and not failure.errors:
            raise self._unknown_role(mount, role)
        raise self._meaning(failure, path, ("read",))

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
    ) -> Issued:
        """Have Vault make a key and a certificate; without a common name where that is empty.

        A TTL beyond the role's limit is cut down with a warning.
        """
        body = _request(common_name, alt_names, ip_sans, ttl)
        return self._certificate(mount, role, "issue", body)

    def sign(
        self,
        mount: str,
        role: str,
        *,
        csr: str,
        common_name: str,
        alt_names: Iterable[str] = (),
        ip_sans: Iterable[str] = (),
        ttl: timedelta | None = None,
    ) -> Issued:
        """Have Vault make a certificate for the key behind ``csr`` (PEM); ``private_key`` of the result is None.

        A role with ``use_csr_sans`` (the default) takes the names of the CSR and not these: put them into both.
        """
        body = {"csr": csr, **_request(common_name, alt_names, ip_sans, ttl)}
        signed = self._certificate(mount, role, "sign", body)
        # That names were given twice is on purpose, whichever the role takes.
        return replace(signed, warnings=tuple(w for w in signed.warnings if _GIVEN_TWICE not in w))

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
        answer = self._ask("post", f"{quoted(mount)}/revoke", {"serial_number": serial}, needs=("update",))
        data = answer.get("data") or {}
        return datetime.fromtimestamp(int(data.get("revocation_time") or 0), UTC)

    @property
    def _source(self) -> str:
        return self.connection.auth.source if self.connection.auth else "nowhere"

    def _certificate(self, mount: str, role: str, verb: str, body: dict[str, Any]) -> Issued:
        path = f"{quoted(mount)}/{verb}/{quoted(role)}"

        def special(refusal: Refused) -> VaultError | None:
            return self._unknown_role(mount, role) if "unknown role" in refusal.words.lower() else None

        answer = self._ask("post", path, body, needs=("update",), special=special)
        try:
            return Issued.from_answer(answer)
        except (KeyError, TypeError, ValueError):
            pass
        # Outside the handler, so that the answer, with its key, does not hang on the error.
        raise VaultError("Vault's answer is not a certificate", where=f"{self.connection.address}, {path}")

    def _pem(self, path: str) -> tuple[str, ...]:
        answer = self._get(path)
        text = "" if isinstance(answer, Mapping) else str(answer.text)
        blocks = pem_blocks(text, "CERTIFICATE")
        if not blocks:
            raise meaning.no_ca(f"{self.connection.address}, {path}")
        return blocks

    def _get(self, path: str, query: Mapping[str, str] | None = None, *, root: bool = False) -> Any:
        """Send a request that takes no token."""
        try:
            return self._transport.request("get", path, query=query, login=False, root=root)
        except Refused as refusal:
            failure = refusal
        except Broken as broken:
            raise meaning.broken(broken, self.connection) from None
        if failure.status == 403:  # Vault's answer where it does not tell whether there is such a mount
            failure = Refused(404, ("no handler for route, or it may not be known",))
        raise self._meaning(failure, path, ())

    def _ask(
        self,
        method: Method,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        needs: tuple[str, ...],
        special: Callable[[Refused], VaultError | None] = lambda _: None,
        wrap_ttl: int = 0,
    ) -> Any:
        """Send a request with our token. ``special`` may know better what a refusal of this path means."""
        self._log_in()
        try:
            return self._transport.request(method, path, body=body, wrap_ttl=wrap_ttl)
        except Refused as refusal:
            failure = refusal
        except Broken as broken:
            raise meaning.broken(broken, self.connection) from None
        raise special(failure) or self._meaning(failure, path, needs)

    def _log_in(self) -> None:
        auth = self.connection.auth
        try:
            self._transport.token()
        except Refused as refusal:
            failure = refusal
        except Broken as broken:
            raise meaning.broken(broken, self.connection) from None
        else:
            return
        if not isinstance(auth, AppRoleAuth) or failure.status >= 500 or failure.passing:
            raise self._meaning(failure, "auth", ())
        raise meaning.login_refused(failure, auth, self.connection)

    def _meaning(self, refusal: Refused, path: str, needs: tuple[str, ...]) -> VaultError:
        if refusal.status >= 500 and path != "sys/health":
            try:
                problem = meaning.unready(self.status(), self.connection)
            except VaultError:
                problem = None
            if problem:
                return problem
        if refusal.status == 403:
            if self._token_is_good(refusal):
                return meaning.forbidden(path, needs, self._source, self.connection)
            return meaning.bad_token(self._source, self.connection)
        return meaning.refused(refusal, path, needs, self.connection)

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
            remedy="correct pki.roles.<role>.name or pki.mount in the inventory; or have the role made: python "
            "runbooks/setup_pki.py (with an administrator's token)",
        )


def quoted(name: str) -> str:
    """Return a mount or a name as part of a path."""
    return quote(name.strip("/"), safe="/")


def _request(
    common_name: str, alt_names: Iterable[str], ip_sans: Iterable[str], ttl: timedelta | None
) -> dict[str, Any]:
    # A new dict for every request: a shared one could carry one host's names into another's certificate.
    body: dict[str, Any] = {"format": "pem"}
    if common_name:
        body["common_name"] = common_name
    if names := ",".join(alt_names):
        body["alt_names"] = names
    if addresses := ",".join(ip_sans):
        body["ip_sans"] = addresses
    if ttl is not None:
        body["ttl"] = f"{int(ttl.total_seconds())}s"
    return body
