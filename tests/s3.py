"""A real S3 server on the loop-back, ``rclone serve s3``, for unit tests and lab; it does for Google's store, too."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def s3_server(root: Path, pair: tuple[Path, Path] | None = None) -> Iterator[Mapping[str, str]]:
    """Serve the folders in ``root`` as buckets, with TLS if there is a certificate with its key.

    Gives the environment that leads there.
    """
    tls = ["--cert", str(pair[0]), "--key", str(pair[1])] if pair else []
    with _served(root, "--auth-key", "key,secret", *tls) as address:
        yield {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ENDPOINT_URL": f"{'https' if pair else 'http'}://{address}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
        }


@contextmanager
def gcs_server(root: Path) -> Iterator[Mapping[str, str]]:
    """The same for ``gs://``: Google's XML API, which obstore uses, is that of S3 but for the signature."""
    account = root.with_name(f"{root.name}-service-account.json")
    with _served(root) as address:
        # An account of an emulator, as obstore knows it: where the store is, and no token is asked for.
        emulated = {"type": "service_account", "gcs_base_url": f"http://{address}", "disable_oauth": True}
        account.write_text(json.dumps(emulated | dict.fromkeys(("client_email", "private_key", "private_key_id"), "")))
        yield {"GOOGLE_SERVICE_ACCOUNT": str(account), "GOOGLE_ALLOW_HTTP": "true"}


@contextmanager
def _served(root: Path, *options: str) -> Iterator[str]:
    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert rclone, "install requirements/dev.txt"
    port = free_port()
    argv = [rclone, "serve", "s3", *options, "--addr", f"127.0.0.1:{port}", "--config", "", str(root)]
    argv += ["--dir-cache-time", "100ms"]  # tests change what lies there behind its back
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < deadline, "rclone serve s3 does not listen"
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)
