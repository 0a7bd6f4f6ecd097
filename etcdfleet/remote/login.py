"""Logging in with netmiko, through nornir-netmiko; what goes wrong there becomes a sentence and a remedy."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etcdfleet.errors import RemoteError
from etcdfleet.remote.host import CONNECT_TIMEOUT, DEFAULT_TIMEOUT, RemoteHost

if TYPE_CHECKING:
    import paramiko
    from nornir.core.configuration import Config
    from nornir.core.inventory import Host

HANDSHAKE_TIMEOUT = 30.0
SILENCE_SECONDS = 20
"""A host that acknowledges nothing for so long is gone: its cable was pulled, or its power."""


def connect(host: Host, configuration: Config) -> RemoteHost:
    """The logged-in host behind a Nornir host; opened once, then reused by all tasks of the run.

    Raises `RemoteError` with the exact remedy: unreachable, unknown or changed host key, login refused.
    """
    timeout = float(configuration.user_defined.get("timeout") or DEFAULT_TIMEOUT)
    opened = host.connections.get("netmiko")
    if opened is None:
        opened = _open(host, configuration)
    remote: RemoteHost | None = getattr(opened, "etcdfleet_remote", None)
    if remote is None:
        remote = RemoteHost(host.name, opened.connection.remote_conn_pre, timeout=timeout)
        setattr(opened, "etcdfleet_remote", remote)  # noqa: B010  lives exactly as long as the connection
    return remote


def _open(host: Host, configuration: Config) -> Any:
    parameters = host.get_connection_parameters("netmiko")
    extras: dict[str, Any] = {
        "ssh_strict": True,
        "system_host_keys": True,
        "use_keys": True,
        "allow_agent": True,
        "conn_timeout": CONNECT_TIMEOUT,
        "auth_timeout": 20,
        "banner_timeout": 15,
        "keepalive": 10,
        "auto_connect": False,  # no scraping of a prompt: see below
        **(parameters.extras or {}),
    }
    for key in ("key_file", "alt_key_file", "ssh_config_file"):
        if extras.get(key):
            extras[key] = str(Path(extras[key]).expanduser())
    name = parameters.hostname or host.name
    user = parameters.username or ""
    user, extras = _from_ssh_config(name, user, extras)
    if extras.get("key_file") and not Path(extras["key_file"]).is_file():
        raise RemoteError(
            f"the SSH key file {extras['key_file']} does not exist",
            where=host.name,
            remedy="correct connection_options.netmiko.extras.key_file in the inventory, or leave it out to use the "
            "ssh-agent and the default keys",
        )
    try:
        if not extras.get("ssh_config_file") and not extras.get("sock"):
            # Whether anybody is there is known soon; a small host that is busy may take long over the key exchange.
            patience = float(configuration.user_defined.get("connect_timeout") or CONNECT_TIMEOUT)
            extras["sock"] = socket.create_connection((name, parameters.port or 22), timeout=patience)
            extras["conn_timeout"] = HANDSHAKE_TIMEOUT
        plugin = host.open_connection(
            "netmiko", configuration, username=user, platform=parameters.platform or "linux", extras=extras
        )
        _log_in(plugin.connection)
        _tune(plugin.connection.remote_conn_pre.get_transport())
    except Exception as error:
        host.connections.pop("netmiko", None)
        if isinstance(extras.get("sock"), socket.socket):
            extras["sock"].close()
        raise _explain(error, host, name, parameters.port or 22, user, extras) from error
    return plugin


def _log_in(connection: Any) -> None:
    """Logs in with netmiko's client and parameters, and leaves the interactive shell for whoever asks netmiko for it.

    On a Pi, a terminal and a login shell with its profile take longer than what is asked. Nor does it matter then what
    prompt or login message there is.
    """
    client = connection._build_ssh_client()
    try:
        client.connect(**connection._connect_params_dict())
    except BaseException:
        client.close()
        raise
    connection.remote_conn_pre = client
    client.get_transport().set_keepalive(connection.keepalive)
    connection.channel = LateShell(connection, connection.cleanup)
    connection.cleanup = _nothing  # on closing, it would write "exit" to a shell that was never there


class LateShell:
    """netmiko's channel until something is read from it or written to it, by somebody's own task: then it is opened."""

    def __init__(self, connection: Any, cleanup: Callable[..., None]) -> None:
        self._connection, self._cleanup = connection, cleanup

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by Python, to see what this is, and not by netmiko
            raise AttributeError(name)
        from netmiko.channel import SSHChannel

        connection = self._connection
        connection.remote_conn = connection.remote_conn_pre.invoke_shell(term="vt100", width=511, height=1000)
        connection.remote_conn.settimeout(connection.blocking_timeout)
        connection.channel = SSHChannel(conn=connection.remote_conn, encoding=connection.encoding)
        connection.cleanup = self._cleanup
        return getattr(connection.channel, name)


def _nothing(*_: object, **__: object) -> None:
    pass


def _tune(transport: paramiko.Transport | None) -> None:
    """Sets the connection's socket up for short questions and for hosts that vanish.

    Nagle's algorithm would hold each small packet back until the host has confirmed the one before, up to 40 ms. And
    when a host is gone, the kernel alone would try for a quarter of an hour; what makes it notice are the keepalives,
    which are sent also while a command says nothing for minutes.
    """
    if transport is None or not isinstance(transport.sock, socket.socket):
        return  # a jump host's connection is ssh's own affair
    transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux's
    if option is not None:
        transport.sock.setsockopt(socket.IPPROTO_TCP, option, SILENCE_SECONDS * 1000)


def _from_ssh_config(name: str, user: str, extras: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What ``~/.ssh/config`` says and netmiko would not take from it: the user and the identity file."""
    path = Path(extras.get("ssh_config_file") or "~/.ssh/config").expanduser()
    if not path.is_file():
        if extras.get("ssh_config_file") is not None:
            extras = {**extras, "ssh_config_file": None}
        return user or os.environ.get("USER", "root"), extras
    import paramiko

    entry = paramiko.SSHConfig.from_path(str(path)).lookup(name)
    extras = {**extras, "ssh_config_file": str(path)}
    identities = [p for p in map(os.path.expanduser, entry.get("identityfile", [])) if os.path.isfile(p)]  # noqa: PTH113
    if identities and not extras.get("key_file"):
        extras["key_file"] = identities[0]
    return user or entry.get("user", os.environ.get("USER", "root")), extras


