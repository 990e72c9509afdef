"""The trials that no other beats in both speed and quality."""

from __future__ import annotations

from collections.abc import Sequence

from lsbench.measurement.pareto import front
from lsbench.tuning.trials import Trial

__all__ = ["front", "trial_front"]


def trial_front(trials: Sequence[Trial]) -> list[Trial]:
    """The front of the trials that have both a measured speedup and a quality, fastest first."""
    placed = [
        (trial, (trial.speedup, trial.quality))
        for trial in trials
        if trial.status == "ok" and trial.speedup is not None and trial.quality is not None
    ]
    return [placed[place][0] for place in front([point for _, point in placed])]
