"""Which setting to time next: the best predicted, as far as predictions of settings like it came true.

A prediction rests on the full model's own text. A setting that soon writes something else, or whose costs are
others than were measured, is predicted wrongly, and its neighbours just as much: the best predicted are often
such neighbours. So what was timed corrects what has yet to be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from lsbench.tuning.domains import Token
from lsbench.tuning.trials import Trial

_SHARPNESS = 4
"""Settings that agree in three of four options correct each other by a third of what one does itself."""
_NO_CORRECTION = 0.25
"""Weight of the prediction as it is, beside 1 for a timing of the very setting."""


def next_to_time(trials: Sequence[Trial], most: int) -> Trial | None:
    """The predicted trial that is to be timed next.

    Args:
        trials: of the search so far.
        most: of those predicted that are timed.

    Returns:
        None where so many were, or nothing is left: one of those that were predicted alike is timed.
    """
    timed, left = _divided(trials)
    if len(timed) >= most:
        return None
    scales = _scales(trials)
    return max(left, key=lambda trial: _expected(trial, timed, scales), default=None)


def to_be_timed(trials: Sequence[Trial], most: int) -> int:
    """How many of those predicted are still to be timed."""
    timed, left = _divided(trials)
    return min(max(0, most - len(timed)), len(left))


def _divided(trials: Sequence[Trial]) -> tuple[list[Trial], list[Trial]]:
    """Timings of those predicted, and the predicted ones that were not timed: one of those alike."""
    tuned = [trial for trial in trials if trial.documents == "tuning"]
    timed = [trial for trial in tuned if trial.kind == "timed"]
    labels = {trial.label for trial in timed}
    left = [trial for trial in _different(tuned) if trial.label not in labels]
    return [trial for trial in timed if trial.predicted_speedup is not None], left


def _different(trials: Sequence[Trial]) -> list[Trial]:
    """Predicted trials, the first of those predicted alike."""
    good = [trial for trial in trials if trial.kind == "predicted" and trial.status == "ok"]
    return list({(trial.objective, trial.quality): trial for trial in reversed(good)}.values())[::-1]


def _expected(trial: Trial, timed: Sequence[Trial], scales: Mapping[str, float]) -> float:
    """What the search would be told of a trial, corrected; what falls short of a floor stays where it is."""
    objective = trial.objective or 0.0
    if objective <= 0 or trial.predicted_speedup is None:
        return objective
    weighed, weights = 0.0, _NO_CORRECTION
    for other in timed:
        if not other.speedup or not other.predicted_speedup:
            continue
        weight = _likeness(trial.point, other.point, scales) ** _SHARPNESS
        weighed += weight * math.log(other.speedup / other.predicted_speedup)
        weights += weight
    return objective * math.exp(weighed / weights)


def _likeness(one: Mapping[str, Token], other: Mapping[str, Token], scales: Mapping[str, float]) -> float:
    """The share of options in which two settings agree; numbers agree by how near they are. 0 to 1."""
    keys = one.keys() | other.keys()
    if not keys:
        return 1.0
    return sum(_agreement(one.get(key), other.get(key), scales.get(key, 0.0)) for key in keys) / len(keys)


def _agreement(one: Token, other: Token, scale: float) -> float:
    if one == other:
        return 1.0
    if scale > 0 and _is_number(one) and _is_number(other):
        return 1.0 - abs(float(one) - float(other)) / scale
    return 0.0


def _scales(trials: Sequence[Trial]) -> dict[str, float]:
    """How far the numbers of each option lie apart."""
    values: dict[str, list[float]] = {}
    for trial in trials:
        for key, value in trial.point.items():
            if _is_number(value):
                values.setdefault(key, []).append(float(value))
    return {key: max(each) - min(each) for key, each in values.items()}


def _is_number(value: Token) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
