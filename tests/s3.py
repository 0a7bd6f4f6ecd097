"""A real S3 server on the loop-back, ``rclone serve s3``, for unit tests and lab."""

from __future__ import annotations

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
def s3_server(root: Path) -> Iterator[Mapping[str, str]]:
    """Serve the folders in ``root`` as buckets; gives the environment that leads there."""
    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert rclone, "install requirements/dev.txt"
    port = free_port()
    argv = [rclone, "serve", "s3", "--auth-key", "key,secret", "--addr", f"127.0.0.1:{port}", "--config", "", str(root)]
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
        yield {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
        }
    finally:
        server.terminate()
        server.wait(20)
