"""A file of a member's raft log on a host, read piece by piece: segments are larger than a small controller bears."""

from __future__ import annotations

import gzip
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from etcdfleet import timeouts
from tasks.observe import Site


@contextmanager
def read_log(site: Site, path: str) -> Iterator[BinaryIO]:
    """Bring a file from a host, compressed, into a file without a name, and give what unpacks it as it is read.

    Raises `RemoteError` where it cannot be brought, and in the body EOFError or OSError where it was cut off.
    """
    with tempfile.TemporaryFile() as packed:
        command = f"gzip -c {shlex.quote(path)}"
        site.remote.fetch(command, packed, timeout=timeouts.READ_LOG, check="reading the raft log")
        packed.seek(0)
        with gzip.GzipFile(fileobj=packed) as content:
            yield cast("BinaryIO", content)
