"""What all tests of the runbook setup_pki share: a real OpenBao, a namespace of it for each test, and openssl."""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.support.setup_site import Namespaced, Ran, Site
from tests.unit.support.vault_server import Server, running

SIDES = {"peer": "pki_etcd_home_peer", "client": "pki_etcd_home_client"}
DOMAINS = ["a.home.test", "b.home.test", "c.home.test"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real OpenBao, empty, for a file of tests."""
    with running(tmp_path_factory.mktemp("vault")) as running_one:
        yield running_one


@pytest.fixture
def site(server: Server, tmp_path: Path) -> Site:
    """An empty namespace for each test, which costs less than a server."""
    namespace = f"test-{secrets.token_hex(4)}"
    server.call("POST", f"sys/namespaces/{namespace}", {})
    return Site(Namespaced(server.address, server.ca_file, namespace=namespace), tmp_path)


def openssl(*args: str, stdin: str = "") -> str:
    """What openssl says, to both outputs."""
    done = subprocess.run(["openssl", *args], input=stdin, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def blocks(pem: str) -> list[str]:
    """The certificates in a PEM text."""
    return re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", pem + "\n", re.DOTALL)


def good(ran: Ran) -> Ran:
    """The run, which must have gone well."""
    assert ran.code == 0, ran.text
    return ran
