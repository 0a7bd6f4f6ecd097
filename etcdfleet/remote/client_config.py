"""What OpenSSH's client configuration says about a host: the answer of ``ssh -G``, as data.

OpenSSH itself is the one reader that knows Include, Match, tokens and system-wide files exactly (ssh_config(5), ssh(1)
``-G``). On a controller without it, paramiko's parser takes over; what that one cannot read is named with its line.
"""

from __future__ import annotations

import getpass
import os
import pwd
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etcdfleet.errors import RemoteError

SYSTEM_WIDE = Path("/etc/ssh/ssh_config")
DEFAULT_IDENTITIES = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
DEFAULT_KNOWN = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
DEFAULT_GLOBAL = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
_ANSWER_SECONDS = 30
_ANOTHER_FILE = (
    "or name another file by ssh.config_file in config.yaml, or for single hosts by "
    "connection_options.netmiko.extras.ssh_config_file"
)


@dataclass(frozen=True)
class ClientConfig:
    """How ssh would reach a host. ``alias`` is the name that was looked up, ``file`` what ``-F`` has to name."""

    alias: str
    hostname: str
    port: int
    user: str
    file: str = ""
    proxy_jump: str = ""
    proxy_command: str = ""
    proxy_fdpass: bool = False
    identities: tuple[str, ...] = DEFAULT_IDENTITIES
    certificates: tuple[str, ...] = ()
    identities_only: bool = False
    agent: str = ""
    user_known_hosts: tuple[str, ...] = DEFAULT_KNOWN
    global_known_hosts: tuple[str, ...] = DEFAULT_GLOBAL
    host_key_alias: str = ""
    revoked_host_keys: str = ""
    known_hosts_command: str = ""
    bind_address: str = ""
    family: int = socket.AF_UNSPEC

    @property
    def proxied(self) -> bool:
        """Whether another program, or a bastion, makes the connection."""
        return bool(self.proxy_jump or self.proxy_command)


def client_config(name: str, *, port: int | None, user: str, file: Path | None) -> ClientConfig:
    """Return what ssh would do for ``ssh -F FILE -p PORT -l USER NAME``; without port or user, the file decides.

    ``file`` None means what ssh reads without ``-F``. Raises RemoteError, with the line, where ssh cannot read it.
    """
    if file is not None and not file.is_file():
        raise RemoteError(
            "there is no such configuration file of OpenSSH",
            where=str(file),
            remedy="correct the path (ssh.config_file in config.yaml, NORNIR_SSH_CONFIG_FILE, or ssh_config_file "
            "in connection_options.netmiko.extras), or remove it: ~/.ssh/config is read without it",
        )
    named = str(file) if file is not None else _own_home()
    if shutil.which("ssh") is None:
        return _by_paramiko(name, port, user, file or Path("~/.ssh/config").expanduser())
    argv = ["ssh", "-G", *(("-F", named) if named else ()), *(("-p", str(port)) if port else ())]
    argv += [*(("-l", user) if user else ()), "--", name]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise RemoteError(
            f"ssh -G does not say within {_ANSWER_SECONDS} s how this host is reached",
            where=named or "~/.ssh/config",
            remedy=f"look for a slow `Match exec` or CanonicalizeHostname in it, {_ANOTHER_FILE}",
        ) from error
    if done.returncode != 0:
        if re.match(r"No user exists for uid", done.stderr.decode("utf-8", "replace")):  # as in some containers
            return _by_paramiko(name, port, user, file or Path("~/.ssh/config").expanduser())
        raise _unreadable(done.stderr.decode("utf-8", "replace"), named)
    return from_answer(name, done.stdout.decode("utf-8", "surrogateescape"), named)


def _own_home() -> str:
    """Return the file for ``-F`` where HOME is not the user's own folder: ssh alone would not look at HOME."""
    home = os.environ.get("HOME", "")
    try:
        if not home or Path(home).resolve() == Path(pwd.getpwuid(os.getuid()).pw_dir).resolve():
            return ""
    except KeyError:  # a user without an entry: ssh refuses to run at all
        return ""
    own = Path(home) / ".ssh" / "config"
    return next((str(path) for path in (own, SYSTEM_WIDE) if path.is_file()), "none")


