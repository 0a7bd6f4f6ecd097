"""What is said when a login fails: the cause, and a remedy that can be typed as it is."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import paramiko
import pytest

from etcdfleet.remote.client_config import ClientConfig
from etcdfleet.remote.dial import HostKeyRefusedError, Way
from etcdfleet.remote.explain import explain
from etcdfleet.remote.host_keys import KnownHosts, Verdict
from etcdfleet.remote.login_keys import KeyFileError, Login, RefusedError


def way(**config: Any) -> Way:
    files = (Path("/home/me/.ssh/known_hosts"),)
    given = {"alias": "pi", "hostname": "192.0.2.1", "port": 22, "user": "me", **config}
    return Way(ClientConfig(**given), Login("me", first=[Path("/home/me/a key")]), KnownHosts(), files, True, 10)


LOCKED = KeyFileError("the key /k has a passphrase", "ssh-add /k")
KEY = b"\0\0\0\x0bssh-ed25519"


def refused(verdict: Verdict, why: str) -> HostKeyRefusedError:
    return HostKeyRefusedError(verdict, why, "ssh-ed25519", KEY)


@pytest.mark.parametrize(
    ("error", "config", "words", "what", "remedy"),
    [
        (
            RefusedError("Authentication failed.", ["/k"], []),
            {},
            "",
            "login refused for user me; offered: /k",
            "try: ssh -p 22 -l me -i '/home/me/a key' pi true",
        ),
        (
            RefusedError("Authentication failed.", ["/k"], []),
            {"port": 2222, "file": "/c"},
            "",
            "login refused",
            "try: ssh -F /c -p 2222 -l me -i '/home/me/a key' pi true",
        ),
        (RefusedError("", [], []), {}, "", "no key to offer", "ssh-add"),
        (RefusedError("", [], [LOCKED]), {}, "", "not possible: the key /k has a passphrase", "ssh-add /k"),
        (RefusedError("", ["/b"], [LOCKED]), {}, "", "has a passphrase; refused: /b", "ssh-add /k"),
        (
            refused(Verdict.UNKNOWN, ""),
            {},
            "",
            "key is unknown",
            "ssh-keyscan -p 22 192.0.2.1 >> /home/me/.ssh/known_hosts",
        ),
        (
            refused(Verdict.UNKNOWN, ""),
            {"proxy_jump": "b"},
            "",
            "key is unknown",
            "ssh -p 22 -l me -i '/home/me/a key' pi true, and answer its question",
        ),
        (
            refused(Verdict.UNKNOWN, ""),
            {"known_hosts_command": "x"},
            "",
            "KnownHostsCommand is not asked",
            "fingerprint (ssh-ed25519 SHA256:",
        ),
        (
            refused(Verdict.CHANGED, "/a b:3 has another ssh-ed25519 key"),
            {},
            "",
            "/a b:3 has another",
            "ssh-keygen -f '/a b' -R 192.0.2.1",
        ),
        (refused(Verdict.REVOKED, "/kh:3"), {}, "", "revoked by /kh:3", "ssh-keygen -A"),
        (refused(Verdict.NOT_CERTIFIED, "it ended"), {}, "", "refused: it ended", "ssh-keygen -s CA"),
        (
            EOFError(),
            {"proxy_jump": "b"},
            "ssh: Could not resolve hostname b",
            "the bastion b (ProxyJump in ~/.ssh/config) cannot be used: ssh: Could not",
            "ssh b true",
        ),
        (
            EOFError(),
            {"proxy_jump": "a,b", "file": "/c"},
            "no",
            "the bastion a,b (ProxyJump in /c)",
            "ssh -F /c b true",
        ),
        (
            EOFError(),
            {"proxy_jump": "b"},
            "channel 0: open failed: connect failed: No route",
            "does not get through",
            "AllowTcpForwarding",
        ),
        (
            EOFError(),
            {"proxy_command": "nc %h"},
            "nc: not found",
            "~/.ssh/config makes no connection: nc: not found",
            "it is: nc %h",
        ),
        (OSError(111, "Connection refused"), {}, "", "Connection refused", "check power"),
    ],
)
def test_a_failed_login_says_what_is_wrong_and_what_helps(
    error: Exception, config: dict[str, Any], words: str, what: str, remedy: str
) -> None:
    failure = explain(error, "h", way(**config), words)
    assert what in failure.what
    assert remedy in failure.remedy
    assert failure.where == f"h (192.0.2.1:{config.get('port', 22)})"


@pytest.mark.parametrize(
    ("banner", "what", "remedy"),
    [
        (b"Not allowed at this time\r\n", "PerSourcePenalties", "wait a few minutes"),
        (b"Exceeded MaxStartups\r\n", "MaxStartups", "wait a few minutes"),
        (b"220 mail.home ESMTP\r\n", "no sshd (it says: 220 mail.home ESMTP)", "ssh -p"),
        (b"", "the host is overloaded, or what answers is no sshd", "ssh -p"),
    ],
)
def test_a_port_that_turns_us_away_is_asked_for_its_reason(banner: bytes, what: str, remedy: str) -> None:
    def answer() -> None:
        made, _ = server.accept()
        with made:
            made.sendall(banner)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        port = server.getsockname()[1]
        error = paramiko.SSHException("Error reading SSH protocol banner")
        failure = explain(error, "h", way(hostname="127.0.0.1", port=port), "")
        thread.join()
    assert what in failure.what
    assert remedy in failure.remedy