def _explain(error: Exception, host: Host, name: str, port: int, user: str, extras: Mapping[str, Any]) -> RemoteError:
    """Turns what netmiko, paramiko or the socket said into a sentence and a remedy."""
    import paramiko

    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    text = " ".join(str(cause) for cause in causes)
    where = f"{host.name} ({name}:{port})"
    known = str(extras.get("alt_key_file") or "~/.ssh/known_hosts")
    target = name if port == 22 else f"[{name}]:{port}"
    if any(isinstance(cause, paramiko.BadHostKeyException) for cause in causes) or "does not match" in text:
        return RemoteError(
            "the host's SSH key is not the one in known_hosts: another machine answers, or the host was set up anew",
            where=where,
            remedy=f"if you know why it changed: ssh-keygen -f {known} -R '{target}', then accept the new key: "
            f"ssh-keyscan -p {port} {name} >> {known}",
        )
    if "not found in known_hosts" in text:
        return RemoteError(
            "the host's SSH key is unknown",
            where=where,
            remedy="compare its fingerprint with the one shown at the host, then accept it: "
            f"ssh-keyscan -p {port} {name} >> {known}",
        )
    if any(isinstance(cause, paramiko.AuthenticationException) for cause in causes) or "Authentication" in text:
        # The same user and key as here: with others, ssh would answer another question.
        login = ["ssh", "-p", str(port), "-l", user, *(("-i", key) if (key := extras.get("key_file")) else ()), name]
        return RemoteError(
            f"SSH login refused for user {user}",
            where=where,
            remedy="check the user name and the key (inventory: username, connection_options.netmiko.extras.key_file; "
            f"or the ssh-agent), and try: {shlex.join(login)} true",
        )
    if any(isinstance(cause, socket.gaierror) for cause in causes) or "DNS failure" in text:
        return RemoteError(
            "its name does not resolve", where=where, remedy="correct `hostname` in the inventory or DNS"
        )
    if "No existing session" in text or "Error reading SSH protocol banner" in text:
        return RemoteError(
            "it answers, and SSH comes no further: the host is overloaded, or what answers is no sshd",
            where=where,
            remedy="look at its load and its memory, and try: "
            f"ssh -p {port} {name} true; to go on without it: --limit '!{host.name}'",
        )
    plain = next((str(c) for c in causes if isinstance(c, OSError) and not isinstance(c, socket.gaierror)), text)
    return RemoteError(
        f"cannot be reached by SSH: {plain.strip().splitlines()[0] if plain.strip() else type(error).__name__}",
        where=where,
        remedy="check power and network of the host, and that sshd runs there; to go on without it: "
        f"--limit '!{host.name}'",
    )
