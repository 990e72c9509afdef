"""How two rows of a comparison differ, over what both did on the same prompts and documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsbench.comparison import PairDifference, SpeedRatio
from lsbench.measurement.compared_rows import MeasuredRow, Totals
from lsbench.measurement.pairing import Prompt, comparable_in_time, pair_up
from lsbench.measurement.quality import task_scores
from lsbench.measurement.statistics import (
    difference_of_shares_interval,
    ratio_of_speedups_interval,
    speedup_interval,
    verdict,
)
from lsbench.measurement.timing import NOISE_LIMIT, decode_totals
from lsbench.metrics import Difference, Measured, TaskScores
from lsbench.store.scores import Additive

if TYPE_CHECKING:
    from lsbench.store.scores import TaskValues
    from lsbench.store.stored_run import StoredRun

_Columns = tuple[list[float], list[float], list[float], list[float]]
"""Seconds and tokens of the baseline, then of the strategy, one value a prompt."""


def row_difference(one: MeasuredRow, other: MeasuredRow) -> PairDifference:
    """The first row against the second."""
    return PairDifference(
        row=one.row.key,
        against=other.row.key,
        across_processes=one.row.run != other.row.run,
        speed=_speed_ratio(one, other),
        token_agreement=_agreement_difference(one.agreement, other.agreement),
        tasks=_task_differences(one, other),
    )


def _speed_ratio(one: MeasuredRow, other: MeasuredRow) -> SpeedRatio | None:
    """One speedup over the other, over the prompts that both were timed on.

    Within a run both are against the same timings of one baseline, which cancel. Between runs, where the
    baseline itself did not run alike, a strategy need not have been slowed by as much as it was: the ratio is
    believed only as far as it exceeds what the baselines differ by.
    """
    shared = [prompt for prompt in one.totals if prompt in other.totals]
    if not shared:
        return None
    ours = _columns(one.totals, shared)
    theirs = _columns(other.totals, shared)
    interval = ratio_of_speedups_interval(ours, theirs)
    swing = _swing(one.run, other.run)
    if one.run is not other.run:
        drift = _per_token(ours[0], ours[1]) / _per_token(theirs[0], theirs[1])
        swing = max(swing, max(drift, 1 / drift) - 1)
    return SpeedRatio(
        value=_speedup(ours) / _speedup(theirs),
        ci95=interval,
        verdict=verdict(interval, swing),
        prompts=sum(map(len, shared)),
        swing=swing,
    )


def _swing(*runs: StoredRun) -> float:
    """The largest noise of these runs that is too much for small differences; 0 where none is."""
    found = [run.metrics.baseline.noise or 0.0 for run in runs]
    return max([noise for noise in found if noise > NOISE_LIMIT], default=0.0)


def _columns(totals: Totals, prompts: Sequence[frozenset[Prompt]]) -> _Columns:
    base_s, base_tokens, own_s, own_tokens = zip(*(totals[prompt] for prompt in prompts), strict=True)
    return list(base_s), list(base_tokens), list(own_s), list(own_tokens)


def _per_token(seconds: Sequence[float], tokens: Sequence[float]) -> float:
    return sum(seconds) / sum(tokens)


def _speedup(columns: _Columns) -> float:
    return _per_token(columns[0], columns[1]) / _per_token(columns[2], columns[3])


def _agreement_difference(
    ours: Mapping[Prompt, tuple[int, int]], theirs: Mapping[Prompt, tuple[int, int]]
) -> Difference | None:
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return None
    agreed, compared = zip(*(ours[prompt] for prompt in shared), strict=True)
    other_agreed, other_compared = zip(*(theirs[prompt] for prompt in shared), strict=True)
    return Difference(
        value=sum(agreed) / sum(compared) - sum(other_agreed) / sum(other_compared),
        ci95=difference_of_shares_interval(agreed, compared, other_agreed, other_compared),
    )


def _task_differences(one: MeasuredRow, other: MeasuredRow) -> dict[str, TaskScores]:
    """By document where both runs kept what each scored; else of the totals, without an interval."""
    found: dict[str, TaskScores] = {}
    for task in one.row.scores:
        if task not in other.row.scores:
            continue
        both = [_affected(each, task) for each in (one, other)]
        ours, theirs = _scored(one, task), _scored(other, task)
        scores = task_scores(ours, theirs, affected=any(both))
        found[task] = scores.model_copy(update={"failed": max(ours.failed, theirs.failed)})
    return found


def _affected(one: MeasuredRow, task: str) -> bool:
    for strategy in one.run.metrics.strategies:
        if strategy.label == one.row.label and task in strategy.tasks:
            return strategy.tasks[task].affected_by_strategy
    return True


@dataclass(frozen=True)
class _Totalled:
    """Scores of a task without those of its documents."""

    n: int
    failed: int
    metrics: Mapping[str, Measured]
    per_doc: Mapping[str, Mapping[int, float]]
    weights: Mapping[str, Mapping[int, float]]
    totals: Mapping[str, Additive]


def _scored(one: MeasuredRow, task: str) -> TaskValues | _Totalled:
    if task in one.scores:
        return one.scores[task]
    strategies = {strategy.label: strategy for strategy in one.run.metrics.strategies}
    scores = strategies[one.row.label].tasks[task]
    return _Totalled(scores.n, scores.failed, scores.metrics, {}, {}, {})


def baseline_speed(run: StoredRun, first: StoredRun) -> SpeedRatio | None:
    """The speed of a run's baseline over the first run's, each in its own process; None where no prompt was
    timed in both."""
    totals = [_own_totals(each) for each in (first, run)]
    shared = [prompt for prompt in totals[0] if prompt in totals[1]]
    if not shared:
        return None
    (first_s, first_tokens), (own_s, own_tokens) = (
        ([each[prompt][2] for prompt in shared], [each[prompt][3] for prompt in shared]) for each in totals
    )
    interval = speedup_interval(first_s, first_tokens, own_s, own_tokens)
    swing = _swing(run, first)
    return SpeedRatio(
        value=_per_token(first_s, first_tokens) / _per_token(own_s, own_tokens),
        ci95=interval,
        verdict=verdict(interval, swing),
        prompts=sum(map(len, shared)),
        swing=swing,
    )


def _own_totals(run: StoredRun) -> Totals:
    """A baseline beside itself, so that it is held to the same rules of what may be compared in time."""
    label = run.manifest.spec.baseline
    return decode_totals(comparable_in_time(pair_up(run.records, label, label)).pairs)
