"""How much a generated program may use, and what came of running it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MIB = 1 << 20

Reason = Literal["passed", "failed", "timed_out", "output_exceeded", "killed"]
"""``failed``: an exception, or an exit before the test's end. ``killed``: a signal ended it."""


@dataclass(frozen=True)
class Limits:
    """What one program with its test may use, whatever it tries.

    CPU time, memory and file size bind each process by itself; ``processes`` bounds how many there are.
    """

    wall_s: float = 10.0
    """Seconds from start to end, after which every process of the program is killed."""
    cpu_s: int = 10
    """Seconds of processor time."""
    memory_bytes: int = 1024 * MIB
    """Address space."""
    file_bytes: int = 16 * MIB
    """Size of a file; under namespaces the whole throw-away folder holds four times as much."""
    processes: int = 16
    """Processes and threads alive together. On top of the user's own where the program has neither a user id
    nor a user namespace to itself (``landlock`` and ``limits`` without root)."""
    output_bytes: int = 4 * MIB
    """What it may print before it is stopped."""


@dataclass(frozen=True)
class Outcome:
    """What came of one program and its test."""

    passed: bool
    """True only if program and test both ran to their very end without an exception."""
    reason: Reason
    detail: str
    """The end of what the program printed (its traceback, usually) or, if it said nothing, why it ended."""
