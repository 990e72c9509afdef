"""The speedup a method could reach on this machine if nothing but the layers it runs took time.

From the measured costs of a layer, the head and the rest of a step, and from what the run recorded: how
deep tokens went, how many were drafted and accepted. Confidence checks, filling the KV cache, drawing drafts
and Python come on top in reality: they are what ``achieved_fraction`` lacks to 1. How much of it each of them
took (``remainder``) comes from how often the run did it and what it costs once; Python is what is left.

The costs themselves have a bound: weights are read once a step, and memory gives so many bytes a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

from lsbench.metrics import Ceiling, Remainder
from lsbench.records import SampleRecord, StepCost


@dataclass(frozen=True)
class Work:
    """What one cycle of a method does, on average; plain decoding is a cycle of one token.

    Attributes:
        tokens: emitted by a cycle.
        drafted: tokens drafted, each in a step of its own.
        draft_layers: layers run for each drafted token; 0 for a draft that runs no model.
        resumed_layers: leading layers of a drafted token that verifying takes over from the draft.
        layers: layers that deciding a token takes: the model's number where drafts are verified.
        draft_head: the share of the head's weights that is read for each drafted token.
    """

    tokens: float
    drafted: float
    draft_layers: float
    resumed_layers: float
    layers: float
    draft_head: float = 1.0


def ceiling(
    records: Sequence[SampleRecord],
    baseline: Sequence[SampleRecord],
    costs: Sequence[StepCost],
    num_layers: int,
    speedup: float | None,
    bytes_per_second: float | None = None,
) -> Ceiling | None:
    """The best speedup possible, and how much of it was reached.

    Args:
        records: the strategy's generations.
        baseline: the baseline's.
        costs: of this machine, by width.
        num_layers: L.
        speedup: measured.
        bytes_per_second: memory bandwidth, where it was measured.

    Returns:
        None where nothing was measured, where the strategy cannot tell what it ran, where the baseline
        is not the engine's own (costs of one loop say nothing about another), or where sequences decoded
        together: which of them shared a step is not recorded.
    """
    if speedup is None or not costs or not _ran_everything(baseline, num_layers):
        return None
    if any(record.batch is not None for record in records):
        return None
    work = work_of(records, num_layers)
    if work is None or (work.drafted > 0 and len(costs) < 2):
        return None
    seconds = cycle_seconds(work, costs)
    if seconds <= 0:
        return None
    best = work.tokens * cycle_seconds(_plain(num_layers), costs) / seconds
    if best <= 0:
        return None
    return Ceiling(
        speedup=best,
        achieved_fraction=speedup / best,
        remainder=remainder(records, costs, work, speedup / best),
        bandwidth_fraction=_of_what_memory_allows(work, costs, bytes_per_second),
    )


def bandwidth_fraction(
    baseline: Sequence[SampleRecord],
    costs: Sequence[StepCost],
    num_layers: int,
    bytes_per_second: float | None,
) -> float | None:
    """The share of what memory allows at which the baseline's step runs.

    Args:
        baseline: its generations.
        costs: of this machine, by width.
        num_layers: L.
        bytes_per_second: memory bandwidth.

    Returns:
        None where costs or bandwidth were not measured, or the baseline's steps are not those of the costs.
    """
    if not _ran_everything(baseline, num_layers) or any(record.batch is not None for record in baseline):
        return None
    return _of_what_memory_allows(_plain(num_layers), costs, bytes_per_second)


def work_of(records: Sequence[SampleRecord], num_layers: int) -> Work | None:
    """What a strategy's generations did after the prefill; None where they do not say."""
    decoded = [value for record in records for value in (record.layers_run or ())[1:]]
    if not decoded:
        return None
    if all(record.drafted is None for record in records):
        return Work(1, 0, 0, 0, layers=fsum(decoded) / len(decoded))
    passes = sum(record.verify_passes or 0 for record in records)
    told = [record for record in records if record.drafted is not None]
    if not passes or any(record.draft_layers is None for record in told if record.drafted):
        return None
    drafted = sum(record.drafted or 0 for record in told)
    if not drafted:
        return Work(len(decoded) / passes, 0, 0, 0, layers=num_layers)
    draft_layers = fsum(record.draft_layers or 0.0 for record in told) / drafted
    resumed = draft_layers
    if all(record.verify_layers is not None for record in told if record.drafted):
        # Every drafted token and the one after them go through all layers but those that are taken over.
        verified = fsum(record.verify_layers or 0.0 for record in told)
        resumed = ((drafted + passes) * num_layers - verified) / drafted
    return Work(
        tokens=len(decoded) / passes,
        drafted=drafted / passes,
        draft_layers=draft_layers,
        resumed_layers=min(max(resumed, 0.0), draft_layers),
        layers=num_layers,
        draft_head=_draft_head(told),
    )


def _draft_head(records: Sequence[SampleRecord]) -> float:
    """The share of the head that is read for each token drafted; all of it where that was not recorded."""
    drafted = sum(record.drafted or 0 for record in records)
    heads = fsum(
        (record.drafted or 0) if record.draft_heads is None else record.draft_heads for record in records
    )
    return heads / drafted if drafted else 1.0


