"""The one clock: nanoseconds, read after the device has finished what it was given."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass
class _Aside:
    """What counts in no timing of this process."""

    nanoseconds: int = 0


_ASIDE = _Aside()


class Clock:
    """Monotonic time on a device whose queued work is waited for at every reading.

    Args:
        device: the device that runs the model; a CPU has nothing to wait for.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._asynchronous = device.type == "cuda"
        self._stopped_ns = 0

    def now_ns(self) -> int:
        """``time.perf_counter_ns`` once the device is idle, less what this clock, or all, stood still."""
        if self._asynchronous:
            torch.cuda.synchronize(self._device)
        return time.perf_counter_ns() - self._stopped_ns - _ASIDE.nanoseconds

    def now_s(self) -> float:
        """The same in seconds."""
        return self.now_ns() / 1e9

    @contextmanager
    def stopped(self) -> Generator[None]:
        """Within, time does not pass."""
        begin = self.now_ns()
        try:
            yield
        finally:
            self._stopped_ns += self.now_ns() - begin


@contextmanager
def set_aside(device: torch.device) -> Generator[None]:
    """Within, time passes for no clock: for what is done once for all later steps, as compiling is."""
    clock = Clock(device)
    begin = clock.now_ns()
    try:
        yield
    finally:
        _ASIDE.nanoseconds += clock.now_ns() - begin
