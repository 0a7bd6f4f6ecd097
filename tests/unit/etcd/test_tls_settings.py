"""Cipher suites and versions of TLS: what etcd is told, what it would ignore, and what a port offers."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from etcdfleet.certs import parse_pem_bundle
from etcdfleet.checks.log import known
from etcdfleet.checks.tls import offer_finding
from etcdfleet.drivers.packages.apt import AptInstall
from etcdfleet.drivers.packages.archive import ArchiveInstall
from etcdfleet.errors import VerificationError
from etcdfleet.etcd.tls_settings import check_suites, check_tls, tls_settings
from etcdfleet.etcd.versions import health_leaves_no_trace, knows_tls_min_version, parse
from etcdfleet.host import tls_greetings as module
from etcdfleet.host.tls_greetings import Offered, Reply, hello, offered, read_reply
from etcdfleet.rendering import environment
from etcdfleet.settings.ciphers import GOOD, NUMBERS, WEAK, without_fit
from tests.unit.support.certs_ca import PEERS, leaf, pem_of
from tests.unit.support.paths import ROOT
from tests.unit.support.site import settings

RSA, ECDSA = ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",), ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",)


@pytest.mark.parametrize(
    ("version", "minimum", "health"),
    [
        ("3.4.23", False, False),
        ("3.4.24", False, False),
        ("3.4.25", True, False),
        ("3.5.1", False, True),
        ("3.5.7", False, True),
        ("3.5.8", True, True),
        ("3.5.16-4", True, True),
        ("v3.5.30", True, True),
        ("3.6.0", True, True),
        ("3.7.1", True, True),
        ("4.0.0", True, True),
        ("3.3.27", False, False),
        ("2.3.8", False, False),
        # Not known: nothing is refused for that, and nothing is risked.
        (None, True, False),
        ("", True, False),
    ],
)
def test_what_versions_know(version: str | None, minimum: bool, health: bool) -> None:
    assert (knows_tls_min_version(version), health_leaves_no_trace(version)) == (minimum, health)


def test_a_version_is_its_three_numbers() -> None:
    assert parse("3.5.16-4+b4") == parse("v3.5.16") == (3, 5, 16)
    assert parse("3.5") is parse("git") is parse(None) is None


def rendered(**cluster: Any) -> Mapping[str, Any]:
    """The keys about suites and versions in the configuration that the template makes."""
    text = (ROOT / "templates/conf.yml.j2").read_text()
    part = text[text.index("{% if tls_min_version %}") : text.index("{% if settings.cluster.client_tls %}")]
    keys = yaml.safe_load(environment().from_string(part).render(tls_settings(settings(**cluster)))) or {}
    assert isinstance(keys, dict)
    return keys


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ({}, {"cipher-suites": list(GOOD)}),
        ({"cipher_suites": RSA}, {"cipher-suites": list(RSA)}),
        ({"client_tls": False}, {"cipher-suites": list(GOOD)}),
        ({"client_tls": False, "peer_tls": False}, {}),
        # etcd refuses to have both.
        ({"tls_min_version": "TLS1.3"}, {"tls-min-version": "TLS1.3"}),
        ({"tls_min_version": "TLS1.3", "client_tls": False, "peer_tls": False}, {}),
    ],
)
def test_what_etcd_is_told(cluster: dict[str, Any], expected: dict[str, Any]) -> None:
    """Nothing is said of the minimum 1.2: it is etcd's own, and old versions do not know the key."""
    assert rendered(**cluster) == expected


def test_the_good_ones_are_good() -> None:
    assert all("_ECDHE_" in name and ("_GCM_" in name or "_POLY1305_" in name) for name in GOOD)
    assert not set(GOOD) & set(WEAK)
    assert len(set(NUMBERS.values())) == len(NUMBERS)
    for kind in ("rsa-2048", "ec-p256"):
        assert not without_fit(tuple(GOOD), kind), "the default works with every kind of key"


ARCHIVE = ArchiveInstall.model_validate(
    {"version": "3.5.30", "source": {"amd64": {"url": "https://e.test/x", "sha256": "ab" * 32}}}
)


@pytest.mark.parametrize(
    ("minimum", "installed", "install", "refused"),
    [
        ("TLS1.2", "3.4.23", None, False),
        ("TLS1.3", "3.4.23", None, True),
        ("TLS1.3", "3.5.1", None, True),
        ("TLS1.3", "3.5.16", None, False),
        ("TLS1.3", None, None, False),  # before it is installed; asked again after that
        ("TLS1.3", "3.4.23", ARCHIVE, False),  # the one that will be there
        ("TLS1.3", None, AptInstall(version="3.4.23-4+b4"), True),
    ],
)
def test_a_minimum_that_etcd_would_ignore_is_refused(
    minimum: str, installed: str | None, install: Any, refused: bool
) -> None:
    """etcd 3.4.23 and 3.5.1 start with the line, and go on with TLS 1.2 without a word."""
    wanted = settings(tls_min_version=minimum, **({"install": install} if install else {}))
    if not refused:
        check_tls(wanted, installed)
        return
    with pytest.raises(VerificationError, match="would have no effect: etcd 3"):
        check_tls(wanted, installed)


@pytest.mark.parametrize(("suites", "refused"), [(RSA, True), (ECDSA, False), (None, False)])
def test_suites_that_no_certificate_on_the_host_fits(suites: tuple[str, ...] | None, refused: bool) -> None:
    """With keys made elsewhere, pki.key_type says nothing."""
    made = parse_pem_bundle(leaf(PEERS, "a.home").pem)[0]
    assert made.key_kind.startswith("ec")
    wanted = settings(cipher_suites=suites)
    if refused:
        with pytest.raises(VerificationError, match="works with the server certificate, whose key is ec-p256"):
            check_suites(wanted, {"server": made})
    else:
        check_suites(wanted, {"server": made})
    check_suites(wanted, {"client": made})  # a client shows it, and serves nothing with it
    check_suites(wanted, {})


