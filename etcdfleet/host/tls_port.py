"""What a member's ports serve, seen from this machine by TLS: the certificate in use, and what must be refused."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from etcdfleet.certs import Certificate, parse_pem_bundle
from etcdfleet.settings.models import host_port

T = TypeVar("T")
_REQUEST = "GET /version HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
TIMEOUT = 5.0
"""Seconds for one connection, its handshake and the first answer."""


@dataclass(frozen=True)
class Served:
    """What a port answered. ``certificate`` is the leaf it serves; ``problem`` says why there is no good one.

    ``without_certificate`` and ``plain_http`` say what became of a client without a certificate, and of one that does
    not speak TLS: empty when it was refused, as it must be, else what it got.
    """

    certificate: Certificate | None
    problem: str = ""
    without_certificate: str = ""
    plain_http: str = ""
    reachable: bool = True


def look(address: str, port: int, *, name: str, trust_anchor: str) -> Served:
    """Connect to a TLS port as a client without a certificate, and without TLS; read what it serves.

    The chain is verified to ``trust_anchor`` (PEM, a root or an intermediate) and the name to ``name``. Never raises
    for what the other side does.
    """
    context = ssl.create_default_context(cadata=trust_anchor)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the anchor may be an intermediate, as etcd allows too
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)  # OpenSSL's strictness is not etcd's
    try:
        raw = socket.create_connection((address, port), TIMEOUT)
    except OSError as error:
        return Served(None, f"no connection to {host_port(address, port)}: {error.strerror or error}", reachable=False)
    with raw:
        session = _Session(context, raw, name)
        try:
            session.handshake()
            answer = session.ask(_REQUEST.format(name=name).encode())
        except ssl.SSLCertVerificationError as error:
            return Served(None, f"the served certificate is not good for {name}: {error.verify_message}")
        except ssl.SSLError as error:
            if not _refused(error):
                return Served(None, f"no TLS there: {_words(error)}")
            # TLS 1.2: the refusal comes inside the handshake, after OpenSSL has verified the server's part of it.
            answer = ""
        except TimeoutError:
            return Served(None, "no answer to the TLS handshake")
        except OSError as error:
            return Served(None, f"the connection broke: {error.strerror or error}")
        der = session.certificate()
    leaf = parse_pem_bundle(ssl.DER_cert_to_PEM_cert(der))[0] if der else None
    if leaf is None:
        return Served(None, "the handshake was refused before a certificate was shown")
    return Served(leaf, without_certificate=answer, plain_http=_plain(address, port, name))


def answers(address: str, port: int, seconds: float) -> bool:
    """Return whether something takes connections there within ``seconds``."""
    try:
        socket.create_connection((address, port), seconds).close()
    except OSError:
        return False
    return True


class _Session:
    """A TLS client over a socket that keeps what the server sends in the clear.

    With TLS 1.2 Python's ssl forgets the server's certificate when the handshake ends in a refusal; there it is sent in
    the clear, before the refusal.
    """

    def __init__(self, context: ssl.SSLContext, raw: socket.socket, name: str) -> None:
        self._raw = raw
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._seen = bytearray()
        self._leaf: bytes | None = None

    def handshake(self) -> None:
        """Do the handshake. Raises what `ssl` raises, and OSError."""
        self._until(self._tls.do_handshake)
        self._leaf = self._tls.getpeercert(binary_form=True)  # a refusal later makes ssl forget it

    def ask(self, request: bytes) -> str:
        """Return the first line of the answer; empty when the server refuses (TLS 1.3 does so only now)."""
        try:
            self._until(lambda: self._tls.write(request))
            answer = self._until(lambda: self._tls.read(256))
        except TimeoutError:
            return "no answer, and no refusal either"
        except OSError:
            return ""
        return _first_line(answer) if answer else ""

    def certificate(self) -> bytes | None:
        """Return the leaf in DER form."""
        return self._leaf or leaf_in_the_clear(bytes(self._seen))

    def _until(self, act: Callable[[], T]) -> T:
        while True:
            try:
                result = act()
            except ssl.SSLWantReadError:
                self._flush()
                received = self._raw.recv(16384)
                if received:
                    self._seen += received
                    self._incoming.write(received)
                else:
                    self._incoming.write_eof()
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._raw.sendall(data)


def leaf_in_the_clear(stream: bytes) -> bytes | None:
    """Return the first certificate (DER) of a TLS 1.2 server's unencrypted Certificate message; else ``None``.

    ``stream`` is all that the server sent (RFC 5246: records in 6.2.1, handshake messages in 7.4, certificates in
    7.4.2).
    """
    messages = bytearray()
    position = 0
    while position + 5 <= len(stream) and stream[position] == 22:
        length = int.from_bytes(stream[position + 3 : position + 5], "big")
        messages += stream[position + 5 : position + 5 + length]
        position += 5 + length
    position = 0
    while position + 4 <= len(messages):
        kind, length = messages[position], int.from_bytes(messages[position + 1 : position + 4], "big")
        body = messages[position + 4 : position + 4 + length]
        if kind == 11 and len(body) > 6:
            size = int.from_bytes(body[3:6], "big")
            return bytes(body[6 : 6 + size]) if 0 < size <= len(body) - 6 else None
        position += 4 + length
    return None


def _plain(address: str, port: int, name: str) -> str:
    """Return what a client without TLS is answered; empty when it is refused (closed, or told to use HTTPS)."""
    try:
        with socket.create_connection((address, port), TIMEOUT) as plain:
            plain.sendall(_REQUEST.format(name=name).encode())
            answer = plain.recv(256)
    except TimeoutError:
        return "no answer, and no refusal either"
    except OSError:
        return ""
    # Go's TLS server answers such a client with 400 and closes; anything else was an answer to the question.
    first = _first_line(answer)
    return first if first.startswith("HTTP/") and " 400 " not in first else ""


def _first_line(answer: bytes) -> str:
    return answer.split(b"\r\n")[0].decode("ascii", "replace")


def _refused(error: ssl.SSLError) -> bool:
    return "ALERT" in (error.reason or "").upper()


def _words(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
