"""A login that failed, as a sentence and a remedy."""

from __future__ import annotations

import shlex
import socket
from typing import TYPE_CHECKING

from etcdfleet.errors import RemoteError
from etcdfleet.remote.host_keys import Verdict, fingerprint
from etcdfleet.remote.login_keys import RefusedError
from etcdfleet.settings.models import host_port

if TYPE_CHECKING:
    from etcdfleet.remote.dial import HostKeyRefusedError, Way

_TURNED_AWAY = {
    "Not allowed at this time": "after failed logins it refuses logins from here for a while "
    "(PerSourcePenalties of sshd)",
    "Exceeded MaxStartups": "too many logins are under way there (MaxStartups of sshd)",
}


def explain(error: Exception, host: str, way: Way, proxy_said: str) -> RemoteError:
    """Explain what paramiko, ssh or the socket said, with a remedy. ``proxy_said``: the bastion's last words."""
    from etcdfleet.remote.dial import HostKeyRefusedError

    causes = _causes(error)
    config = way.config
    where = f"{host} ({host_port(config.hostname, config.port)})"
    key = next((cause for cause in causes if isinstance(cause, HostKeyRefusedError)), None)
    if key is not None:
        return _host_key(key, way, where)
    refused = next((cause for cause in causes if isinstance(cause, RefusedError)), None)
    if refused is not None:
        return _refused(refused, way, where)
    if config.proxied:
        return _proxy(error, way, where, proxy_said)
    text = " ".join(str(cause) for cause in causes)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return RemoteError(
            "its name does not resolve", where=where, remedy="correct `hostname` in the inventory or DNS"
        )
    if "No existing session" in text or "Error reading SSH protocol banner" in text:
        return _no_banner(host, way, where)
    plain = next((str(cause) for cause in causes if isinstance(cause, OSError)), text).strip()
    return RemoteError(
        f"cannot be reached by SSH: {plain.splitlines()[0] if plain else type(error).__name__}",
        where=where,
        remedy=f"check power and network of the host, and that sshd runs there; to go on without it: --limit '!{host}'",
    )


def _causes(error: BaseException) -> list[BaseException]:
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    return causes


def ssh_command(way: Way, *, check: str = "true") -> str:
    """Return the same login by hand: same user, key and configuration, since others may get a different answer."""
    config = way.config
    argv = ["ssh", *(("-F", config.file) if config.file else ()), "-p", str(config.port), "-l", config.user]
    argv += [*(part for path in way.login.first for part in ("-i", str(path))), config.alias, check]
    return shlex.join(argv)


def _accept(way: Way) -> str:
    # ssh-keyscan knows neither aliases nor bastions.
    if way.config.proxied or way.config.host_key_alias:
        return ssh_command(way) + ", and answer its question"
    file = shlex.quote(str(way.known_files[0])) if way.known_files else "~/.ssh/known_hosts"
    return f"ssh-keyscan -p {way.config.port} {way.config.hostname} >> {file}"


def _host_key(error: HostKeyRefusedError, way: Way, where: str) -> RemoteError:
    shown = f"{error.kind} {fingerprint(error.blob)}"
    why = f" ({error.why})" if error.why else ""
    if error.verdict is Verdict.REVOKED:
        return RemoteError(
            f"the host's SSH key is revoked by {error.why}",
            where=where,
            remedy="its key is in wrong hands: give the host new keys (rm /etc/ssh/ssh_host_*; ssh-keygen -A there), "
            "then accept the new one",
        )
    if error.verdict is Verdict.NOT_CERTIFIED:
        return RemoteError(
            f"the host's SSH certificate is refused: {error.why}",
            where=where,
            remedy="have its key signed anew by the authority in known_hosts (ssh-keygen -s CA -h -n "
            f"{way.names[-1]} …), or accept its key: {_accept(way)}",
        )
    if error.verdict is Verdict.CHANGED:
        file = error.why.partition(" has another ")[0].rpartition(":")[0]
        return RemoteError(
            f"the host's SSH key is not the one in known_hosts{why}: another machine answers, or the host was set up "
            "anew",
            where=where,
            remedy=f"if you know why it changed: ssh-keygen -f {shlex.quote(file)} -R {shlex.quote(way.names[0])}, "
            f"then accept the new key: {_accept(way)}",
        )
    unread = [line for line in way.known_hosts.damaged if any(name in line.names for name in way.names)]
    damaged = "".join(f"; {line.where} is for it, and cannot be read: {line.why}" for line in unread)
    command = "; KnownHostsCommand is not asked" if way.config.known_hosts_command else ""
    return RemoteError(
        f"the host's SSH key is unknown{why}{damaged}{command}",
        where=where,
        remedy=f"compare its fingerprint ({shown}) with the one shown at the host, then accept it: {_accept(way)}",
    )


