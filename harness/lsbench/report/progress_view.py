"""What the views of a run and of a search have in common: who may speak, and where it is shown."""

from __future__ import annotations

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Generic, Self, TextIO, TypeVar

from lsbench.report.pace import Preparing
from lsbench.report.places import Place, redraws
from lsbench.report.plain import one_line

Pace = TypeVar("Pace", bound=Preparing)
Screen = TypeVar("Screen", bound=Place)


class ProgressView(ABC, Generic[Pace, Screen]):
    """Shows how far something has come; a context manager whose methods may be called from any thread.

    On a terminal the view is redrawn in place; elsewhere it is plain lines. It also serves as the catalog's
    ``Progress``.

    Args:
        quiet: show nothing at all.
        stream: where to show it; None means standard error.
        clock: seconds that only go forward.
    """

    def __init__(
        self, quiet: bool = False, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._quiet = quiet
        self._stream = stream
        self._clock = clock
        self._pace = self._begin()
        self._screen: Screen | None = None
        self._notes: set[str] = set()
        self._lock = threading.RLock()

    @abstractmethod
    def _begin(self) -> Pace:
        """How far it has come before anything happened."""

    @abstractmethod
    def _open(self, stream: TextIO, redrawn: bool) -> Screen:
        """Where it is shown."""

    @abstractmethod
    def _last_words(self) -> Iterable[str]:
        """What is said when the view is closed."""

    def __enter__(self) -> Self:
        if not self._quiet:
            stream = self._stream if self._stream is not None else sys.stderr
            self._screen = self._open(stream, redraws(stream))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            screen, self._screen = self._screen, None
            if screen is None:
                return
            screen.close()
            for text in self._last_words():
                screen.say(text)

    def stage(self, text: str) -> None:
        """Say what is going on where nothing is being counted: loading, warming up, scoring."""
        self.update(text, 0, None)

    def update(self, stage: str, done: int, total: int | None) -> None:
        """Show how far a download, a conversion or another preparation has come, in whatever unit it counts.

        Args:
            stage: what is being done, in words.
            done: how much of it is done.
            total: how much there is, or None when that is not known.
        """
        with self._lock:
            pace, text = self._pace, one_line(stage)
            important = text != pace.stage or (bool(total) and done == total)
            pace.stage, pace.stage_done, pace.stage_total = text, done, total
            self._show(important)

    def note(self, text: str) -> None:
        """Say something that stays on the screen; the same text is said once."""
        with self._lock:
            line = one_line(text)
            if self._screen is not None and line not in self._notes:
                self._notes.add(line)
                self._screen.say(f"note: {line}")

    def _show(self, important: bool) -> None:
        if self._screen is not None:
            self._screen.show(self._pace, important)
