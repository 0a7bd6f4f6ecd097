"""The controller as a client of the hosts, by curl and openssl, with certificates that root there handed over."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import CERTS, output

ROLES = {"server": "peer", "client": "server", "etcdctl": "client"}
"""The folder of each pair, and its role."""
SIDES = {2379: "client", 2380: "peer"}
"""Each port, and whose trust anchors it goes by."""


@dataclass(frozen=True)
class Outside:
    """Files of the hosts in ``folder``: pairs as ``HOST-ROLE.pem`` (with the key), anchors as ``HOST-SIDE-ca.pem``."""

    handle: LabHandle
    folder: Path

    def fetch(self, host: str) -> None:
        """Copy trust anchors and pairs of a host."""
        fqdn = self.handle.plan.host(host).fqdn
        for side in SIDES.values():
            file = f"{CERTS}/{side}CA.pem"
            text = output(self.handle, host, f"cat {file} 2>/dev/null || cat {CERTS}/rootCA.pem")
            self.write(f"{host}-{side}-ca.pem", text)
        for pair, role in ROLES.items():
            text = output(self.handle, host, f"cat {CERTS}/{pair}/{fqdn}.pem {CERTS}/{pair}/{fqdn}.key")
            self.write(f"{host}-{role}.pem", text)

    def write(self, name: str, text: str) -> Path:
        """Write a file that nobody else may read."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def anchors(self, host: str, port: int) -> Path:
        """What the host trusts on a port, and by which it is to be trusted there."""
        return self.folder / f"{host}-{SIDES[port]}-ca.pem"

    def pair(self, host: str, role: str) -> Path:
        """Certificate and key of a role of the host."""
        return self.folder / f"{host}-{role}.pem"

    def health(
        self, host: str, name: str, role: str | None = "client", scheme: str = "https"
    ) -> subprocess.CompletedProcess[str]:
        """Ask a host for ``/health`` by a name, as curl does; the name is resolved here (other labs have it too)."""
        argv = ["curl", "-sS", "--fail", "--max-time", "30", "--noproxy", "*", f"{scheme}://{name}:2379/health"]
        argv += ["--resolve", f"{name}:2379:{self.handle.plan.host(host).address}"]
        argv += ["--cacert", str(self.anchors(host, 2379))]
        argv += ["--cert", str(self.pair(host, role))] if role else []
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    def served(self, host: str, port: int) -> str:
        """The first certificate that the host serves on a port, PEM, as openssl sees and verifies it."""
        target, role = self.handle.plan.host(host), "peer" if port == 2380 else "client"
        argv = ["openssl", "s_client", "-connect", f"{target.address}:{port}", "-servername", target.fqdn]
        argv += ["-CAfile", str(self.anchors(host, port)), "-partial_chain", "-verify_return_error"]
        argv += ["-verify_hostname", target.fqdn]
        argv += ["-cert", str(self.pair(host, role)), "-key", str(self.pair(host, role))]
        seen = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        assert "Verification: OK" in seen.stdout, f"{host}:{port}: {seen.stdout}{seen.stderr}"
        start, end = (seen.stdout.index(f"-----{word} CERTIFICATE-----") for word in ("BEGIN", "END"))
        return seen.stdout[start:end] + "-----END CERTIFICATE-----\n"


@contextmanager
def from_outside(handle: LabHandle, folder: Path) -> Iterator[Outside]:
    """With the files of all hosts that belong to a cluster, which are gone afterwards: there are keys among them."""
    client = Outside(handle, folder)
    try:
        for host in handle.plan.hosts:
            if host.cluster:
                client.fetch(host.name)
        yield client
    finally:
        for path in folder.iterdir():
            path.unlink()


def serial(pem: str) -> str:
    """The serial number of the first certificate of a PEM text, in lower-case hex digits."""
    return of_certificate(pem, "-serial").removeprefix("serial=").lower()


def of_certificate(pem: str, *asked: str) -> str:
    """What openssl says of the first certificate of a PEM text, such as ``-subject``."""
    argv = ["openssl", "x509", "-noout", *asked]
    return subprocess.run(argv, input=pem, capture_output=True, text=True, check=True).stdout.strip()
