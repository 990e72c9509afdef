"""What this process uses of the machine: threads, devices and memory."""

from __future__ import annotations

from pathlib import Path

from lsbench.spec import INT8_WEIGHTS

_WIDEST = 4
"""Bytes a weight, at most, in the files of a checkpoint."""


def use_threads(wanted: int | None) -> int:
    """Set how many threads torch's CPU operators use; None leaves torch's own choice.

    Returns:
        the number in use.
    """
    import torch

    if wanted is not None:
        torch.set_num_threads(wanted)
    return torch.get_num_threads()


def devices(device: str) -> tuple[str, ...]:
    """Names of the accelerators that ``device`` stands for; none for a CPU."""
    import torch

    if not device.startswith("cuda"):
        return ()
    return (torch.cuda.get_device_name(torch.device(device)),)


def model_bytes(path: Path, dtype: str) -> int:
    """What the weights of one copy take at the least, by the size of their files.

    Args:
        path: a transformers folder, found whole.
        dtype: as ``resolve_dtype`` gives it; int8 weights are read in float32 first.
    """
    import torch

    from lsbench.catalog.weights import weight_files

    stored = sum(file.stat().st_size for file in weight_files(path))
    width = _WIDEST if dtype == INT8_WEIGHTS else getattr(torch, dtype).itemsize
    return stored * min(width, _WIDEST) // _WIDEST
