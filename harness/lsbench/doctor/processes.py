"""What shards and replicas need, and what killed runs have left."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from lsbench.doctor.finding import Finding

_ALL_REDUCE = "deepspeed_shm_comm"
_RANKS = 2
"""The fewest that share a model."""


def shards() -> Finding:
    """Whether what sums the parts of a sharded model can be built here; nothing is built for it."""
    from lsbench.doctor.software import installed
    from lsbench.engine.native.tools import what_is_missing

    name, missing = "shards", what_is_missing()
    version = installed("deepspeed")
    if version is None:
        return Finding(
            name, "limited", "DeepSpeed is not installed: no --tensor-parallel", "pip install deepspeed"
        )
    if platform.system() != "Linux":
        return Finding(name, "limited", "not tried but on Linux", "leave --tensor-parallel at 1")
    if missing is not None:
        return Finding(
            name,
            "limited",
            f"{missing}, and DeepSpeed {version} builds its all-reduce for the CPU with it: no "
            "--tensor-parallel on the CPU",
            "install g++ and ninja (pip install ninja)",
        )
    if any(_extensions().glob(f"{_ALL_REDUCE}/{_ALL_REDUCE}*.so")):
        return Finding(name, "ok", f"DeepSpeed {version}, its all-reduce for the CPU is compiled")
    when = "at the first --tensor-parallel on the CPU"
    return Finding(name, "ok", f"DeepSpeed {version} compiles its all-reduce {when}, in about a minute")


def _extensions() -> Path:
    """Where torch keeps what it compiled for DeepSpeed."""
    from lsbench.user_cache import cache_folder

    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or cache_folder() / "deepspeed")


def shared_memory() -> Finding:
    """Room where ranks of one host exchange what they have summed."""
    from lsbench.execution.memory import shared_memory_free
    from lsbench.execution.plan import SHARED_BUFFER_BYTES
    from lsbench.report.figures import size

    name, free = "shared memory", shared_memory_free()
    if free is None:
        return Finding(
            name, "limited", "no /dev/shm: no --tensor-parallel on the CPU", "run on Linux to use it"
        )
    ranks = free // SHARED_BUFFER_BYTES
    detail = f"{size(free)} free in /dev/shm"
    if ranks < _RANKS:
        return Finding(
            name,
            "limited",
            f"{detail}, and --tensor-parallel takes {size(SHARED_BUFFER_BYTES)} a rank on the CPU",
            "make it larger: docker run --shm-size=1g, or mount -o remount,size=1g /dev/shm",
        )
    return Finding(name, "ok", f"{detail}, enough for {ranks} ranks" if ranks < 16 else detail)


def left_behind() -> Finding:
    """What runs that were killed on this machine have left; it is cleaned up now."""
    from lsbench.execution.leftovers import clean_up

    name = "killed runs"
    found = list(clean_up())
    if not found:
        return Finding(name, "ok", "have left nothing behind")
    return Finding(name, "ok", "; ".join(f"cleaned up {one.words}" for one in found))
