"""What came of a trial, from the records of its requests; and what the searcher is told of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lsbench.measurement.depth import mean_layers
from lsbench.measurement.pairing import comparable_in_time, generations, pair_up
from lsbench.measurement.timing import speedups, units
from lsbench.metrics import Interval
from lsbench.records import SampleRecord
from lsbench.tuning.quality import TOKEN_AGREEMENT, Assess, agreement
from lsbench.tuning.ranks import Judged

PENALTY = -2.0
"""Told of a trial that failed: below all that ``worth`` gives, and finite. TPE takes no notice of errors, and
would come back to what fails."""


def worth(speedup: float, quality: float | None, bound: float | None, floor: float | None) -> float:
    """What a setting is worth to the search, the more the better.

    Its speedup, if it holds the floor; else below 0, the less the further it falls short. With too few
    prompts for a bound the search goes by the quality itself: what it ends with is held to the bound.

    Args:
        speedup: over the baseline.
        quality: 0 to 1; None where it is not known.
        bound: lower end of its interval.
        floor: that quality must reach; None asks for none.
    """
    if floor is None:
        return speedup
    known = bound if bound is not None else quality
    short = floor - (known if known is not None else 0.0)
    return speedup if short <= 0 else min(speedup, 1.0) - 1.0 - short


def of_prediction(judged: Judged, floor: float | None) -> dict[str, Any]:
    """A trial's fields, from what it is predicted to be."""
    bound = None if judged.quality_ci95 is None else judged.quality_ci95[0]
    return {
        "status": "ok",
        "objective": worth(judged.speedup, judged.quality, bound, floor),
        "predicted_speedup": judged.speedup,
        "quality": judged.quality,
        "quality_name": TOKEN_AGREEMENT,
        "quality_bound": bound,
        "acceptance": judged.acceptance,
        "mean_layers": judged.mean_layers,
        "prompts": judged.prompts,
    }


def of_records(
    records: Sequence[SampleRecord],
    baseline: str,
    label: str,
    floor: float | None,
    assess: Assess = agreement,
) -> dict[str, Any]:
    """A trial's fields, from what was timed.

    Args:
        records: of the baseline and of the strategy, over the same prompts.
        baseline, label: whose they are.
        floor: that quality must reach.
        assess: what quality is.
    """
    failure = next((r for r in records if r.error is not None and r.label in (baseline, label)), None)
    if failure is not None:
        return failed(f"{failure.task} {failure.doc_id}: {failure.error}")
    pairs = comparable_in_time(pair_up(records, baseline, label)).pairs
    speeds = speedups(pairs)
    if speeds is None or not math.isfinite(speeds[0].value):
        return failed("no prompt was continued by more than one token under it and the baseline")
    speed = speeds[0]
    quality = assess(records, label)
    value, bound = (None, None) if quality is None else (quality.value, quality.bound)
    searched_by = None if quality is None or not quality.decisive else bound
    own = generations(records, label)
    drafted = sum(record.drafted or 0 for record in own)
    return {
        "status": "ok",
        "objective": worth(speed.value, value, searched_by, floor),
        "speedup": speed.value,
        "speedup_ci95": speed.ci95,
        "tpot_ratio": 1 / speed.value,
        "quality": value,
        "quality_name": None if quality is None else quality.name,
        "quality_bound": bound,
        "acceptance": sum(record.accepted or 0 for record in own) / drafted if drafted else None,
        "mean_layers": mean_layers(own),
        "prompts": units(pairs),
    }


def failed(reason: str, status: str = "failed") -> dict[str, Any]:
    """A trial's fields, where nothing came of it."""
    return {"status": status, "reason": " ".join(reason.split()), "objective": PENALTY}


def speed_over(records: Sequence[SampleRecord], other: str, label: str) -> Interval | None:
    """95 % interval of one strategy's speed over another's, in pairs."""
    speeds = speedups(comparable_in_time(pair_up(records, other, label)).pairs)
    return None if speeds is None else speeds[0].ci95
