"""The gates of a member: certificates of all kinds, shown at both ports by openssl and curl, and by etcdctl.

etcd compares a certificate's addresses with where it comes from, so the tools run in the network of another member, and
the certificates are that member's own. A refusal must be TLS's, while the right certificate is let in beside it.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab import pki, releases
from tests.lab.conftest import LabHandle
from tests.lab.deploy_helpers import members, wait_for
from tests.lab.load import client_pair
from tests.lab.outside import Outside, of_certificate

Tool = Literal["openssl", "curl"]
Card = tuple[str, int]
"""What is shown ("none" for no certificate), and the port."""
PORTS = (2379, 2380)
REQUEST, ANSWERED = "GET /version HTTP/1.1\r\nHost: ", '"etcdserver"'
SHOWN = (
    "peer",
    "server",
    "client",
    "new client",
    "expired client",
    "expired peer",
    "foreign client",
    "foreign peer",
    "client of another cluster",
    "peer of another cluster",
    "none",
)
ALERT = re.compile(r"alert (bad certificate|unknown ca|certificate expired|certificate required|certificate unknown)")
CUT_OFF = re.compile(r"curl: \((35|52|55|56)\)")
"""With TLS 1.3 the refusal comes after the client's own handshake: curl may find the connection closed before it reads
the alert. openssl, held to TLS 1.2, always reads it."""


@dataclass(frozen=True)
class Answer:
    """What a tool saw: ``let_in`` after the member's HTTP answer, ``alert`` is TLS's, ``said`` all of it."""

    let_in: bool
    alert: str
    said: str


@dataclass(frozen=True)
class Gate:
    """A member to be knocked at from the network of ``source``, with files by what they are."""

    outside: Outside
    host: str
    source: str
    files: Mapping[str, Path]

    def knock(self, tool: Tool, shown: str, port: int) -> Answer:
        """Ask for ``/version`` with this certificate."""
        target, anchors = self.outside.handle.plan.host(self.host), str(self.outside.anchors(self.host, port))
        pair = str(self.files[shown]) if shown != "none" else ""
        if tool == "openssl":
            argv = ["openssl", "s_client", "-tls1_2", "-connect", f"{target.address}:{port}", "-quiet"]
            argv += ["-servername", target.fqdn, "-CAfile", anchors, "-partial_chain", "-verify_return_error"]
            argv += ["-verify_hostname", target.fqdn]
            argv += ["-cert", pair, "-key", pair, "-cert_chain", pair] if pair else []
            said = conversation(network(self.outside.handle, self.source, argv), f"{REQUEST}{target.fqdn}\r\n\r\n")
        else:
            argv = ["curl", "-sS", "-i", "--http1.1", "--max-time", "30", "--noproxy", "*", "--cacert", anchors]
            argv += ["--resolve", f"{target.fqdn}:{port}:{target.address}", *(["--cert", pair] if pair else [])]
            argv = network(self.outside.handle, self.source, [*argv, f"https://{target.fqdn}:{port}/version"])
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
            said = done.stdout + done.stderr
        let_in = "HTTP/1.1 200 OK" in said and ANSWERED in said
        return Answer(let_in, (ALERT.search(said) or [""])[0], said)

    def all(self) -> dict[tuple[Tool, Card], Answer]:
        """Every certificate at every port with both tools, all at the same time."""
        tools: tuple[Tool, ...] = ("openssl", "curl")
        asked: list[tuple[Tool, Card]] = [(t, (shown, port)) for t in tools for shown in SHOWN for port in PORTS]
        with ThreadPoolExecutor(8) as pool:
            return dict(zip(asked, pool.map(lambda a: self.knock(a[0], *a[1]), asked), strict=True))


def network(handle: LabHandle, host: str, argv: list[str]) -> list[str]:
    """Command line that runs a program of the controller in the network of a host."""
    return ["nsenter", f"--net=/run/netns/{handle.plan.netns(handle.plan.host(host))}", *argv]


def conversation(argv: list[str], request: str) -> str:
    """All that a program says from when ``request`` is its input until it ends, or has the answer (etcd's peer port
    would keep the connection for some seconds more)."""
    reading, writing = os.pipe()
    try:
        os.write(writing, request.encode())  # before there is a program that might be gone already
        said, argv = "", ["timeout", "30", *argv]
        with subprocess.Popen(argv, stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            assert process.stdout
            while ANSWERED not in said and (part := os.read(process.stdout.fileno(), 65536)):
                said += part.decode(errors="replace")
            process.terminate()
    finally:
        os.close(reading)
        os.close(writing)
    return said


def gate(outside: Outside, host: str, made: Mapping[str, Mapping[str, Path]]) -> Gate:
    """The gate of a host, with the certificates of its neighbour in the cluster and of a member of another."""
    handle, cluster = outside.handle, outside.handle.plan.host(host).cluster or ""
    source = next((name for name in members(handle, cluster) if name != host), host)
    other = next(each.name for each in handle.plan.hosts if each.cluster not in (cluster, None))
    files = {role: outside.pair(source, role) for role in ("peer", "server", "client")}
    files |= {f"{role} of another cluster": outside.pair(other, role) for role in ("peer", "client")}
    return Gate(outside, host, source, {**files, **made[cluster]})


def made_for(outside: Outside, cluster: str, mounts: Mapping[pki.Role, str]) -> dict[str, Path]:
    """Certificates that the hosts do not have: just issued, about to expire, and of a CA that only has the right name.

    Those of a short life are expired when this returns.
    """
    handle, folder = outside.handle, outside.folder
    name = {"client": "root", "peer": handle.plan.host(members(handle, cluster)[0]).fqdn}
    files = {}
    kinds: dict[str, tuple[pki.Role, str]] = {
        "new client": ("client", "1h"),
        "expired client": ("client", "1s"),
        "expired peer": ("peer", "1s"),
    }
    for kind, (role, ttl) in kinds.items():
        pair = client_pair(handle, folder, cluster, name[role], mount=mounts[role], role=role, ttl=ttl)
        text = pair.certificate.read_text() + pair.key.read_text()
        files[kind] = outside.write(f"{cluster}-{kind}.pem", text)
    roles: tuple[pki.Role, ...] = ("client", "peer")
    for role in roles:
        mine = outside.pair(members(handle, cluster)[0], role)
        text = foreign(folder, of_certificate(mine.read_text(), "-issuer", "-nameopt", "compat"), name[role])
        files[f"foreign {role}"] = outside.write(f"{cluster}-foreign {role}.pem", text)
    for kind in ("expired client", "expired peer"):
        wait_for(f"{kind} of {cluster} has expired", lambda f=files[kind]: expired(f), timeout=60)  # type: ignore[misc]
    return files


def expired(file: Path) -> bool:
    argv = ["openssl", "x509", "-noout", "-checkend", "0", "-in", str(file)]
    return subprocess.run(argv, capture_output=True, check=False).returncode != 0


def foreign(folder: Path, issuer: str, name: str) -> str:
    """Certificate and key for ``name`` of a CA made for it, which has the subject of the real one (``issuer=/O=…``)."""
    ca, key, csr, extensions = (folder / f"foreign{suffix}" for suffix in ("-ca.pem", ".key", ".csr", ".cnf"))
    subject = issuer.removeprefix("issuer=").strip()
    extensions.write_text(f"extendedKeyUsage=clientAuth,serverAuth\nsubjectAltName=DNS:{name}\n")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *curve, "-subj", subject, "-keyout", f"{ca}.key", "-out", str(ca))
    openssl("req", *curve, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(csr))
    signing = ["-CA", str(ca), "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", "1", "-extfile", str(extensions)]
    leaf = openssl("x509", "-req", "-in", str(csr), *signing)
    assert of_certificate(ca.read_text(), "-subject", "-nameopt", "compat").removeprefix("subject=").strip() == subject
    return leaf + ca.read_text() + key.read_text()


def openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


def assert_matrix(
    found: Mapping[tuple[Tool, Card], Answer], right: set[Card], host: str, closed: frozenset[Card] = frozenset()
) -> None:
    """Let in are exactly the right ones; everybody else was told so by TLS, or is one of ``closed``.

    Those are refused right after an accepted handshake: etcd has compared the certificate's names with the address that
    the connection comes from.
    """
    for tool in ("openssl", "curl"):
        cards = {card: answer for (by, card), answer in found.items() if by == tool}
        wrong = {card: answer.said[-300:] for card, answer in cards.items() if answer.let_in != (card in right)}
        assert wrong == {}, f"{host} by {tool}"
        for card, answer in cards.items():
            alert = bool(answer.alert or (tool == "curl" and CUT_OFF.search(answer.said)))
            refused = not answer.alert if card in closed else alert
            assert refused or answer.let_in, f"{host} by {tool}: {card}: {answer.said}"


def etcdctl(outside: Outside, host: str, shown: str) -> subprocess.CompletedProcess[str]:
    """The controller's etcdctl, in the network of a host, at the host's own member."""
    endpoint = f"https://{outside.handle.plan.host(host).address}:2379"
    argv = [str(releases.binary("etcdctl")), f"--endpoints={endpoint}", f"--cacert={outside.anchors(host, 2379)}"]
    argv += [f"--{kind}={outside.pair(host, shown)}" for kind in ("cert", "key")] if shown != "none" else []
    # Refused, it tries again until its time is over.
    argv += ["--dial-timeout=3s", "--command-timeout=3s", "get", "nothing"]
    argv = network(outside.handle, host, argv)
    env = {"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"}
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=env)