def _refused(error: RefusedError, way: Way, where: str) -> RemoteError:
    words = f" ({error.reason.rstrip('.')})" if error.reason and "uthentication failed" not in error.reason else ""
    if error.causes:
        # What could not even be offered is the likelier cause than what was offered and refused.
        cause = error.causes[0]
        beside = f"; refused: {', '.join(error.offered)}" if error.offered else ""
        return RemoteError(
            f"SSH login as {way.config.user} is not possible: {cause.what}{words}{beside}",
            where=where,
            remedy=cause.remedy,
        )
    if not error.offered:
        return RemoteError(
            f"SSH login as {way.config.user} is not possible: there is no key to offer{words}",
            where=where,
            remedy="add a key to the ssh-agent (ssh-add), or make one (ssh-keygen -t ed25519) and bring it to the host "
            "(ssh-copy-id), or name its file (connection_options.netmiko.extras.key_file); then try: "
            f"{ssh_command(way)}",
        )
    return RemoteError(
        f"SSH login refused for user {way.config.user}{words}; offered: {', '.join(error.offered)}",
        where=where,
        remedy="check the user name and the key (inventory: username, connection_options.netmiko.extras.key_file; "
        f"or the ssh-agent), and try: {ssh_command(way)}",
    )


def _proxy(error: Exception, way: Way, where: str, words: str) -> RemoteError:
    config = way.config
    file = config.file or "~/.ssh/config"
    if config.proxy_command:
        command = config.proxy_command
        return RemoteError(
            f"the ProxyCommand of {file} makes no connection: {words or error}",
            where=where,
            remedy=f"try it by hand: {ssh_command(way)}; it is: {command}",
        )
    bastion = config.proxy_jump.rpartition(",")[2].removeprefix("ssh://").strip()
    by_hand = shlex.join(["ssh", *(("-F", config.file) if config.file else ()), bastion, "true"])
    if "open failed" in words:
        return RemoteError(
            f"the bastion {bastion} (ProxyJump in {file}) does not get through to this host: {words}",
            where=where,
            remedy="check power and network of the host, that sshd runs there, and that the bastion may forward "
            "(AllowTcpForwarding in its sshd_config)",
        )
    return RemoteError(
        f"the bastion {config.proxy_jump} (ProxyJump in {file}) cannot be used: {words or error}",
        where=where,
        remedy=f"make sure that this works without a question: {by_hand}; its key must be in known_hosts, and yours in "
        "the ssh-agent if it has a passphrase",
    )


def _no_banner(host: str, way: Way, where: str) -> RemoteError:
    greeting = first_words(way.config.hostname, way.config.port)
    for words, meaning in _TURNED_AWAY.items():
        if words in greeting:
            return RemoteError(
                f"sshd turns the connection away: {meaning}",
                where=where,
                remedy="wait a few minutes, and correct user and key before the next try",
            )
    answer = f" (it says: {greeting})" if greeting and not greeting.startswith("SSH-") else ""
    return RemoteError(
        f"it answers, but no SSH session begins: the host is overloaded, or what answers is no sshd{answer}",
        where=where,
        remedy=f"look at its load and its memory, and try: {ssh_command(way)}; to go on without it: --limit '!{host}'",
    )


def first_words(hostname: str, port: int) -> str:
    """Return the first line that a port says; empty when it says none within two seconds."""
    try:
        with socket.create_connection((hostname, port), timeout=2) as made:
            return made.recv(200).split(b"\n")[0].decode("utf-8", "replace").strip()
    except OSError:
        return ""