def from_answer(alias: str, text: str, file: str = "") -> ClientConfig:
    """Return the answer of ``ssh -G`` as data. Pure; paths keep their ``~``."""
    options: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        options.setdefault(key.lower(), []).append(value.strip())

    def one(key: str) -> str:
        value = options.get(key, [""])[0]
        return "" if value.lower() == "none" else value

    def several(key: str) -> tuple[str, ...]:
        return tuple(value for value in options.get(key, ()) if value.lower() != "none")

    families = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
    return ClientConfig(
        alias=alias,
        hostname=one("hostname") or alias,
        port=int(one("port") or 22),
        user=one("user"),
        file=file,
        proxy_jump=one("proxyjump"),
        proxy_command=one("proxycommand"),
        proxy_fdpass=one("proxyusefdpass") == "yes",
        identities=several("identityfile"),
        certificates=several("certificatefile"),
        identities_only=one("identitiesonly") == "yes",
        agent=options.get("identityagent", [""])[0],
        user_known_hosts=_paths(one("userknownhostsfile")),
        global_known_hosts=_paths(one("globalknownhostsfile")),
        host_key_alias=one("hostkeyalias"),
        revoked_host_keys=one("revokedhostkeys"),
        known_hosts_command=one("knownhostscommand"),
        bind_address=one("bindaddress"),
        family=families.get(one("addressfamily"), socket.AF_UNSPEC),
    )


def _paths(value: str) -> tuple[str, ...]:
    # ssh prints several paths with blanks between them, and does not quote those that have one.
    if not value or Path(value).expanduser().is_file():
        return (value,) if value else ()
    return tuple(value.split())


def at_home(path: str) -> Path:
    """Return a path of the client's configuration; ``~`` is HOME, also in what ssh filled in from the user's entry."""
    home = os.environ.get("HOME", "")
    try:
        own = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        own = ""
    if home and own and home != own and path.startswith(f"{own}/") and not Path(path).exists():
        path = home + path[len(own) :]
    return Path(os.path.expandvars(path)).expanduser()


def _unreadable(output: str, file: str) -> RemoteError:
    # The first line has file and line; the last only counts them.
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    first = next((line for line in lines if re.search(r"line \d+", line)), lines[0] if lines else "no reason given")
    hint = ""
    if r"\357\273\277" in first or "\ufeff" in first:
        hint = "the file begins with a byte order mark: save it as UTF-8 without one; "
    return RemoteError(
        f"ssh cannot read its configuration: {first}",
        where=file or "~/.ssh/config",
        remedy=f"{hint}correct that line (ssh -G HOST reads it again), {_ANOTHER_FILE}",
    )


def _by_paramiko(name: str, port: int | None, user: str, file: Path) -> ClientConfig:
    entry: Mapping[str, object] = {}
    if file.is_file():
        entry = _parsed(file, name)

    def one(key: str) -> str:
        value = entry.get(key)
        return "" if not isinstance(value, str) or value.lower() == "none" else value

    identities = entry.get("identityfile") or DEFAULT_IDENTITIES
    return ClientConfig(
        alias=name,
        hostname=one("hostname") or name,
        port=port or int(one("port") or 22),
        user=user or one("user") or local_user("root"),
        file=str(file) if file.is_file() else "",
        proxy_jump="" if entry.get("proxycommand") else one("proxyjump"),
        proxy_command=one("proxycommand"),
        identities=tuple(str(path) for path in identities) if isinstance(identities, Sequence) else (),
        certificates=_paths(one("certificatefile")),
        identities_only=one("identitiesonly") == "yes",
        agent=str(entry.get("identityagent") or ""),
        user_known_hosts=_paths(one("userknownhostsfile")) or DEFAULT_KNOWN,
        global_known_hosts=_paths(one("globalknownhostsfile")) or DEFAULT_GLOBAL,
        host_key_alias=one("hostkeyalias"),
        revoked_host_keys=one("revokedhostkeys"),
        known_hosts_command=one("knownhostscommand"),
        bind_address=one("bindaddress"),
    )


def local_user(unknown: str) -> str:
    """Return who runs this process; ``unknown`` where the user has no entry, and USER is not set."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return unknown


def _parsed(file: Path, name: str) -> Mapping[str, object]:
    import paramiko

    remedy = f"install OpenSSH's client here (openssh-client), which reads it, correct the line, {_ANOTHER_FILE}"
    text = file.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"\s*include\b", line, re.IGNORECASE):
            what = f"line {number}: Include is followed by OpenSSH's own client alone, and it is not installed here"
            raise RemoteError(what, where=str(file), remedy=remedy)
    lines = text.splitlines()
    parser = paramiko.SSHConfig()
    try:
        parser.parse(iter(lines))
        return parser.lookup(name)
    except Exception as error:
        number = next((n for n, line in enumerate(lines, 1) if not _parses(lines[:n])), 0)
        at = f"line {number}: " if number else ""
        raise RemoteError(
            f"{at}not understood without OpenSSH's own client: {error}", where=str(file), remedy=remedy
        ) from error


def _parses(lines: Sequence[str]) -> bool:
    import paramiko

    try:
        paramiko.SSHConfig().parse(iter(lines))
    except Exception:
        return False
    return True