# What a port offers. Python's own TLS is the server: it still takes some of what must be refused.


@contextmanager
def serving(folder: Path, *, ciphers: str, oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> Iterator[int]:
    made = leaf(PEERS, "a.home", dns=("a.home",))
    (folder / "pair.pem").write_text(made.pem + pem_of(made.key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pair.pem")
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    context.minimum_version = oldest
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ending = threading.Event()

        def serve() -> None:
            while not ending.is_set():
                connection, _ = listener.accept()
                with connection:
                    try:
                        context.wrap_socket(connection, server_side=True).close()
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ending.set()
            socket.create_connection(listener.getsockname()).close()
            thread.join()


def test_a_port_with_the_good_suites_alone(tmp_path: Path) -> None:
    with serving(tmp_path, ciphers="ECDHE+AESGCM:ECDHE+CHACHA20") as port:
        assert offered("127.0.0.1", port, name="a.home", wanted=tuple(GOOD)) == Offered()
        fewer = offered("127.0.0.1", port, name="a.home", wanted=RSA)
    assert set(fewer.unwanted) == {name for name in GOOD if "_ECDSA_" in name}, "the server's key is ECDSA"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1 is deprecated")
def test_a_port_with_cbc_and_old_versions(tmp_path: Path) -> None:
    with serving(tmp_path, ciphers="ECDHE+AESGCM:ECDHE-ECDSA-AES128-SHA", oldest=ssl.TLSVersion.TLSv1) as port:
        offer = offered("127.0.0.1", port, name="a.home", wanted=tuple(GOOD))
    assert offer.unwanted == ("TLS 1.0", "TLS 1.1", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA")


def test_a_port_that_is_to_speak_tls_1_3_alone(tmp_path: Path) -> None:
    with serving(tmp_path, ciphers="ECDHE+AESGCM", oldest=ssl.TLSVersion.TLSv1_3) as port:
        assert offered("127.0.0.1", port, name="a.home", wanted=()) == Offered()
    with serving(tmp_path, ciphers="ECDHE+AESGCM") as port:
        assert offered("127.0.0.1", port, name="a.home", wanted=()).unwanted != ()


def test_a_port_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "no answer from" in offered("127.0.0.1", port, name="a.home", wanted=()).problem
    with socket.create_server(("127.0.0.1", 0)) as listener:  # takes connections, and says nothing
        monkeypatch.setattr(module, "TIMEOUT", 0.1)
        assert "no answer from" in offered("127.0.0.1", listener.getsockname()[1], name="a.home", wanted=()).problem


@pytest.mark.parametrize(
    ("received", "reply"),
    [
        (b"", None),
        (b"\x15\x03\x03", None),
        (b"\x15\x03\x03\x00\x02\x02", None),
        (b"\x15\x03\x03\x00\x02\x02\x28", Reply(alert=40)),
        (b"\x16\x03\x03\x00\x30\x02" + b"\x00" * 37, None),
        (b"\x16\x03\x03\x00\x30\x02" + b"\x00" * 38 + b"\xc0\x2f\x00", Reply(suite=0xC02F)),
        (b"\x16\x03\x03\x00\x50\x02" + b"\x00" * 37 + b"\x20" + b"s" * 32 + b"\x00\x0a\x00", Reply(suite=10)),
        (b"\x16\x03\x03\x00\x30\x0b" + b"\x00" * 48, Reply()),
        (b"HTTP/1.0 400 Bad Request", Reply()),
    ],
)
def test_a_reply_is_read_when_it_is_there(received: bytes, reply: Reply | None) -> None:
    assert read_reply(received) == reply


def test_a_greeting_is_one_record_with_one_message() -> None:
    greeting = hello("a.home", 0x0303, [0xC02F, 0x000A])
    assert int.from_bytes(greeting[3:5], "big") == len(greeting) - 5
    assert int.from_bytes(greeting[6:9], "big") == len(greeting) - 9
    assert b"a.home" in greeting
    assert b"\x00\x04\xc0\x2f\x00\x0a" in greeting


@pytest.mark.parametrize(
    ("offer", "status", "words"),
    [
        (Offered(), "ok", "6 suites of TLS 1.2, none else"),
        (Offered(("TLS 1.1", "TLS_RSA_WITH_3DES_EDE_CBC_SHA")), "failed", "TLS 1.1, TLS_RSA_WITH_3DES_EDE_CBC_SHA"),
        (Offered(problem="no answer from 192.0.2.1:2379"), "failed", "no answer"),
    ],
)
def test_the_finding(offer: Offered, status: str, words: str) -> None:
    finding = offer_finding(2379, offer, tuple(GOOD))
    assert (finding.status, words in finding.evidence) == (status, True), finding
    assert status == "ok" or (finding.cause and finding.remedy)
    assert offer_finding(2379, Offered(), ()).evidence == "TLS 1.3 alone"


@pytest.mark.parametrize(
    "error",
    [
        "tls: no cipher suite supported by both client and server; client offered: [c009 c013]",
        "tls: client offered only unsupported versions: [301]",
        "read tcp 198.51.100.2:2379->198.51.100.1:40000: read: connection reset by peer",
        "EOF",
    ],
)
def test_what_etcd_logs_of_these_greetings_is_no_symptom(error: str) -> None:
    fields = f'"msg":"rejected connection on client endpoint","remote-addr":"192.0.2.1:1","error":"{error}"'
    assert known(f'{{"level":"warn",{fields}}}') is None
