"""What is seen of a port, against real TLS servers on the loop-back."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from etcdfleet.host.tls_port import look
from tests.unit.support import certs_ca

NAME = "etcd.az1.k8s.home"


@pytest.fixture(scope="module")
def authority() -> tuple[certs_ca.Made, certs_ca.Made]:
    from datetime import UTC, datetime, timedelta

    start = datetime.now(UTC) - timedelta(days=1)
    root = certs_ca.ca("root", start=start)
    return root, certs_ca.ca("intermediate", root, start=start)


@contextlib.contextmanager
def server(
    folder: Path,
    ca: certs_ca.Made,
    issuer: certs_ca.Made,
    *,
    mode: str,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> Iterator[int]:
    leaf = certs_ca.leaf(issuer, dns=[NAME], start=issuer.certificate.not_valid_before_utc)
    (folder / "pair.pem").write_text(leaf.pem + issuer.pem)
    (folder / "pair.key").write_text(certs_ca.pem_of(leaf.key))
    (folder / "ca.pem").write_text(ca.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pair.pem", folder / "pair.key")
    context.maximum_version = version
    if mode == "strict":
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(folder / "ca.pem")
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                raw, _ = listener.accept()
                raw.settimeout(2)
                with raw:
                    if mode == "plain":
                        raw.recv(100)
                        raw.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                        continue
                    with context.wrap_socket(raw, server_side=True) as secure:
                        secure.recv(100)
                        secure.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        stop.set()
        thread.join()
        listener.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_strict_port_shows_its_leaf_and_refuses_both(
    tmp_path: Path, authority: tuple[certs_ca.Made, certs_ca.Made], version: ssl.TLSVersion
) -> None:
    root, issuer = authority
    with server(tmp_path, root, issuer, mode="strict", version=version) as port:
        for anchor in (root.pem, issuer.pem):  # an intermediate is an anchor for etcd, too
            served = look("127.0.0.1", port, name=NAME, trust_anchor=anchor)
            assert served.certificate is not None
            assert NAME in served.certificate.dns_names
            assert (served.problem, served.without_certificate, served.plain_http) == ("", "", "")


def test_a_port_that_asks_for_no_certificate_is_found_out(
    tmp_path: Path, authority: tuple[certs_ca.Made, certs_ca.Made]
) -> None:
    root, issuer = authority
    with server(tmp_path, root, issuer, mode="open") as port:
        served = look("127.0.0.1", port, name=NAME, trust_anchor=root.pem)
    assert served.without_certificate == "HTTP/1.1 200 OK"


def test_a_port_without_tls_is_found_out(tmp_path: Path, authority: tuple[certs_ca.Made, certs_ca.Made]) -> None:
    root, issuer = authority
    with server(tmp_path, root, issuer, mode="plain") as port:
        served = look("127.0.0.1", port, name=NAME, trust_anchor=root.pem)
    assert served.certificate is None
    assert "no TLS there" in served.problem


def test_another_name_and_another_ca_are_refused(
    tmp_path: Path, authority: tuple[certs_ca.Made, certs_ca.Made]
) -> None:
    root, issuer = authority
    with server(tmp_path, root, issuer, mode="strict") as port:
        name = look("127.0.0.1", port, name="etcd.az2.k8s.home", trust_anchor=root.pem)
        other = look("127.0.0.1", port, name=NAME, trust_anchor=certs_ca.ca("another").pem)
    assert "not good for etcd.az2.k8s.home" in name.problem
    assert "not good for" in other.problem


def test_nobody_there_is_said_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    served = look("127.0.0.1", port, name=NAME, trust_anchor=certs_ca.ca("root").pem)
    assert not served.reachable
    assert f"no connection to 127.0.0.1:{port}" in served.problem
