"""The progress of a search while it runs, on standard error so that standard output stays clean."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Literal, Self, TextIO

from lsbench.report.plain import one_line
from lsbench.report.tune_pace import TunePace
from lsbench.report.tune_screens import TuneDrawn, TuneLines, TuneScreen
from lsbench.tuning.trials import Trial, TrialKey


class TuneLiveView:
    """Shows how far a search has come; a context manager whose methods may be called from any thread.

    On a terminal the view is redrawn in place; elsewhere every trial is a plain line. It also serves as the
    catalog's ``Progress``.

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
        self._pace = TunePace(began_at=clock())
        self._screen: TuneScreen | None = None
        self._notes: set[str] = set()
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        if not self._quiet:
            stream = self._stream if self._stream is not None else sys.stderr
            drawn = stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")
            self._screen = TuneDrawn(stream, self._clock) if drawn else TuneLines(stream, self._clock)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            screen, self._screen = self._screen, None
            if screen is None:
                return
            screen.close()
            if not self._pace.words and self._pace.trials:
                screen.say(f"stopped after {len(self._pace.trials)} trials")
                if self._pace.best is not None:
                    screen.say(self._pace.best_line())

    def stage(self, text: str) -> None:
        """Say what is going on where no trial runs."""
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

    def replica(
        self,
        index: int,
        state: str,
        task: str | None,
        doc_id: int | None,
        tokens_per_second: float | None,
        ranks: int,
    ) -> None:
        """Say that a copy of the model was lost; what else copies do is shown by the trials."""
        if state in ("lost", "restarting"):
            self.note(f"copy {index} of the model: {state}")

    def note(self, text: str) -> None:
        """Say something that stays on the screen; the same text is said once."""
        with self._lock:
            line = one_line(text)
            if self._screen is not None and line not in self._notes:
                self._notes.add(line)
                self._screen.say(f"note: {line}")

    def begin(
        self,
        trials: int,
        time_budget_s: float | None = None,
        spent_s: float = 0.0,
        done: Sequence[Trial] = (),
    ) -> None:
        """The search begins, or goes on.

        Args:
            trials: how many the searcher may propose.
            time_budget_s: after which it ends; None where the number of trials ends it.
            spent_s: what earlier processes took of it.
            done: what they finished.
        """
        with self._lock:
            pace = self._pace
            pace.budget_s, pace.spent_s, pace.began_at = time_budget_s, spent_s, self._clock()
            pace.trials = list(done)
            if done and self._screen is not None:
                self._screen.say(f"{len(done)} trials were finished before")
            self._begin_phase("predicted", "tuning", trials)

    def phase(
        self, kind: Literal["predicted", "timed"], documents: Literal["tuning", "final"], total: int | None
    ) -> None:
        """Trials of one kind begin; ``total`` is how many there are at most, finished ones included."""
        with self._lock:
            self._begin_phase(kind, documents, total)
            self._show(True)

    def trial_started(
        self,
        kind: Literal["predicted", "timed"],
        documents: Literal["tuning", "final"],
        number: int,
        label: str,
    ) -> None:
        """One setting is being tried."""
        with self._lock:
            self._pace.stage, self._pace.stage_total = "", None
            self._pace.running[TrialKey(kind, documents, number)] = one_line(label)
            self._show(False)

    def trial_done(self, trial: Trial) -> None:
        """One is finished, whatever came of it."""
        with self._lock:
            pace = self._pace
            pace.stage, pace.stage_total = "", None
            pace.running.pop(trial.key, None)
            pace.trials.append(trial)
            pace.consider(trial)
            if self._screen is not None:
                self._screen.trial(pace, trial)

    def best(self, trial: Trial) -> None:
        """None that was finished is better."""
        with self._lock:
            self._pace.best = trial
            self._show(False)

    def finished(self, words: str) -> None:
        """The search has ended with this result."""
        with self._lock:
            self._pace.words = one_line(words)
            self._pace.running.clear()
            self._show(True)

    def _begin_phase(self, kind: str, documents: str, total: int | None) -> None:
        pace = self._pace
        pace.stage, pace.stage_total = "", None
        pace.kind, pace.documents, pace.total = kind, documents, total
        pace.phase_at, pace.phase_already = self._clock(), pace.done

    def _show(self, important: bool) -> None:
        if self._screen is not None:
            self._screen.show(self._pace, important)
