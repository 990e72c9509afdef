"""The progress view of a search that can be stopped."""

from __future__ import annotations

from typing import Literal

from lsbench.cli.interruption import raise_again
from lsbench.report.tune_live import TuneLiveView
from lsbench.tuning.trials import Trial


class InterruptibleTuneView(TuneLiveView):
    """A view that an interruption gets no further than."""

    def stage(self, text: str) -> None:
        """As ``TuneLiveView``; raises ``KeyboardInterrupt`` if one was asked for and is still not heard."""
        raise_again()
        super().stage(text)

    def trial_started(
        self,
        kind: Literal["predicted", "timed"],
        documents: Literal["tuning", "final"],
        number: int,
        label: str,
    ) -> None:
        """As ``TuneLiveView``; raises ``KeyboardInterrupt`` if one was asked for and is still not heard."""
        raise_again()
        super().trial_started(kind, documents, number, label)

    def trial_done(self, trial: Trial) -> None:
        """As ``TuneLiveView``; raises ``KeyboardInterrupt`` if one was asked for and is still not heard."""
        super().trial_done(trial)
        raise_again()
