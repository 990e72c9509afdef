"""Files that a reader never sees half of."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

_SUFFIX = ".part"


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` so that readers see the old content or the new, never a part.

    The text goes to a temporary file beside ``path``, which is flushed to the disk and then renamed
    over it (POSIX ``rename`` is atomic within a folder).

    Raises:
        OSError: the folder cannot be written to; ``path`` is then as it was.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SUFFIX}")
    try:
        with part.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    _sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Delete what killed writers left of their temporary files; only for who holds the folder's lock."""
    for part in folder.glob(f".*{_SUFFIX}"):
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where folders can be opened (not on Windows)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
