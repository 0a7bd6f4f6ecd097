"""Files on the controller, written so that a reader sees the old one or the new one, and a secret is never open."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def temporary(path: Path, text: str, mode: int) -> Path:
    """A file beside ``path`` with this content and mode, synced, ready to be renamed. Raises OSError."""
    # mkstemp makes it 0600: a key is never readable by others, not for a moment.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    made = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        made.chmod(mode)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    return made


def write_whole(path: Path, text: str, mode: int) -> None:
    """Writes a file or leaves the previous one. Raises OSError."""
    temporary(path, text, mode).replace(path)
