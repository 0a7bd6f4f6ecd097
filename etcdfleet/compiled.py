"""Compiled Jinja2 templates beside Python's own compiled modules: to compile report.html again took 5 % of a no-op."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from jinja2.bccache import Bucket, FileSystemBytecodeCache

_FOLDER = Path(__file__).resolve().parent / "__pycache__"


class CompiledTemplates(FileSystemBytecodeCache):
    """A cache that is as safe as ``__pycache__`` is, and as silent where nothing can be written."""

    def __init__(self, folder: Path = _FOLDER) -> None:
        super().__init__(str(folder), "template-%s.cache")

    def load_bytecode(self, bucket: Bucket) -> None:
        """Read what was kept, unless another source, Python or Jinja2 made it."""
        try:
            super().load_bytecode(bucket)
        except Exception:  # what a damaged file raises is up to pickle and marshal: the template is compiled again
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it, where the project's folder can be written and has room."""
        with suppress(OSError):
            super().dump_bytecode(bucket)
