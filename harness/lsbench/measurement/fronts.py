"""The picture of speed against quality: where rows stand, and which no other beats in both."""

from __future__ import annotations

from collections.abc import Sequence

from lsbench.comparison import Front, FrontPoint, Row
from lsbench.measurement.compared_rows import MeasuredRow
from lsbench.measurement.pareto import front
from lsbench.metrics import Speedup


def fronts(measured: Sequence[MeasuredRow]) -> list[Front]:
    """One picture for each task that tells strategies apart, and one for token agreement."""
    fronts: list[Front] = []
    tasks = dict.fromkeys(task for one in measured for task in one.scores)
    for task in tasks:
        named = [name for one in measured if task in one.scores for name in one.scores[task].metrics]
        for metric in named[:1]:
            better = next(
                one.scores[task].higher_is_better.get(metric, True) for one in measured if task in one.scores
            )
            placed = [
                (one, one.row.scores[task][metric].value)
                for one in measured
                if metric in one.row.scores.get(task, {})
            ]
            fronts.append(_front(f"{task} {metric}", better, placed))
    agreeing = [
        (
            one,
            1.0
            if one.row.is_baseline
            else one.row.token_agreement.value
            if one.row.token_agreement
            else None,
        )
        for one in measured
    ]
    fronts.append(
        _front("token agreement", True, [(one, value) for one, value in agreeing if value is not None])
    )
    return [each for each in fronts if len({point.quality for point in each.points}) > 1]


def _front(quality: str, higher_is_better: bool, placed: Sequence[tuple[MeasuredRow, float]]) -> Front:
    """Where rows stand; of baselines the first alone, whose speedup is 1 by its meaning."""
    points: list[tuple[Row, Speedup | None, float]] = []
    for one, value in placed:
        if one.row.is_baseline and not any(row.is_baseline for row, _, _ in points):
            points.append((one.row, None, value))
        elif one.row.speedup is not None:
            points.append((one.row, one.row.speedup, value))
    sign = 1 if higher_is_better else -1
    speeds = [speedup.value if speedup else 1.0 for _, speedup, _ in points]
    best = set(front([(speed, sign * value) for speed, (_, _, value) in zip(speeds, points, strict=True)]))
    built = [
        FrontPoint(
            row=row.key,
            speedup=speeds[place],
            speedup_ci95=speedup.ci95 if speedup else None,
            quality=value,
            on_front=place in best,
        )
        for place, (row, speedup, value) in enumerate(points)
    ]
    return Front(
        quality=quality,
        higher_is_better=higher_is_better,
        points=tuple(sorted(built, key=lambda point: -point.speedup)),
    )
