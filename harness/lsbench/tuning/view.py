"""Who is told how far a search has come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from lsbench.tuning.trials import Trial
from lsbench.view import ReplicaProgress


class TuneView(ReplicaProgress, Protocol):
    """``report.tune_live.TuneLiveView`` is one. Any thread may call it.

    A method may raise ``KeyboardInterrupt``: the user has asked to stop.
    """

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
        ...

    def phase(
        self, kind: Literal["predicted", "timed"], documents: Literal["tuning", "final"], total: int | None
    ) -> None:
        """Trials of one kind begin; ``total`` is how many there are at most, finished ones included."""
        ...

    def trial_started(
        self,
        kind: Literal["predicted", "timed"],
        documents: Literal["tuning", "final"],
        number: int,
        label: str,
    ) -> None:
        """One setting is being tried."""
        ...

    def trial_done(self, trial: Trial) -> None:
        """One is finished, whatever came of it."""
        ...

    def best(self, trial: Trial) -> None:
        """None that was finished is better."""
        ...

    def finished(self, words: str) -> None:
        """The search has ended with this result."""
        ...
