"""Files on the controller, written so that a reader sees the old one or the new one, and a secret is never open."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def temporary(path: Path, text: str, mode: int, *, durable: bool = True) -> Path:
    """Write a file beside ``path``, ready to be renamed; ``durable`` waits until it is on the disk. Raises OSError."""
    # mkstemp makes it 0600: a key is never readable by others, not for a moment.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    made = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        made.chmod(mode)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    return made


def write_whole(path: Path, text: str, mode: int, *, durable: bool = True) -> None:
    """Write a file or leave the previous one; ``durable`` waits until it is on the disk. Raises OSError."""
    temporary(path, text, mode, durable=durable).replace(path)
