"""What a strategy costs in quality: its score minus the baseline's over the same documents."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from lsbench.measurement.statistics import mcnemar, mean_interval, unseen_change
from lsbench.metrics import Difference, Measured, TaskScores


class Scored(Protocol):
    """What is needed of one task's scores under one strategy."""

    @property
    def n(self) -> int:
        """Documents scored."""
        ...

    @property
    def failed(self) -> int:
        """Documents left without an answer."""
        ...

    @property
    def metrics(self) -> Mapping[str, Measured]:
        """Each metric over all documents."""
        ...

    @property
    def per_doc(self) -> Mapping[str, Mapping[int, float]]:
        """Each metric for every document, by document number; absent where a metric has no such values."""
        ...


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

    The interval resamples documents. A metric whose value is not the mean of its documents (bits per
    byte weighs each by its bytes) keeps the difference of its values, and the interval of the mean
    difference is moved to it. Where every document passes or fails and none changed, the interval is
    what seeing no change among so many still allows. A metric without values by document has a
    difference without an interval. None where the two share no document.
    """
    after, before = strategy.metrics[name].value, baseline.metrics[name].value
    ours, theirs = strategy.per_doc.get(name), baseline.per_doc.get(name)
    if not ours or not theirs:
        return _finite(after - before)
    shared = sorted(ours.keys() & theirs.keys())
    pairs = [(theirs[doc], ours[doc]) for doc in shared]
    if not pairs or not all(math.isfinite(value) for pair in pairs for value in pair):
        return _finite(after - before) if pairs else None
    changes = [new - old for old, new in pairs]
    mean = math.fsum(changes) / len(changes)
    if all(value in (0, 1) for pair in pairs for value in pair):
        interval = mean_interval(changes)
        if interval is not None and not any(changes):
            reach = unseen_change(len(changes))
            interval = (-reach, reach)
        p_value = mcnemar([old == 1 for old, _ in pairs], [new == 1 for _, new in pairs])
        return Difference(value=mean, ci95=interval, p_value=p_value)
    weighted = ours.keys() == theirs.keys() and not (_is_mean(ours, after) and _is_mean(theirs, before))
    value = after - before if weighted and math.isfinite(after - before) else mean
    interval = mean_interval(changes)
    if interval is not None:
        interval = (interval[0] + value - mean, interval[1] + value - mean)
    return Difference(value=value, ci95=interval)


def _finite(value: float) -> Difference | None:
    return Difference(value=value) if math.isfinite(value) else None


def _is_mean(values: Mapping[int, float], aggregate: float) -> bool:
    return math.isclose(math.fsum(values.values()) / len(values), aggregate, rel_tol=1e-6, abs_tol=1e-9)


def _tells_apart(name: str, strategy: Scored, baseline: Scored) -> bool:
    """Whether a metric could show a difference: not all 0 on both sides, nor all full marks."""
    ours, theirs = strategy.per_doc.get(name), baseline.per_doc.get(name)
    if ours and theirs:
        shared = ours.keys() & theirs.keys()
        values = {float(side[doc]) for side in (ours, theirs) for doc in shared}
    else:
        values = {float(strategy.metrics[name].value), float(baseline.metrics[name].value)}
    return bool(values) and values not in ({0.0}, {1.0})
