"""Memory, and room in the user's cache."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lsbench.doctor.finding import Finding

MEMORY_BYTES = 2 << 30
"""What a run of the embedded model in float32 takes at its peak, and some."""
DISK_BYTES = 1 << 30
"""What preparing the embedded model takes: the file that is fetched, and float32 weights."""
_CONTROL_GROUP = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


def memory() -> Finding:
    """Memory that is free for a run."""
    from lsbench.report.figures import size

    free = free_memory()
    if free < MEMORY_BYTES:
        return Finding(
            "memory",
            "missing",
            f"{size(free)} free, and a run of the embedded model takes {size(MEMORY_BYTES)}",
            "end other programs, or run on a machine with more memory",
        )
    return Finding("memory", "ok", f"{size(free)} free")


def free_memory(control_group: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process may still take: of the machine's, and of what its container is allowed."""
    import psutil

    free = int(psutil.virtual_memory().available)
    for limit, used in _CONTROL_GROUP:
        try:
            left = int((control_group / limit).read_text()) - int((control_group / used).read_text())
        except (OSError, ValueError):  # no such control group, or no limit
            continue
        free = min(free, max(0, left))
    return free


def disk() -> Finding:
    """Whether models can be kept in the cache folder."""
    from lsbench.catalog import prepared_data, prepared_model
    from lsbench.report.figures import size
    from lsbench.spec import DEFAULT_MODEL
    from lsbench.user_cache import cache_folder

    folder = cache_folder()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free, writable = shutil.disk_usage(there).free, there.is_dir() and os.access(there, os.W_OK)
    detail = f"{folder}, {size(free)} free"
    if writable and free >= DISK_BYTES:
        return Finding("cache folder", "ok", detail)
    advice = "make room or give write access there, or set LSBENCH_CACHE to another folder"
    needed = prepared_model(DEFAULT_MODEL) is None or prepared_data("humaneval") is None
    what = detail if writable else f"{folder} cannot be written"
    return Finding("cache folder", "missing" if needed else "limited", what, advice)
