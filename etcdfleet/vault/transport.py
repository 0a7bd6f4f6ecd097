"""Requests to Vault over hvac: connections shared by many threads, bounded time-outs, retries, and logging in.

hvac gives no status code with its exceptions, retries nothing and lets ``requests`` errors through; all three are
mended here, so that the rest only sees an answer, a ``Refused`` or a ``Broken``.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

from etcdfleet.errors import VaultError
from etcdfleet.host.proxies import proxy_for
from etcdfleet.vault.connection import WAYS_IN, AppRoleAuth, Secret, VaultConnection

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
RETRIES = 3
_RETRIED = frozenset({412, 429, 472, 473, 502, 503, 504})
_NO_LEADER = "active cluster node not found"

Method: TypeAlias = Literal["get", "post", "list"]
Kind: TypeAlias = Literal["refused", "dropped", "name", "tls", "connect-timeout", "read-timeout", "proxy", "other"]


class Refused(Exception):  # noqa: N818  (not an error until its meaning is known)
    """Vault answered, but not with success. ``errors`` are its own words."""

    def __init__(self, status: int, errors: tuple[str, ...], retry_after: float | None = None) -> None:
        super().__init__(f"{status}: {'; '.join(errors)}")
        self.status = status
        self.errors = errors
        self.retry_after = retry_after

    @property
    def words(self) -> str:
        """What Vault said, as one line."""
        return "; ".join(" ".join(error.split()) for error in self.errors) or f"status {self.status}"

    @property
    def nothing_there(self) -> bool:
        """Whether it says that there is nothing at the path."""
        return self.status == 404 and not self.errors

    @property
    def sealed(self) -> bool:
        """Whether it says that it is sealed."""
        return self.status == 503 and "sealed" in self.words.lower()

    @property
    def passing(self) -> bool:
        """Whether it may well answer in a moment: a standby without a leader, a gateway's hiccup, a rate limit."""
        return not self.sealed and (self.status in _RETRIED or (self.status == 500 and _NO_LEADER in self.words))


