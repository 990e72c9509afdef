"""Whether a file is still the one we knew: by size and time at a glance, by SHA-256 for certain."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Fingerprint(BaseModel):
    """What a file was when it was last read whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    """Bytes."""
    mtime_ns: int
    """Time of the last change, in nanoseconds."""
    sha256: str


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, as 64 lower-case hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(path: Path, known: Fingerprint | None = None) -> Fingerprint:
    """A file's fingerprint as it is now; the content is read only if size or time differ from ``known``.

    Raises:
        OSError: the file cannot be read.
    """
    status = path.stat()
    if known is not None and (known.size, known.mtime_ns) == (status.st_size, status.st_mtime_ns):
        return known
    return Fingerprint(size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=sha256_of(path))
