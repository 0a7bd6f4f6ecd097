"""Keeps the compiled template of the page, as Python keeps its modules': compiling takes longer than all the rest."""

from __future__ import annotations

import os
import tempfile
from io import BytesIO
from pathlib import Path

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket


class BesideSource(BytecodeCache):
    """Compiled templates in ``__pycache__`` of the templates' folder, where it can be written to."""

    def __init__(self, templates: Path) -> None:
        self._folder = templates / "__pycache__"

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill the bucket with what was kept; what is of another source or version stays out."""
        try:
            bucket.load_bytecode(BytesIO(self._path(bucket).read_bytes()))
        except (OSError, EOFError, ValueError, TypeError):
            bucket.reset()  # there is none, or it was cut off

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the bucket, whole or not at all; a folder that cannot be written costs time only."""
        try:
            self._folder.mkdir(exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._folder, prefix=".")
            made = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    bucket.write_bytecode(file)
                made.replace(self._path(bucket))
            except BaseException:
                made.unlink(missing_ok=True)
                raise
        except OSError:
            pass

    def _path(self, bucket: Bucket) -> Path:
        return self._folder / f"{bucket.key}.jinja"
