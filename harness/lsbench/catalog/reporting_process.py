"""A child process whose output lines ``Progress X of Y`` become progress.

That is the form in which ``pip --progress-bar raw`` reports; our own children speak it too.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsbench.catalog.progress import Progress

_PROGRESS = re.compile(r"Progress (\d+) of (\d+)\s*$")
_KEPT_LINES = 50


@dataclass(frozen=True)
class Ended:
    """How a child process ended: its exit status and the last lines that were not progress."""

    status: int
    lines: tuple[str, ...]

    @property
    def reason(self) -> str:
        """What went wrong, in a line: the signal that killed it, the last error line, or the last line."""
        if self.status < 0:
            return f"it was killed by signal {-self.status}, as happens when memory runs out"
        errors = [line for line in self.lines if line.startswith("ERROR: ")]
        if errors:
            return errors[-1].removeprefix("ERROR: ")
        return self.lines[-1] if self.lines else f"it ended with status {self.status} and said nothing"


def run_reporting(
    command: Sequence[str], stage: str, progress: Progress, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run a command to its end, passing its progress on; it is killed if this call is interrupted.

    Args:
        command: program and arguments.
        stage: what the progress is called.
        progress: who is told.
        environment: variables added to this process's own.

    Raises:
        OSError: the program cannot be started.
    """
    progress.update(stage, 0, None)
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
    )
    try:
        assert child.stdout is not None
        for line in child.stdout:
            if match := _PROGRESS.match(line):
                progress.update(stage, int(match[1]), int(match[2]) or None)
            elif line.strip():
                lines.append(line.strip())
        return Ended(child.wait(), tuple(lines))
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