class Broken(Exception):  # noqa: N818
    """There was no answer at all. ``detail`` is free of secrets."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind: Kind = kind
        self.detail = detail


class Transport:
    """Sends requests; safe to be used by any number of threads.

    A ``requests`` session is not promised to be thread-safe, so each request borrows one and gives it back, connection
    and all. ``pause`` is the first pause before a retry in seconds; it doubles, with jitter.
    ``retries`` is how often a request is tried again.
    """

    def __init__(
        self,
        connection: VaultConnection,
        *,
        timeout: tuple[float, float] = (CONNECT_SECONDS, READ_SECONDS),
        pause: float = 0.25,
        retries: int = RETRIES,
    ) -> None:
        self.connection = connection
        self._timeout = timeout
        self._pause = pause
        self._retries = retries
        self._idle: list[Any] = []
        self._lock = threading.Lock()
        self._login_lock = threading.Lock()
        self._login: tuple[Secret, float] | None = None
        self._refused: tuple[int, tuple[str, ...]] | None = None

    def request(
        self,
        method: Method,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        login: bool = True,
        root: bool = False,
        wrap_ttl: int = 0,
    ) -> Any:
        """Return the JSON answer (a dict) or, for anything else, hvac's Response. ``root`` ignores the namespace.

        With ``wrap_ttl`` seconds the answer is a token that gives it once within that time (response wrapping).

        A dropped connection, a passing refusal and a refused connection are tried again. Raises Refused,
        Broken, and VaultError when there is no way to log in.
        """
        token = self.token() if login else None
        for attempt in range(self._retries + 1):
            outcome = self._once(method, path, body, query, token, root=root, wrap_ttl=wrap_ttl)
            if not isinstance(outcome, Refused | Broken):
                return outcome
            again = outcome.passing if isinstance(outcome, Refused) else outcome.kind in ("dropped", "refused")
            if not again or attempt == self._retries:
                # Raised here and not where it was caught: the original exception holds the request, token included.
                raise outcome
            wait = self._pause * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311
            if isinstance(outcome, Refused) and outcome.retry_after:
                wait = max(wait, min(outcome.retry_after, 5.0))
            time.sleep(wait)
        raise AssertionError("unreachable")

    def token(self) -> Secret:
        """Return the token to use, after logging in where that is needed. Raises VaultError when there is no way to."""
        auth = self.connection.auth
        if auth is None:
            raise VaultError(
                "there is no token for Vault",
                where=self.connection.address,
                remedy="; or ".join(part for part in (self.connection.hint, WAYS_IN) if part),
            )
        if not isinstance(auth, AppRoleAuth):
            return auth.token
        with self._login_lock:
            # A refused login is not tried again for each cluster: after five of them Vault locks the AppRole for a
            # quarter of an hour, with the right secret id too.
            if self._refused is not None:
                raise Refused(*self._refused)
            if self._login is None or time.monotonic() >= self._login[1]:
                try:
                    self._login = self._app_role(auth)
                except Refused as refusal:
                    if refusal.status in (400, 403):
                        self._refused = (refusal.status, refusal.errors)
                    raise
            return self._login[0]

    def close(self) -> None:
        """Give back what is held: connections, and the token that a login made (a user's own token stays)."""
        if self._login is not None:
            self._once("post", "auth/token/revoke-self", None, None, self._login[0], root=False)
            self._login = None
        with self._lock:
            idle, self._idle = self._idle, []
        for client in idle:
            client.adapter.close()

    def _app_role(self, auth: AppRoleAuth) -> tuple[Secret, float]:
        body = {"role_id": auth.role_id, "secret_id": auth.secret_id.reveal()}
        answer = self.request("post", f"auth/{auth.mount}/login", body=body, login=False)
        made = answer["auth"]
        lease = float(made.get("lease_duration") or 0)
        # A tenth before its end, so that it does not run out between here and Vault.
        return Secret(made["client_token"]), time.monotonic() + lease * 0.9 if lease else float("inf")

    def _once(
        self,
        method: Method,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
        token: Secret | None,
        *,
        root: bool,
        wrap_ttl: int = 0,
    ) -> Any:
        import requests

        more: dict[str, Any] = {}
        if body is not None:
            more["json"] = dict(body)
        if query:
            more["params"] = dict(query)
        if wrap_ttl:
            more["wrap_ttl"] = f"{wrap_ttl}s"
        try:
            with self._client(token, root=root) as client:
                answer = client.adapter.request(method, f"/v1/{path}", raise_exception=False, **more)
        except (requests.exceptions.RequestException, OSError) as error:
            return _broken(error)
        status = getattr(answer, "status_code", 200)
        if status < 400:
            return answer
        if not _is_vaults(answer) and proxy_for(self.connection.address):
            return Broken("proxy", f"it answers {status} in Vault's place")
        return Refused(status, _errors(answer), _seconds(answer.headers.get("Retry-After")))

    @contextmanager
    def _client(self, token: Secret | None, *, root: bool) -> Iterator[Any]:
        with self._lock:
            client = self._idle.pop() if self._idle else None
        if client is None:
            client = self._new_client()
        client.adapter.token = token.reveal() if token else None
        client.adapter.namespace = None if root else self.connection.namespace
        try:
            yield client
        finally:
            client.adapter.token = None
            with self._lock:
                self._idle.append(client)

    def _new_client(self) -> Any:
        import hvac  # 0.2 s, and not needed by every run

        connection = self.connection
        # An empty token and an explicit ``verify`` keep hvac from looking into the environment by itself.
        return hvac.Client(
            url=connection.address,
            token="",
            verify=connection.verify,
            cert=connection.client_certificate,
            timeout=self._timeout,
        )


def _is_vaults(answer: Any) -> bool:
    """Return whether an answer without success is in Vault's form: JSON. That of a proxy is a page."""
    try:
        return isinstance(answer.json(), Mapping)
    except ValueError:
        return False


def _errors(answer: Any) -> tuple[str, ...]:
    try:
        errors = answer.json()["errors"]
        return tuple(str(error) for error in errors)
    except (ValueError, KeyError, TypeError):
        return (answer.text.strip()[:300],) if answer.text.strip() else ()


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _broken(error: Exception) -> Broken:
    import requests.exceptions as wrong

    text = str(error)
    if isinstance(error, wrong.ProxyError):
        return Broken("proxy", _proxy_words(text))
    if isinstance(error, wrong.SSLError) and "EOF" not in text:
        return Broken("tls", _tls_words(text))
    if isinstance(error, wrong.ConnectTimeout):
        return Broken("connect-timeout", "it did not take the connection")
    if isinstance(error, wrong.Timeout) or "Read timed out" in text:
        return Broken("read-timeout", "it took the request and did not answer")
    if "Failed to resolve" in text or "NameResolutionError" in text or "getaddrinfo" in text:
        return Broken("name", "the name does not resolve")
    if "Connection refused" in text:
        return Broken("refused", "nothing listens there")
    if any(word in text for word in ("No route to host", "Network is unreachable", "Host is unreachable")):
        return Broken("other", "there is no way to that network or host")
    if isinstance(error, wrong.ConnectionError | wrong.ChunkedEncodingError):
        return Broken("dropped", "the connection was dropped")
    return Broken("other", type(error).__name__)


def _proxy_words(text: str) -> str:
    if match := re.search(r"Tunnel connection failed: ([^'\")]+)", text):
        return f"it says {match.group(1).strip()}"
    if "Failed to resolve" in text or "getaddrinfo" in text:
        return "its name does not resolve"
    if "Connection refused" in text:
        return "nothing listens there"
    return "it does not answer"


def _tls_words(text: str) -> str:
    for sign, words in {
        "WRONG_VERSION_NUMBER": "it does not speak TLS on that port (the address may have to begin with http://)",
        "record layer failure": "it does not speak TLS on that port (the address may have to begin with http://)",
        "Hostname mismatch": "its certificate is for another name",
        "IP address mismatch": "its certificate is for another address",
        "certificate has expired": "its certificate has expired",
        "not yet valid": "its certificate is not yet valid; is this machine's clock right?",
        "self-signed certificate": "its certificate was signed by a CA that is not trusted here",
        "unable to get": "its certificate was signed by a CA that is not trusted here",
        "certificate required": "it demands a client certificate",
    }.items():
        if sign in text:
            return words
    return "the TLS handshake failed"
