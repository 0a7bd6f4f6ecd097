"""What a port offers by TLS, asked with hand-made greetings: no library still speaks all that must be refused.

A ClientHello that offers only what is unwanted is answered by a ServerHello that takes one of it, or by an alert.
Nothing more is sent, so a member sees a client that goes away. RFC 5246, 6.2.1 (records), 7.4.1 (hellos) and 7.2
(alerts); RFC 8446, 4.2.1 (supported_versions).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from etcdfleet.settings.ciphers import NUMBERS
from etcdfleet.settings.models import host_port

TIMEOUT = 5.0
"""Seconds for one greeting."""
OLD_VERSIONS = {"TLS 1.0": 0x0301, "TLS 1.1": 0x0302}
TLS12 = 0x0303
_NAMES = {number: name for name, number in NUMBERS.items()}
_HANDSHAKE, _ALERT, _SERVER_HELLO = 22, 21, 2
_HANDSHAKE_FAILURE, _INSUFFICIENT, _PROTOCOL_VERSION = 40, 71, 70


@dataclass(frozen=True)
class Offered:
    """What was taken of what is unwanted; ``problem`` says why that could not be found out."""

    unwanted: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Reply:
    """A server's first word: the suite that it took, or the alert, or neither."""

    suite: int | None = None
    alert: int | None = None


def offered(address: str, port: int, *, name: str, wanted: Collection[str]) -> Offered:
    """Return which of etcd's suites besides ``wanted`` (Go's names) the port takes, and which old versions of TLS.

    With nothing wanted, TLS 1.2 itself must be refused. Never raises for what the other side does.
    """
    taken: list[str] = []
    asked = [(label, version, list(NUMBERS.values())) for label, version in OLD_VERSIONS.items()]
    asked.append(("TLS 1.2", TLS12, [number for suite, number in NUMBERS.items() if suite not in wanted]))
    try:
        for label, version, suites in asked:
            left = suites
            while left:
                reply = greet(address, port, hello(name, version, left))
                if reply.suite is None:
                    if reply.alert in (_HANDSHAKE_FAILURE, _INSUFFICIENT, _PROTOCOL_VERSION):
                        break
                    answer = f"alert {reply.alert}" if reply.alert is not None else "no TLS in the answer"
                    return Offered(tuple(taken), f"the greeting by {label} was answered by {answer}")
                if version != TLS12:
                    taken.append(label)
                    break
                taken.append(_NAMES.get(reply.suite, f"suite {reply.suite:#06x}"))
                left = [number for number in left if number != reply.suite]
    except OSError as error:
        return Offered(tuple(taken), f"no answer from {host_port(address, port)}: {error.strerror or error}")
    return Offered(tuple(taken))


def greet(address: str, port: int, greeting: bytes) -> Reply:
    """Send a ClientHello and read the first word of the answer. Raises OSError."""
    with socket.create_connection((address, port), TIMEOUT) as connection:
        connection.sendall(greeting)
        received = b""
        while (reply := read_reply(received)) is None:
            part = connection.recv(4096)
            if not part:
                return Reply()
            received += part
        return reply


def read_reply(received: bytes) -> Reply | None:
    """Return the reply in what a server has sent so far; ``None`` while it is not there in full."""
    if len(received) < 5:
        return None
    kind, length = received[0], int.from_bytes(received[3:5], "big")
    body = received[5 : 5 + length]
    if kind == _ALERT:
        return Reply(alert=body[1]) if len(body) >= 2 else None
    if kind != _HANDSHAKE:
        return Reply()
    # Type, length (3), version (2), random (32), the session's id by its length, and then the suite.
    at = 39 + (body[38] if len(body) > 38 else 0)
    if len(body) < at + 2:
        return None
    return Reply(suite=int.from_bytes(body[at : at + 2], "big")) if body[0] == _SERVER_HELLO else Reply()


def hello(name: str, version: int, suites: Sequence[int]) -> bytes:
    """Return a ClientHello with these suites, up to that version of TLS: never 1.3, which needs an extension."""
    server_name = name.encode("idna")
    extensions = b"".join(
        struct.pack(">HH", number, len(content)) + content
        for number, content in (
            (0, struct.pack(">HBH", len(server_name) + 3, 0, len(server_name)) + server_name),
            (10, struct.pack(">HHHHH", 8, 29, 23, 24, 25)),  # groups: x25519, P-256, P-384, P-521
            (11, b"\x01\x00"),  # points: uncompressed
            # Signatures: ECDSA with SHA-256, -384, -512, -1; RSA-PSS and RSA with the same.
            (13, struct.pack(">H11H", 22, 0x403, 0x503, 0x603, 0x203, 0x804, 0x805, 0x806, 0x401, 0x501, 0x601, 0x201)),
        )
    )
    offers = b"".join(struct.pack(">H", suite) for suite in suites)
    body = struct.pack(">H", version) + os.urandom(32) + b"\x00" + struct.pack(">H", len(offers)) + offers
    body += b"\x01\x00" + struct.pack(">H", len(extensions)) + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return struct.pack(">BHH", _HANDSHAKE, min(version, 0x0301), len(message)) + message
