"""Making one connection: the way to the host, its key, our key; all by paramiko's own hooks."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etcdfleet.errors import RemoteError
from etcdfleet.remote.client_config import ClientConfig
from etcdfleet.remote.explain import explain
from etcdfleet.remote.host_keys import KnownHosts, Verdict, judge, names_of, preferred_kinds
from etcdfleet.remote.login_keys import Login
from etcdfleet.remote.proxy import Proxy, program

if TYPE_CHECKING:
    import paramiko

log = logging.getLogger("etcdfleet.remote")
HANDSHAKE_TIMEOUT = 30.0
BANNER_TIMEOUT = 15.0
_THROUGH_BASTIONS = threading.BoundedSemaphore(8)
"""Logins through bastions at the same time: sshd turns more than 10 away that are not done yet (MaxStartups)."""
SILENCE_SECONDS = 20
"""A host that acknowledges nothing for so long is gone: its cable was pulled, or its power."""


@dataclass
class Way:
    """All that is needed to log in to a host, once or again. ``known_files`` are those that know its key."""

    config: ClientConfig
    login: Login
    known_hosts: KnownHosts
    known_files: tuple[Path, ...]
    strict: bool
    patience: float
    socket_given: Any = None
    limits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that known_hosts may have it by."""
        return names_of(self.config.hostname, self.config.port, self.config.host_key_alias)


def dial(way: Way, host: str) -> paramiko.SSHClient:
    """Return a logged-in client: the connection, the host's key, our key. Raises RemoteError."""
    _refuse_unknown(way.config)
    with _THROUGH_BASTIONS if way.config.proxied else contextlib.nullcontext():
        return _dial(way, host)


def _dial(way: Way, host: str) -> paramiko.SSHClient:
    import paramiko

    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(_policy(way))
    made: Any = way.socket_given
    proxy: Proxy | None = None
    banner = float(way.limits.get("banner_timeout") or BANNER_TIMEOUT)
    try:
        if made is None and way.config.proxied:
            through = program(way.config, way.patience)
            proxy = Proxy(through)
            made, banner = proxy.socket, banner + through.hops * way.patience
        elif made is None:
            # Whether anybody is there is known soon; a small host that is busy may take long over the key exchange.
            made = _reach(way)
        client.connect(
            way.config.hostname,
            port=way.config.port,
            username=way.config.user,
            sock=made,
            timeout=max(HANDSHAKE_TIMEOUT, banner, float(way.limits.get("conn_timeout") or 0)),
            banner_timeout=banner,
            auth_timeout=float(way.limits.get("auth_timeout") or 20),
            disabled_algorithms=way.limits.get("disabled_algorithms"),
            transport_factory=_transport(way),
            auth_strategy=way.login,  # type: ignore[arg-type]  # paramiko only calls its authenticate()
        )
        transport = client.get_transport()
        if transport is not None:
            transport.set_keepalive(int(way.limits.get("keepalive") or 0))
            _tune(transport)
    except BaseException as error:
        client.close()
        if way.socket_given is None and made is not None:
            made.close()
        if not isinstance(error, Exception) or isinstance(error, RemoteError):
            raise
        raise explain(error, host, way, proxy.said() if proxy is not None else "") from error
    return client


def _reach(way: Way) -> socket.socket:
    source = (way.config.bind_address, 0) if way.config.bind_address else None
    if way.config.family == socket.AF_UNSPEC:
        return socket.create_connection((way.config.hostname, way.config.port), way.patience, source)
    error: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(
        way.config.hostname, way.config.port, way.config.family, socket.SOCK_STREAM
    ):
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(way.patience)
            if source:
                made.bind(source)
            made.connect(address)
        except OSError as failed:
            made.close()
            error = failed
        else:
            return made
    raise error or OSError("no address of the wanted family")


def _refuse_unknown(config: ClientConfig) -> None:
    """Refuse what ssh's configuration demands and is not done here: ignoring it would be less safe, or in vain."""
    if config.proxy_fdpass and config.proxy_command:
        raise RemoteError(
            f"ProxyUseFdpass is not supported (the ProxyCommand is {config.proxy_command})",
            where=config.alias,
            remedy="give the ProxyCommand a form that copies the data itself, and remove ProxyUseFdpass for this host",
        )
    if config.revoked_host_keys:
        raise RemoteError(
            f"RevokedHostKeys is not supported (it names {config.revoked_host_keys})",
            where=config.alias,
            remedy="write the revoked keys into known_hosts as lines that begin with @revoked, and remove "
            "RevokedHostKeys for this host",
        )


class HostKeyRefusedError(Exception):
    """The host's key is not the one that it should have."""

    def __init__(self, verdict: Verdict, why: str, kind: str, blob: bytes) -> None:
        super().__init__(verdict.value)
        self.verdict, self.why, self.kind, self.blob = verdict, why, kind, blob


def _policy(way: Way) -> Any:
    """paramiko asks it about every key, as it is told of none itself."""

    class Policy:
        def missing_host_key(self, _client: object, _name: str, key: paramiko.PKey) -> None:
            shown = key.public_blob
            kind, blob = (shown.key_type, shown.key_blob) if shown is not None else (key.get_name(), key.asbytes())
            judged = judge(way.known_hosts, way.names, kind, blob)
            if judged.verdict is Verdict.UNKNOWN and not way.strict:
                log.warning("the key of %s is unknown, and ssh_strict is off: %s", way.names[0], judged.why)
            elif judged.verdict is not Verdict.KNOWN:
                raise HostKeyRefusedError(judged.verdict, judged.why, kind, blob)

    return Policy()


def _transport(way: Way) -> Callable[..., paramiko.Transport]:
    import paramiko

    from etcdfleet.remote.transport import OrderlyTransport

    def make(sock: Any, **options: Any) -> paramiko.Transport:
        made = OrderlyTransport(sock, **options)
        security = made.get_security_options()
        lines = [line for name in way.names for line in way.known_hosts.of(name)]
        security.key_types = preferred_kinds(lines, list(security.key_types), list(paramiko.Transport._key_info))  # type: ignore[attr-defined]
        return made

    return make


def _tune(transport: paramiko.Transport) -> None:
    """Set the connection's socket up for short questions and for hosts that vanish.

    Nagle's algorithm would hold each small packet back until the host has confirmed the one before, up to 40 ms. And
    when a host is gone, the kernel alone would try for a quarter of an hour; what makes it notice are the keepalives,
    which are sent also while a command says nothing for minutes.
    """
    sock = transport.sock
    if not isinstance(sock, socket.socket) or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return  # a bastion's connection is ssh's own affair
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux's
    if option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, SILENCE_SECONDS * 1000)