def remainder(
    records: Sequence[SampleRecord], costs: Sequence[StepCost], work: Work, achieved: float
) -> Remainder | None:
    """Where the time went that layers, head and the fixed part of a step do not explain.

    Drawing one token for each emitted is left out: the baseline does as much.

    Args:
        records: the strategy's generations.
        costs: of this machine, by width.
        work: of these records.
        achieved: the share of the ceiling that was reached.

    Returns:
        None where a cost or a count is missing.
    """
    alone = alone_of(costs)
    beside = seconds_beside(records, costs)
    if alone is None or alone.draw_s is None or beside is None:
        return None
    decoded = sum(len(record.layers_run or ()) - 1 for record in records)
    # All of the decoding, in the same seconds as the costs: a machine that ran slower did so at every part.
    whole_s = decoded / work.tokens * cycle_seconds(work, costs) / achieved
    shares = {
        "checks": beside.checks_s / whole_s,
        "kv_fill": beside.kv_fill_s / whole_s,
        "sampling": sum(record.drafted or 0 for record in records) * alone.draw_s / whole_s,
    }
    return Remainder(**shares, other=1 - achieved - fsum(shares.values()))


def alone_of(costs: Sequence[StepCost]) -> StepCost | None:
    """What a step of one token costs, where that was measured."""
    return next((cost for cost in costs if cost.width == 1), None)


@dataclass(frozen=True)
class Beside:
    """Seconds of what some generations did beside layers, head and the fixed part of a step."""

    checks_s: float
    kv_fill_s: float


def seconds_beside(records: Sequence[SampleRecord], costs: Sequence[StepCost]) -> Beside | None:
    """By how often they did it and what it costs once; None where a cost or a count is missing."""
    alone = alone_of(costs)
    if alone is None or alone.check_s is None or alone.fill_s is None:
        return None
    if any(record.checks is None for record in records):
        return None
    checks, filled, older_rows, own_passes = (
        sum(getattr(record, name) or 0 for record in records)
        for name in ("checks", "filled", "older_rows", "own_passes")
    )
    # Where tokens are drafted, only drafts are looked at, by the head that they are drafted with.
    spare_heads = fsum((record.spare_heads or 0) * _draft_head([record]) for record in records)
    riding = older_rows - own_passes
    if riding and len(costs) < 2:
        return None
    # Folders of before do not say how many rode together: then each by itself.
    ridden = sum(
        (record.older_rows or 0) - (record.own_passes or 0) if record.ridden is None else record.ridden
        for record in records
    )
    return Beside(
        checks_s=spare_heads * alone.head_s + checks * alone.check_s,
        kv_fill_s=filled * alone.fill_s + riding_seconds(older_rows, own_passes, ridden, costs),
    )


def riding_seconds(older_rows: float, own_passes: float, ridden: float, costs: Sequence[StepCost]) -> float:
    """What positions that were left pending add to decoding; counts are those of a record.

    A pass of their own is a step of one row: few cost as much, and how many went together is not counted. Of
    those that ride beside new tokens as many are taken to ride each time.
    """
    alone, riding = cost_at(costs, 1), older_rows - own_passes
    more_s = cost_at(costs, 1 + riding / ridden).layer_s - alone.layer_s if riding > 0 and ridden else 0.0
    # Sub-layers are halves of a layer.
    return own_passes / 2 * alone.layer_s + ridden / 2 * max(0.0, more_s)


def cycle_seconds(work: Work, costs: Sequence[StepCost]) -> float:
    """Seconds of a cycle: its draft steps, and the step that decides.

    In a verifying step the last token, which was not drafted from, runs the first layers alone, and all of
    them run the rest together.
    """
    alone, together = cost_at(costs, 1), cost_at(costs, work.drafted + 1)
    seconds = together.fixed_s + together.head_s
    seconds += work.resumed_layers * alone.layer_s + (work.layers - work.resumed_layers) * together.layer_s
    if work.draft_layers > 0:
        seconds += work.drafted * (
            alone.fixed_s + work.draft_layers * alone.layer_s + work.draft_head * alone.head_s
        )
    return seconds


def cycle_bytes(work: Work, layer_bytes: float, head_bytes: float) -> float:
    """Bytes of weights that a cycle reads: each draft step its layers and its head, the deciding step all."""
    read = work.layers * layer_bytes + head_bytes
    if work.draft_layers > 0:
        read += work.drafted * (work.draft_layers * layer_bytes + work.draft_head * head_bytes)
    return read


def _of_what_memory_allows(
    work: Work, costs: Sequence[StepCost], bytes_per_second: float | None
) -> float | None:
    known = next((cost for cost in costs if cost.layer_bytes is not None), None)
    if not bytes_per_second or known is None or known.layer_bytes is None or known.head_bytes is None:
        return None
    seconds = cycle_seconds(work, costs)
    read = cycle_bytes(work, known.layer_bytes, known.head_bytes)
    return read / bytes_per_second / seconds if seconds > 0 else None


def _plain(num_layers: int) -> Work:
    """A step of full depth, for one token."""
    return Work(tokens=1, drafted=0, draft_layers=0, resumed_layers=0, layers=num_layers)


@dataclass(frozen=True)
class _Cost:
    layer_s: float
    head_s: float
    fixed_s: float


def cost_at(costs: Sequence[StepCost], width: float) -> _Cost:
    """Costs at any width, on the line through the two measured ones nearest to it."""
    ordered = sorted(costs, key=lambda cost: cost.width)
    if len(ordered) == 1:
        return _Cost(ordered[0].layer_s, ordered[0].head_s, ordered[0].fixed_s)
    place = next((i for i, cost in enumerate(ordered) if cost.width >= width), len(ordered) - 1)
    low, high = ordered[max(place, 1) - 1], ordered[max(place, 1)]
    share = (width - low.width) / (high.width - low.width)

    def between(first: float, second: float) -> float:
        return first + share * (second - first)

    return _Cost(
        between(low.layer_s, high.layer_s),
        between(low.head_s, high.head_s),
        between(low.fixed_s, high.fixed_s),
    )


def _ran_everything(baseline: Sequence[SampleRecord], num_layers: int) -> bool:
    layers = [value for record in baseline for value in (record.layers_run or ())[1:]]
    return bool(layers) and all(value == num_layers for value in layers)
