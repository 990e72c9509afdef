"""Where task metrics run generated programs: in whatever confines them, never in this process.

A metric calls ``run_programs``; the harness decides what that means by installing a runner, such as
its sandbox. Without one it refuses, because generated code must not run unconfined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

Programs = Sequence[tuple[str, str]]
"""Pairs of Python source: the program, and the test that runs after it in the same namespace."""

Runner = Callable[[Programs], Sequence[bool]]
"""Runs all the programs and says, in their order, which ones passed their test."""

_runner: ContextVar[Runner | None] = ContextVar("lsbench_tasks_runner", default=None)


@contextmanager
def installed(runner: Runner) -> Iterator[None]:
    """Let ``run_programs`` use ``runner`` inside the ``with`` block."""
    token = _runner.set(runner)
    try:
        yield
    finally:
        _runner.reset(token)


def run_programs(programs: Programs) -> list[bool]:
    """Run every program with its test and say which passed.

    Raises:
        RuntimeError: no runner is installed, or it did not give one verdict a program.
    """
    runner = _runner.get()
    if runner is None:
        raise RuntimeError(
            "No runner for generated programs is installed; score this task through lsbench, or wrap the "
            "call in lsbench_tasks.execution.installed(runner)."
        )
    verdicts = [bool(verdict) for verdict in runner(programs)]
    if len(verdicts) != len(programs):
        raise RuntimeError(f"The runner gave {len(verdicts)} verdicts for {len(programs)} programs.")
    return verdicts
