"""What a strategy costs in quality: its score minus the baseline's over the same documents."""

from __future__ import annotations

import math

from lsbench.measurement.statistics import (
    difference_of_totals_interval,
    mcnemar,
    ratio_of_totals_interval,
    unseen_change,
)
from lsbench.metrics import Difference, TaskScores
from lsbench.store.scores import Additive, Scored


def task_scores(strategy: Scored, baseline: Scored | None, affected: bool) -> TaskScores:
    """One task under one strategy, against the baseline's scores of the same task.

    Args:
        strategy: its scores.
        baseline: the baseline's; None when it has none.
        affected: whether the strategy could change this task's result at all.
    """
    names = [name for name in strategy.metrics if baseline is not None and name in baseline.metrics]
    compared = {name: difference(name, strategy, baseline) for name in names} if baseline else {}
    return TaskScores(
        n=strategy.n,
        failed=strategy.failed,
        affected_by_strategy=affected,
        tells_apart=baseline is not None and any(_tells_apart(name, strategy, baseline) for name in names),
        metrics=dict(strategy.metrics),
        difference={name: found for name, found in compared.items() if found is not None},
    )


def difference(name: str, strategy: Scored, baseline: Scored) -> Difference | None:
    """Strategy minus baseline on one metric, over the documents both have.

    The interval resamples documents, each with its weight where the metric is a weighted mean (bits
    per byte weighs documents by their bytes). Where every document passes or fails and none changed,
    the interval is what seeing no change among so many still allows. A metric of the whole corpus is
    made again from each resample's sums; where it does not follow from sums there is no interval. None
    where the two share no document, or where the difference is not finite.
    """
    sums = strategy.totals.get(name), baseline.totals.get(name)
    if sums[0] is not None and sums[1] is not None:
        return _difference_of_totals(sums[0], sums[1])
    ours, theirs = strategy.per_doc.get(name), baseline.per_doc.get(name)
    if not ours or not theirs:
        change = strategy.metrics[name].value - baseline.metrics[name].value
        return Difference(value=change) if math.isfinite(change) else None
    shared = sorted(ours.keys() & theirs.keys())
    weighed = strategy.weights.get(name, {})
    weights = [weighed.get(doc, 1.0) for doc in shared]
    changes = [ours[doc] - theirs[doc] for doc in shared]
    changed = [weight * change for weight, change in zip(weights, changes, strict=True)]
    if sum(weights) <= 0 or not all(map(math.isfinite, changed)):
        return None
    interval, p_value = ratio_of_totals_interval(changed, weights), None
    if not weighed and all(side[doc] in (0, 1) for side in (ours, theirs) for doc in shared):
        p_value = mcnemar([theirs[doc] == 1 for doc in shared], [ours[doc] == 1 for doc in shared])
        if interval is not None and not any(changes):
            reach = unseen_change(len(shared))
            interval = (-reach, reach)
    return Difference(value=math.fsum(changed) / math.fsum(weights), ci95=interval, p_value=p_value)


def _difference_of_totals(strategy: Additive, baseline: Additive) -> Difference | None:
    shared = sorted(strategy.parts.keys() & baseline.parts.keys())
    if not shared:
        return None
    ours, theirs = ([side.parts[doc] for doc in shared] for side in (strategy, baseline))
    values = [
        side.value([math.fsum(column) for column in zip(*parts, strict=True)])
        for side, parts in ((strategy, ours), (baseline, theirs))
    ]
    change = values[0] - values[1]
    if not math.isfinite(change):
        return None
    return Difference(value=change, ci95=difference_of_totals_interval(ours, theirs, strategy.value))


def _tells_apart(name: str, strategy: Scored, baseline: Scored) -> bool:
    """Whether a metric could show a difference: not all 0 on both sides, nor all full marks."""
    ours, theirs = strategy.per_doc.get(name), baseline.per_doc.get(name)
    if ours and theirs:
        shared = ours.keys() & theirs.keys()
        values = {float(side[doc]) for side in (ours, theirs) for doc in shared}
    else:
        values = {float(strategy.metrics[name].value), float(baseline.metrics[name].value)}
    return bool(values) and values not in ({0.0}, {1.0})
