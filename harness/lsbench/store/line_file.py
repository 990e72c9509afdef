"""A file of JSON lines that is appended to, each line on the disk before anything else begins."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pydantic_core
from pydantic import BaseModel

from lsbench.errors import LsbenchError


class LineFile:
    """Appends; what reads the lines is its subclasses' own.

    A line is one ``write`` on a descriptor opened for appending, then ``fsync``: a process killed at any
    moment leaves at most one line without its newline.

    Args:
        path: made when the first line is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def cut_to(self, length: int) -> None:
        """Drop everything from byte ``length`` on."""
        os.truncate(self.path, length)

    def close(self) -> None:
        """Close the descriptor that appends go through."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, record: BaseModel) -> None:
        """Add one line and see it onto the disk.

        Raises:
            LsbenchError: the line could not be written whole; the file is then as it was.
        """
        # Infinite numbers become strings: every JSON reader takes them, and so does pydantic.
        line = pydantic_core.to_json(record.model_dump(by_alias=True), inf_nan_mode="strings") + b"\n"
        before: int | None = None
        try:
            if self._descriptor is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
                self._descriptor = os.open(self.path, flags, 0o666)
            before = os.fstat(self._descriptor).st_size
            if os.write(self._descriptor, line) != len(line):
                raise OSError("the disk is full")
            os.fsync(self._descriptor)
        except OSError as error:
            if self._descriptor is not None and before is not None:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, before)
            raise LsbenchError(
                f"Cannot write to {self.path}: {error.strerror or error}; what was finished is kept, "
                "and --resume goes on from there."
            ) from error
