"""Weights that are mapped from files: pages that have been copied elsewhere need not stay in memory.

A checkpoint is mapped, and what is read of it stays resident for as long as the mapping lives, beside the
copies that fused products and huge pages are. Forgetting pages lets the system map them again when they are
read again, from its cache of the file.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

_SMAPS = Path("/proc/self/smaps")
_HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+) +(/.*)")
_MADV_DONTNEED = 4

Thing = TypeVar("Thing")


class Mapping(NamedTuple):
    """A part of a file in memory: addresses ``begin`` to before ``end``."""

    begin: int
    end: int


def unchanged_mappings(suffix: str = ".safetensors", smaps: Path = _SMAPS) -> list[Mapping]:
    """Where this process has files mapped of which it has changed nothing.

    Args:
        suffix: of the files.
        smaps: where the system describes the process's memory; elsewhere than on Linux there is none.
    """
    try:
        lines = smaps.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found: list[Mapping] = []
    current: Mapping | None = None
    for line in lines:
        header = _HEADER.match(line)
        if header is not None:
            named = header[5].endswith(suffix) and header[3].endswith("p")
            current = Mapping(int(header[1], 16), int(header[2], 16)) if named else None
        elif line.startswith("Anonymous:") and current is not None:
            # A page of a private mapping that was written to is no longer the file's.
            if line.split()[1] == "0":
                found.append(current)
            current = None
    return found


def forget(mappings: Iterable[Mapping]) -> None:
    """Let go of their pages; what is read of them again is mapped again.

    Args:
        mappings: as ``unchanged_mappings`` gives them; nothing may have been written to since.
    """
    for mapping in mappings:
        address, length = ctypes.c_void_p(mapping.begin), ctypes.c_size_t(mapping.end - mapping.begin)
        # An error leaves the pages where they are, which is no harm.
        ctypes.CDLL(None).madvise(address, length, _MADV_DONTNEED)


def trim() -> None:
    """Give back to the system what was freed: the C library keeps it, as long as it is not asked to."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):  # not everywhere is it GNU's
        library.malloc_trim(0)


def letting_go(copying: Iterable[Thing]) -> Iterator[Thing]:
    """What ``copying`` gives; before the next is made, what was read of checkpoints, or freed, is let go."""
    mappings = unchanged_mappings()
    for thing in copying:
        yield thing
        forget(mappings)
        trim()
