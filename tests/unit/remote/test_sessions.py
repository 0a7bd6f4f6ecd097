"""Sessions of a connection where sshd allows few of them, and the programs that make connections."""

from __future__ import annotations

import sys
from typing import Any

import paramiko
import pytest

from etcdfleet.errors import RemoteError
from etcdfleet.remote import RemoteHost
from etcdfleet.remote.proxy import Program, Proxy


class Client:
    """paramiko's client and its transport at once: gives ``limit`` channels, as long as it is alive."""

    def __init__(self, limit: int) -> None:
        self.left, self.alive = limit, True

    def get_transport(self) -> Any:
        return self

    def is_active(self) -> bool:
        return self.alive

    def open_session(self, timeout: float) -> Any:
        assert timeout > 0
        if self.left == 0:
            raise paramiko.ChannelException(2, "Connect failed")
        self.left -= 1
        return self


def sessions(first: Client, count: int, *more: Client) -> list[Any]:
    waiting = list(more)
    host = RemoteHost("a", first, another=lambda: waiting.pop(0))  # type: ignore[arg-type,return-value]
    return [host._session(1) for _ in range(count)]


@pytest.mark.parametrize(
    ("limits", "count", "used"),
    [((10,), 3, [0, 0, 0]), ((1, 1, 1), 3, [0, 1, 2]), ((2, 2), 4, [0, 0, 1, 1])],
)
def test_one_more_connection_where_a_connection_has_no_more_sessions(
    limits: tuple[int, ...], count: int, used: list[int]
) -> None:
    clients = [Client(limit) for limit in limits]
    assert [clients.index(each) for each in sessions(clients[0], count, *clients[1:])] == used


def test_a_host_that_allows_no_session_at_all_says_so() -> None:
    with pytest.raises(RemoteError, match="opens no session for commands") as caught:
        sessions(Client(0), 1, Client(0))
    assert "MaxSessions" in caught.value.remedy


def test_a_lost_connection_is_lost_though_another_one_lives() -> None:
    first, second = Client(1), Client(9)
    host = RemoteHost("a", first, another=lambda: second)  # type: ignore[arg-type,return-value]
    host._session(1)
    host._session(1)
    first.alive = False  # it may have held the lock
    with pytest.raises(RemoteError, match="connection was lost"):
        host._session(1)


def test_a_program_talks_through_its_socket_and_its_words_are_kept() -> None:
    script = "import sys; print('a\\nConnection closed by UNKNOWN port 65535\\nb', file=sys.stderr); print(input())"
    proxy = Proxy(Program("it", (sys.executable, "-c", script)))
    proxy.socket.sendall(b"hello\n")
    with proxy.socket.makefile("rb") as answer:
        assert answer.readline() == b"hello\n"
    assert proxy.said() == "a | b"
    proxy.close()


def test_a_program_ends_with_its_socket() -> None:
    proxy = Proxy(Program("it", ("cat",)))
    proxy.close()
    proxy.said()
    assert proxy._process.poll() is not None


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(RemoteError, match="no-such-program is not installed here"):
        Proxy(Program("b", ("no-such-program",)))
