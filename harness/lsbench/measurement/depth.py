"""How deep, how much was drafted, how much memory: what each request recorded, added up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from lsbench.metrics import AcceptanceAt, Depth, Memory, Speculation
from lsbench.records import SampleRecord


def depth(records: Iterable[SampleRecord], num_layers: int) -> Depth | None:
    """Layers run per decoded token; None when no decoded token tells.

    The first token of each request comes from the full-depth prefill and is left out. The histogram
    has ``num_layers + 1`` counts; a token that cost more than all layers (drafted, then verified)
    counts at the last, and with its true value in the mean.
    """
    layers = _decoded_layers(records)
    if not layers:
        return None
    histogram = [0] * (num_layers + 1)
    for value in layers:
        histogram[min(num_layers, math.floor(value + 0.5))] += 1
    return Depth(mean_layers=math.fsum(layers) / len(layers), histogram=tuple(histogram))


def mean_layers(records: Iterable[SampleRecord]) -> float | None:
    """``depth``'s mean alone."""
    layers = _decoded_layers(records)
    return math.fsum(layers) / len(layers) if layers else None


def _decoded_layers(records: Iterable[SampleRecord]) -> list[float]:
    return [value for record in records for value in (record.layers_run or ())[1:]]


def speculation(records: Sequence[SampleRecord]) -> Speculation | None:
    """Totals of drafting and verifying; None when no record speaks of drafting.

    Rates are None when nothing was drafted. The mean accepted length counts every decoded token, the
    verifier's own included, but not the prefill's first.
    """
    drafting = [record for record in records if record.drafted is not None]
    if not drafting:
        return None
    drafted = sum(record.drafted or 0 for record in drafting)
    accepted = sum(record.accepted or 0 for record in drafting)
    passes = sum(record.verify_passes or 0 for record in drafting)
    decoded = sum(max(0, len(record.token_ids or ()) - 1) for record in drafting)
    return Speculation(
        drafted=drafted,
        accepted=accepted,
        acceptance_rate=accepted / drafted if drafted else None,
        mean_accepted_length=decoded / passes if drafted and passes else None,
        verify_passes=passes,
        acceptance_by_position=acceptance_by_position(drafting),
    )


def acceptance_by_position(records: Iterable[SampleRecord]) -> tuple[AcceptanceAt, ...]:
    """How many tokens were drafted and accepted at each place of a draft, up to the longest.

    A pass accepts the leading tokens of its draft and no others.
    """
    passes = [counts for record in records for counts in record.draft_passes or ()]
    longest = max((drafted for drafted, _ in passes), default=0)
    return tuple(
        AcceptanceAt(
            position=position,
            drafted=sum(drafted >= position for drafted, _ in passes),
            accepted=sum(accepted >= position for _, accepted in passes),
        )
        for position in range(1, longest + 1)
    )


def memory(records: Iterable[SampleRecord]) -> Memory | None:
    """The largest peaks over all requests; None when none was recorded."""
    measured = [record for record in records if record.peak_bytes is not None]
    if not measured:
        return None
    return Memory(
        peak_bytes=max(record.peak_bytes or 0 for record in measured),
        kv_bytes=max((record.kv_bytes for record in measured if record.kv_bytes is not None), default=None),
    )
