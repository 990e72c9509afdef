"""The progress of a run while it runs, on standard error so that standard output stays clean."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from lsbench.report import figures
from lsbench.report.pace import ReplicaPace, RunPace, StrategyPace, remarkable
from lsbench.report.plain import one_line
from lsbench.report.screens import Drawn, Lines, Screen, redraws


class LiveView:
    """Shows how far a run has come; a context manager whose methods may be called from any thread.

    On a terminal the view is redrawn in place; elsewhere it is an occasional plain line. It also
    serves as the catalog's ``Progress``.

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
        self._pace = RunPace()
        self._screen: Screen | None = None
        self._notes: set[str] = set()
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        if not self._quiet:
            stream = self._stream if self._stream is not None else sys.stderr
            self._screen = (Drawn if redraws(stream) else Lines)(stream, self._clock)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            screen, self._screen = self._screen, None
            if screen is None:
                return
            screen.close()
            pace = self._pace
            if pace.total is not None and pace.done < pace.total:
                screen.say(f"stopped after request {pace.done} of {pace.total}")

    def stage(self, text: str) -> None:
        """Say what is going on where no requests are being counted: loading, warming up, scoring."""
        self.preparing(text, 0, None)

    def preparing(self, stage: str, done: int, total: int | None) -> None:
        """Show how far a download or a conversion has come, in whatever unit it counts.

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

    update = preparing
    """The catalog's name for ``preparing``."""

    def start(self, total_requests: int, done_already: int = 0) -> None:
        """Begin to count requests.

        Args:
            total_requests: of the whole run: every request under the baseline and every strategy.
            done_already: how many of them an earlier process of this run finished.
        """
        with self._lock:
            pace = self._pace
            pace.stage, pace.stage_done, pace.stage_total = "", 0, None
            pace.total, pace.done, pace.already = total_requests, done_already, done_already
            pace.started_at = self._clock()
            self._show(True)

    def request_done(
        self,
        task: str,
        doc_id: int,
        strategy: str,
        tokens_per_second: float | None = None,
        speedup: float | None = None,
        layers: float | None = None,
        failed: bool = False,
    ) -> None:
        """Count one finished request.

        Args:
            task: its task.
            doc_id: its document.
            strategy: label of the strategy it ran under (the baseline's too).
            tokens_per_second: its decode speed; None when it generated nothing.
            speedup: the strategy's speedup over everything timed so far; None for the baseline.
            layers: its layers per token; None when the strategy cannot tell.
            failed: whether it ended in an error.
        """
        with self._lock:
            pace = self._pace
            pace.stage, pace.stage_total = "", None
            pace.done += 1
            one = pace.strategies.setdefault(strategy, StrategyPace())
            one.done += 1
            one.failed += failed
            one.tokens_per_second = one.tokens_per_second if tokens_per_second is None else tokens_per_second
            one.layers = one.layers if layers is None else layers
            one.speedup = one.speedup if speedup is None else speedup
            pace.latest = f"{one_line(task)} {doc_id} under {one_line(strategy)}"
            if failed:
                pace.latest += " failed"
            elif tokens_per_second is not None:
                pace.latest += f", {figures.significant(tokens_per_second)} tokens/s"
            self._show(pace.done == pace.total)

    def replica(
        self,
        index: int,
        state: str,
        task: str | None,
        doc_id: int | None,
        tokens_per_second: float | None,
        ranks: int,
    ) -> None:
        """Show what one copy of the model is doing; one process alone is not shown.

        Args:
            index: the copy's number, from 0.
            state: what it does, in a word: starting, running, idle, restarting, lost.
            task: of the request in hand; None for none.
            doc_id: of the request in hand.
            tokens_per_second: of its latest request; None leaves what was known.
            ranks: processes that share the copy.
        """
        with self._lock:
            pace = self._pace
            before = pace.replicas.get(index)
            known = before.tokens_per_second if before is not None else None
            pace.replicas[index] = ReplicaPace(
                state=state,
                ranks=ranks,
                sample=""
                if task is None
                else f"{one_line(task)} {'' if doc_id is None else doc_id}".rstrip(),
                tokens_per_second=known if tokens_per_second is None else tokens_per_second,
            )
            if pace.distributed:
                self._show(remarkable(before.state if before is not None else None, state))

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
