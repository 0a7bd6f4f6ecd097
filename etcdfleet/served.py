"""What a member's ports serve, seen from this machine by TLS: the certificate in use, and what must be refused."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from etcdfleet.certs import Certificate, parse_pem_bundle

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
    """Connects to a TLS port as a client without a certificate, and without TLS; reads what it serves.

    The chain is verified to ``trust_anchor`` (PEM, a root or an intermediate) and the name to ``name``. Never raises
    for what the other side does.
    """
    context = ssl.create_default_context(cadata=trust_anchor)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the anchor may be an intermediate, as etcd allows too
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)  # OpenSSL's strictness is not etcd's
    try:
        raw = socket.create_connection((address, port), TIMEOUT)
    except OSError as error:
        return Served(None, f"no connection to {address}:{port}: {error.strerror or error}", reachable=False)
    try:
        with raw, context.wrap_socket(raw, server_hostname=name) as secure:
            der = secure.getpeercert(binary_form=True)
            leaf = parse_pem_bundle(ssl.DER_cert_to_PEM_cert(der))[0] if der else None
            answer = _ask(secure, name)
    except ssl.SSLCertVerificationError as error:
        return Served(None, f"the served certificate is not good for {name}: {error.verify_message}")
    except ssl.SSLError as error:
        # A server of TLS 1.2 refuses inside the handshake, after it has shown its certificate.
        if _refused(error):
            return Served(None, f"the handshake was refused: {_words(error)}")
        return Served(None, f"no TLS there: {_words(error)}")
    except OSError as error:
        return Served(None, f"the connection broke: {error.strerror or error}")
    return Served(leaf, without_certificate=answer, plain_http=_plain(address, port, name))


def _ask(secure: ssl.SSLSocket, name: str) -> str:
    """What a client without a certificate is answered; empty when it is refused."""
    try:
        secure.sendall(f"GET /health HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        answer = secure.recv(256)
    except TimeoutError:
        return "no answer, and no refusal either"
    except OSError:
        return ""
    return _first_line(answer) if answer else ""


def _plain(address: str, port: int, name: str) -> str:
    """What a client without TLS is answered; empty when it is refused (closed, or told to use HTTPS)."""
    try:
        with socket.create_connection((address, port), TIMEOUT) as plain:
            plain.sendall(f"GET /health HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            answer = plain.recv(256)
    except TimeoutError:
        return "no answer, and no refusal either"
    except OSError:
        return ""
    # Go's TLS server answers such a client with 400 and closes; anything else was an answer to the question.
    return (
        ""
        if not answer or b" 400 " in answer.split(b"\r\n")[0] or not answer.startswith(b"HTTP/")
        else (_first_line(answer))
    )


def _first_line(answer: bytes) -> str:
    return answer.split(b"\r\n")[0].decode("ascii", "replace")


def _refused(error: ssl.SSLError) -> bool:
    return "ALERT" in (error.reason or "").upper()


def _words(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
