"""paramiko's transport, with two things mended on which a connection to OpenSSH ends without a reason.

A channel's data and its end of input are sent by another thread than the answer to its close, and paramiko does not
order the two: on a busy machine a channel's end of input may follow its close. sshd takes that for a fault of
the protocol and ends the whole connection ("ieof packet referred to nonexistent channel", ``channels.c``). And of a
connection that sshd ended, paramiko keeps no reason.
"""

from __future__ import annotations

from typing import Any

import paramiko
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_WINDOW_ADJUST,
)

_NEVER_AFTER_CLOSE = {MSG_CHANNEL_DATA, MSG_CHANNEL_EOF, MSG_CHANNEL_EXTENDED_DATA, MSG_CHANNEL_WINDOW_ADJUST}


class OrderlyTransport(paramiko.Transport):
    """Sends nothing of a channel after its close, and tells why the other side ended the connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._closed_there: set[int] = set()
        """Channels by the server's number. It gives the number to a new one, whose first message is a request."""
        super().__init__(*arguments, **options)

    def _send_message(self, data: paramiko.Message) -> None:
        # paramiko calls this with its lock on sending held: what is decided here is the order on the wire.
        sent = data.asbytes()
        kind, channel = sent[0], int.from_bytes(sent[1:5], "big")
        if kind == MSG_CHANNEL_CLOSE:
            self._closed_there.add(channel)
        elif kind == MSG_CHANNEL_REQUEST:
            self._closed_there.discard(channel)
        elif kind in _NEVER_AFTER_CLOSE and channel in self._closed_there:
            return
        super()._send_message(data)  # type: ignore[misc]  # paramiko's types leave it out

    def _parse_disconnect(self, message: paramiko.Message) -> None:
        super()._parse_disconnect(message)  # type: ignore[misc]
        if self.is_authenticated():  # before that, what tries the keys has words of its own for it
            message.rewind()
            message.get_int()
            self.saved_exception = paramiko.SSHException(f"sshd ended it: {message.get_text()}")
