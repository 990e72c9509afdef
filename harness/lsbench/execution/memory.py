"""Peak memory of one request, and the memory that processes share."""

from __future__ import annotations

import os
from pathlib import Path

import torch

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_SHARED = Path("/dev/shm")
_RESET_PEAK = "5"
"""What resets a process's peak resident set, says proc(5)."""


def shared_memory_free() -> int | None:
    """Bytes free where processes of this host share memory; None where there is no such place."""
    try:
        there = os.statvfs(_SHARED)
    except (AttributeError, OSError):
        return None
    return there.f_bavail * there.f_frsize


class PeakMemory:
    """The most memory used since ``begin``: allocated by torch on CUDA, the resident set on a CPU.

    Args:
        device: where the model is.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._begun = False

    def begin(self) -> None:
        """Forget earlier peaks."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            return
        try:
            _CLEAR.write_text(_RESET_PEAK)
            self._begun = True
        except OSError:
            self._begun = False

    def read(self) -> int | None:
        """Bytes; None where the system does not tell, or tells an earlier peak."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        if not self._begun:
            return None
        try:
            lines = _STATUS.read_text().splitlines()
        except OSError:
            return None
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return None
