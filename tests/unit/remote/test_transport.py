"""What is sent on a connection, and in which order: sshd ends a connection that sends something of a closed channel."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import paramiko
import pytest
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_WINDOW_ADJUST,
)

from etcdfleet.remote.transport import OrderlyTransport


def message(kind: int, channel: int) -> paramiko.Message:
    made = paramiko.Message()
    made.add_byte(bytes([kind]))
    made.add_int(channel)
    return made


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> Iterator[OrderlyTransport]:
    """One that notes in ``wire`` what it sends."""
    ours, theirs = socket.socketpair()
    made = OrderlyTransport(ours)
    wire: list[tuple[int, int]] = []
    monkeypatch.setattr(made, "wire", wire, raising=False)

    def send(_: paramiko.Transport, data: paramiko.Message) -> None:
        sent = data.asbytes()
        wire.append((sent[0], int.from_bytes(sent[1:5], "big")))

    monkeypatch.setattr(paramiko.Transport, "_send_message", send)
    yield made
    ours.close()
    theirs.close()


@pytest.mark.parametrize("late", [MSG_CHANNEL_EOF, MSG_CHANNEL_DATA, MSG_CHANNEL_WINDOW_ADJUST])
def test_nothing_of_a_channel_follows_its_close(transport: OrderlyTransport, late: int) -> None:
    sent = [(MSG_CHANNEL_REQUEST, 0), (MSG_CHANNEL_DATA, 0), (MSG_CHANNEL_CLOSE, 0), (late, 0), (late, 1)]
    for kind, channel in sent:
        transport._send_message(message(kind, channel))
    assert getattr(transport, "wire") == [*sent[:3], (late, 1)]  # noqa: B009


def test_a_number_that_is_given_to_a_new_channel_is_used(transport: OrderlyTransport) -> None:
    sent = [(MSG_CHANNEL_CLOSE, 3), (MSG_CHANNEL_REQUEST, 3), (MSG_CHANNEL_DATA, 3), (MSG_CHANNEL_EOF, 3)]
    for kind, channel in sent:
        transport._send_message(message(kind, channel))
    assert getattr(transport, "wire") == sent  # noqa: B009


def test_an_end_of_input_that_is_late_is_not_sent(transport: OrderlyTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """As paramiko does it: the message is made before the close, and sent after it."""
    channel = paramiko.Channel(0)
    channel._set_transport(transport)  # type: ignore[attr-defined]
    channel._set_remote_channel(7, 2**20, 2**15)  # type: ignore[attr-defined]
    monkeypatch.setattr(transport, "active", True, raising=False)
    transport.clear_to_send.set()
    late = channel._send_eof()  # type: ignore[attr-defined]
    channel.close()
    transport._send_user_message(late)  # type: ignore[attr-defined]
    assert getattr(transport, "wire") == [(MSG_CHANNEL_CLOSE, 7)]  # noqa: B009


@pytest.mark.parametrize("authenticated", [True, False])
def test_the_reason_of_an_end_is_kept_once_logged_in(
    transport: OrderlyTransport, monkeypatch: pytest.MonkeyPatch, authenticated: bool
) -> None:
    monkeypatch.setattr(transport, "is_authenticated", lambda: authenticated)
    parting = paramiko.Message()
    parting.add_int(2)
    parting.add_string("Too many of it")
    parting.rewind()
    transport._parse_disconnect(parting)
    assert str(transport.get_exception() or "") == ("sshd ended it: Too many of it" if authenticated else "")
