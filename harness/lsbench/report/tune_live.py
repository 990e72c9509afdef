"""The progress of a search while it runs, on standard error so that standard output stays clean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TextIO

from lsbench.report.plain import one_line
from lsbench.report.progress_view import ProgressView
from lsbench.report.tune_pace import TunePace
from lsbench.report.tune_screens import TuneDrawn, TuneLines
from lsbench.tuning.trials import Trial, TrialKey


class TuneLiveView(ProgressView[TunePace, TuneDrawn | TuneLines]):
    """Shows how far a search has come: redrawn in place on a terminal, elsewhere a line a trial."""

    def _begin(self) -> TunePace:
        return TunePace(began_at=self._clock())

    def _open(self, stream: TextIO, redrawn: bool) -> TuneDrawn | TuneLines:
        return (TuneDrawn if redrawn else TuneLines)(stream, self._clock)

    def _last_words(self) -> Iterator[str]:
        if not self._pace.words and self._pace.trials:
            yield f"stopped after {len(self._pace.trials)} trials"
            if self._pace.best is not None:
                yield self._pace.best_line()

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
