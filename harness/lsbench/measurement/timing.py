"""How fast: seconds per token, time to the first token, and the ratio of both to the baseline's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from lsbench.measurement.pairing import Pair, Prompt, prompt_of
from lsbench.measurement.statistics import speedup_interval, verdict
from lsbench.metrics import EndToEndSpeedup, Percentiles, Speedup
from lsbench.records import SampleRecord

NOISE_LIMIT = 0.05
"""Relative difference between two halves of the baseline above which the machine was too noisy."""
_FEWEST_FOR_NOISE = 4
_Columns = tuple[list[float], list[int], list[float], list[int]]
"""Seconds and tokens of the baseline, then of the strategy, one value a prompt."""


@dataclass
class Totals:
    """Seconds and tokens of one side of what is resampled, over its repeats."""

    decode_s: float = 0.0
    decoded: int = 0
    whole_s: float = 0.0
    generated: int = 0

    def add(self, together: Sequence[SampleRecord]) -> None:
        """What decoded together: the clock ran once for all of them, until the last had ended."""
        first_s = max(record.ttft_s or 0.0 for record in together)
        whole_s = max((record.ttft_s or 0.0) + (record.decode_s or 0.0) for record in together)
        self.decode_s += whole_s - first_s
        self.decoded += sum(token_count(record) - 1 for record in together)
        self.whole_s += whole_s
        self.generated += sum(map(token_count, together))


def decoded_together(records: Iterable[SampleRecord]) -> list[list[SampleRecord]]:
    """Records that decoded together, in order; one that decoded alone is by itself."""
    groups: dict[tuple[object, ...], list[SampleRecord]] = {}
    for place, record in enumerate(records):
        together = (*_made_by(record), record.label, record.task, record.batch, record.repeat)
        groups.setdefault((place,) if record.batch is None else together, []).append(record)
    return list(groups.values())


def _made_by(record: SampleRecord) -> tuple[int, int, int]:
    return (record.segment, record.replica, record.attempt)


def _unit(record: SampleRecord) -> tuple[object, ...]:
    """What is resampled: the prompt, or the batch, whose sequences shared every step."""
    return prompt_of(record) if record.batch is None else (record.task, "batch", record.batch)


def decode_totals(pairs: Sequence[Pair]) -> dict[frozenset[Prompt], tuple[float, int, float, int]]:
    """Seconds and tokens of decoding for what is resampled: the baseline's, then the strategy's.

    By the prompts that were timed together, one where each decoded alone, so that another run's totals of the
    same prompts stand beside them.

    Args:
        pairs: from ``comparable_in_time``.
    """
    prompts: dict[tuple[object, ...], set[Prompt]] = {}
    for pair in pairs:
        prompts.setdefault(_unit(pair.strategy), set()).add(pair.prompt)
    before = _by_unit(pair.baseline for pair in pairs)
    after = _by_unit(pair.strategy for pair in pairs)
    return {
        frozenset(together): (
            before[unit].decode_s,
            before[unit].decoded,
            after[unit].decode_s,
            after[unit].decoded,
        )
        for unit, together in prompts.items()
    }


def units(pairs: Iterable[Pair]) -> int:
    """How many independent timings some pairs come from: prompts, or batches of them."""
    return len({_unit(pair.strategy) for pair in pairs})


def token_count(record: SampleRecord) -> int:
    """How many tokens a request emitted."""
    return len(record.token_ids or ())


def tpot(record: SampleRecord) -> float | None:
    """Seconds per decoded token: decode seconds / (tokens - 1); None with fewer than two tokens."""
    if record.decode_s is None or token_count(record) < 2:
        return None
    return record.decode_s / (token_count(record) - 1)


def percentiles(values: Iterable[float | None]) -> Percentiles | None:
    """Median and 95th percentile (linear between neighbours) of the values there are; None without any."""
    present = [value for value in values if value is not None]
    if not present:
        return None
    import numpy as np

    p50, p95 = np.percentile(present, [50, 95])
    return Percentiles(p50=float(p50), p95=float(p95))


def tokens_per_second(records: Iterable[SampleRecord]) -> float | None:
    """Decode speed: decoded tokens / decode seconds, totals over all requests with a second token.

    Of sequences that decoded together it is what all of them together were given.
    """
    total = Totals()
    for together in _timed(records):
        total.add(together)
    return total.decoded / total.decode_s if total.decode_s > 0 else None


def _timed(records: Iterable[SampleRecord]) -> list[list[SampleRecord]]:
    return [run for run in decoded_together(records) if any(tpot(record) is not None for record in run)]


def speedups(pairs: Sequence[Pair], noise: float | None = None) -> tuple[Speedup, EndToEndSpeedup] | None:
    """Baseline over strategy in seconds per decoded token, and per generated token with prefill in.

    Both are ratios of totals over prompts, the repeats of a prompt together; over batches of them where
    sequences decoded together. None without pairs.

    Args:
        pairs: from ``comparable_in_time``.
        noise: the baseline's; above the limit, a speedup counts only where it is clearly more than that.
    """
    if not pairs:
        return None
    swing = noise if noise is not None and noise > NOISE_LIMIT else 0.0
    both = _totals(pairs)
    decode, whole = _decode_columns(both), _whole_columns(both)
    interval = speedup_interval(*decode)
    return (
        Speedup(value=_ratio(*decode), ci95=interval, verdict=verdict(interval, swing)),
        EndToEndSpeedup(value=_ratio(*whole), ci95=speedup_interval(*whole)),
    )


def speedup_so_far(pairs: Sequence[Pair]) -> float | None:
    """The value of ``speedups`` without its interval, cheap enough to show while a run goes on."""
    return _ratio(*_decode_columns(_totals(pairs))) if pairs else None


def noise(baseline: Sequence[SampleRecord]) -> float | None:
    """Relative difference of TPOT between the odd and the even requests (or batches) of the baseline.

    Each half's TPOT is a ratio of totals; the difference is taken against both halves together. Odd and
    even are counted within each replica, so that a slower host is not taken for noise. None with fewer than
    4 requests, or batches of them, that decoded.

    Args:
        baseline: its generations, in the order they ran.
    """
    timed = _timed(baseline)
    if len(timed) < _FEWEST_FOR_NOISE:
        return None
    odd_and_even: tuple[list[SampleRecord], list[SampleRecord]] = ([], [])
    turns: Counter[int] = Counter()
    for together in timed:
        replica = together[0].replica
        odd_and_even[turns[replica] % 2].extend(together)
        turns[replica] += 1
    halves = [tokens_per_second(half) for half in odd_and_even]
    overall = tokens_per_second(chain.from_iterable(timed))
    if halves[0] is None or halves[1] is None or overall is None:
        return None
    return abs(1 / halves[0] - 1 / halves[1]) * overall


def _totals(pairs: Sequence[Pair]) -> list[tuple[Totals, Totals]]:
    before = _by_unit(pair.baseline for pair in pairs)
    after = _by_unit(pair.strategy for pair in pairs)
    return [(before[unit], after[unit]) for unit in before]


def _by_unit(records: Iterable[SampleRecord]) -> dict[tuple[object, ...], Totals]:
    totals: dict[tuple[object, ...], Totals] = {}
    for together in decoded_together(records):
        totals.setdefault(_unit(together[0]), Totals()).add(together)
    return totals


def _decode_columns(both: list[tuple[Totals, Totals]]) -> _Columns:
    return (
        [before.decode_s for before, _ in both],
        [before.decoded for before, _ in both],
        [after.decode_s for _, after in both],
        [after.decoded for _, after in both],
    )


def _whole_columns(both: list[tuple[Totals, Totals]]) -> _Columns:
    return (
        [before.whole_s for before, _ in both],
        [before.generated for before, _ in both],
        [after.whole_s for _, after in both],
        [after.generated for _, after in both],
    )


def _ratio(
    baseline_s: Sequence[float],
    baseline_tokens: Sequence[float],
    strategy_s: Sequence[float],
    strategy_tokens: Sequence[float],
) -> float:
    return (sum(baseline_s) / sum(baseline_tokens)) / (sum(strategy_s) / sum(strategy_tokens))
