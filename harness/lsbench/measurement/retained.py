"""How much of the baseline's own score a strategy keeps."""

from __future__ import annotations

import math

from lsbench.metrics import Agreement, TaskScores


def retained(metric: str, scores: TaskScores, baseline: float) -> Agreement | None:
    """The strategy's score as a share of the baseline's, over the documents that both have.

    Value and interval are those of the difference between the two (``measurement.quality.difference``), so
    that a metric on which no document changed is not certain to be kept.

    Args:
        metric: higher is better.
        scores: of the strategy, compared with the baseline's.
        baseline: the baseline's score.

    Returns:
        None where the task says nothing: the baseline scores nothing, or there is no difference to tell.
    """
    difference = scores.difference.get(metric)
    if difference is None or not math.isfinite(baseline) or baseline <= 0:
        return None
    interval = difference.ci95
    ends = None if interval is None else (1 + interval[0] / baseline, 1 + interval[1] / baseline)
    return Agreement(value=1 + difference.value / baseline, ci95=ends)
