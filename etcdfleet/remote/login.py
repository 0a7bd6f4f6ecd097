"""Logging in through nornir-netmiko, the way ssh would.

netmiko makes the connection object, with its time-outs and its channel for those who read prompts. How the host is
reached, its key and ours are decided here: netmiko's own way ignores Include and what a bastion says, stops at the
first line of known_hosts that it cannot read, and knows no agent without a key file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from etcdfleet.errors import RemoteError
from etcdfleet.remote.client_config import at_home, client_config
from etcdfleet.remote.dial import BANNER_TIMEOUT, HANDSHAKE_TIMEOUT, Way, dial
from etcdfleet.remote.host import CONNECT_TIMEOUT, DEFAULT_TIMEOUT, RemoteHost
from etcdfleet.remote.host_keys import notes_of, read_known_hosts
from etcdfleet.remote.login_keys import Login
from etcdfleet.session import session_of
from etcdfleet.settings.config import FOLDER_KEY

if TYPE_CHECKING:
    import paramiko
    from nornir.core.configuration import Config
    from nornir.core.inventory import Host

    Another: TypeAlias = Callable[[], paramiko.SSHClient]


def connect(host: Host, configuration: Config) -> RemoteHost:
    """Return the logged-in host behind a Nornir host; opened once, then reused by all tasks of the run.

    Raises `RemoteError` with the exact remedy: unreachable, unknown or changed host key, login refused.
    """
    opened = host.connections.get("netmiko")
    another: Another | None = None
    notes: Sequence[str] = ()
    if opened is None:
        opened, another, notes = _open(host, configuration)
    session = session_of(configuration)

    def made() -> RemoteHost:
        timeout = session.timeout or DEFAULT_TIMEOUT
        return RemoteHost(host.name, opened.connection.remote_conn_pre, timeout=timeout, another=another, notes=notes)

    return session.keep((RemoteHost, host.name), made, of=opened)


def let_go(host: Host) -> None:
    """Close a connection that does not answer, so that the next use of the host opens a new one."""
    plugin = host.connections.pop("netmiko", None)
    client = getattr(getattr(plugin, "connection", None), "remote_conn_pre", None)
    transport = client.get_transport() if client else None
    if transport is not None:
        transport.close()


def _open(host: Host, configuration: Config) -> tuple[Any, Another | None, Sequence[str]]:
    parameters = host.get_connection_parameters("netmiko")
    extras: dict[str, Any] = {
        "ssh_strict": True,
        "system_host_keys": True,
        "use_keys": True,
        "allow_agent": True,
        "conn_timeout": HANDSHAKE_TIMEOUT,
        "auth_timeout": 20,
        "banner_timeout": BANNER_TIMEOUT,
        "keepalive": 10,
        **(parameters.extras or {}),
    }
    name = parameters.hostname or host.name
    try:
        way = _way(name, parameters.port, parameters.username or "", parameters.password or "", extras, configuration)
    except RemoteError as error:
        # About a file, and so the same for all hosts: told once, whatever host it is.
        raise RemoteError(error.what, where=error.where or host.name, remedy=error.remedy) from error
    key_file = str(way.login.first[0]) if way.login.first else None
    mine = {
        "auto_connect": False,  # no scraping of a prompt: see LateShell
        "ssh_config_file": None,  # read already
        "key_file": key_file,
        "use_keys": key_file is not None,  # with it and without a file, netmiko refuses to begin
    }
    try:
        plugin = host.open_connection(
            "netmiko",
            configuration,
            hostname=way.config.hostname,
            port=way.config.port,
            username=way.config.user,
            platform=parameters.platform or "linux",
            extras={**extras, **mine},
        )
    except Exception as error:
        host.connections.pop("netmiko", None)
        reason = str(error).strip().partition("\n")[0]
        raise RemoteError(
            f"netmiko does not take its options: {reason or type(error).__name__}",
            where="inventory",
            remedy="correct connection_options.netmiko (extras, platform); docs/settings.md lists the extras",
        ) from error
    try:
        another = _take(plugin, dial(way, host.name), way, host.name)
    except BaseException:
        host.connections.pop("netmiko", None)
        raise
    return plugin, another, notes_of(way.known_hosts)


def _way(
    name: str, port: int | None, user: str, password: str, extras: Mapping[str, Any], configuration: Config
) -> Way:
    folder = Path(configuration.user_defined.get(FOLDER_KEY) or Path.cwd())

    def path(key: str) -> Path | None:
        return (folder / Path(extras[key]).expanduser()).absolute() if extras.get(key) else None

    config = client_config(name, port=port, user=user, file=path("ssh_config_file") or _named(configuration))
    key_file = path("key_file")
    if key_file is not None and not key_file.exists():
        raise RemoteError(
            f"the SSH key file {key_file} does not exist",
            where="inventory",
            remedy="correct connection_options.netmiko.extras.key_file in the inventory (a relative path starts at "
            f"{folder}, the folder of config.yaml), or leave it out to use the ssh-agent and the default keys",
        )
    known_files: list[Path] = []
    if extras.get("system_host_keys"):
        known_files += [at_home(each) for each in (*config.user_known_hosts, *config.global_known_hosts)]
    own = path("alt_key_file")
    if own is not None and extras.get("alt_host_keys", True):
        known_files.insert(0, own)
    try:
        known_hosts = read_known_hosts(known_files)
    except OSError as error:
        raise RemoteError(
            f"known_hosts cannot be read: {error.strerror}",
            where=str(error.filename),
            remedy="correct its owner and mode",
        ) from error
    login = Login(
        user=config.user,
        first=(key_file,) if key_file else (),
        others=tuple(at_home(each) for each in config.identities) if extras.get("use_keys") else (),
        certificates=tuple(at_home(each) for each in config.certificates),
        agent=config.agent if extras.get("allow_agent") else "none",
        identities_only=config.identities_only,
        given=extras.get("pkey"),
        password=password,
        passphrase=str(extras.get("passphrase") or ""),
    )
    return Way(
        config=config,
        login=login,
        known_hosts=known_hosts,
        known_files=tuple(known_files),
        strict=bool(extras.get("ssh_strict")),
        patience=session_of(configuration).connect_timeout or CONNECT_TIMEOUT,
        socket_given=extras.get("sock"),
        limits=extras,
    )


def _named(configuration: Config) -> Path | None:
    """Return the file that config.yaml or NORNIR_SSH_CONFIG_FILE names; None is what ssh reads by itself."""
    named = Path(configuration.ssh.config_file).expanduser()
    return None if named == Path("~/.ssh/config").expanduser() else named.absolute()


def _take(plugin: Any, client: paramiko.SSHClient, way: Way, host: str) -> Another | None:
    """Give netmiko the client, and open the interactive shell only when netmiko is asked for it.

    Returns what logs in once more, if that can be done.

    On a Pi, a terminal and a login shell with its profile take longer than what is asked. Nor does it matter then what
    prompt or login message there is.
    """
    connection = plugin.connection
    connection.remote_conn_pre = client
    connection.channel = LateShell(connection, connection.cleanup)
    connection.cleanup = lambda *_, **__: None  # on closing, it would write "exit" to a shell that was never there
    if way.socket_given is not None:
        return None
    more: list[paramiko.SSHClient] = []
    close = connection.paramiko_cleanup

    def another() -> paramiko.SSHClient:
        more.append(dial(way, host))
        return more[-1]

    def close_all() -> None:
        for each in more:
            each.close()
        close()

    connection.paramiko_cleanup = close_all
    return another


class LateShell:
    """netmiko's channel until something is read from it or written to it, by a user's own task: then it is opened."""

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
