"""The rows of a comparison: every strategy of a run, with what its differences are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsbench.comparison import Row
from lsbench.measurement.fidelity import agreement_by_prompt
from lsbench.measurement.pairing import Prompt, comparable_in_time, pair_up
from lsbench.measurement.timing import decode_totals
from lsbench.metrics import StrategyMetrics

if TYPE_CHECKING:
    from lsbench.store.scores import TaskValues
    from lsbench.store.stored_run import StoredRun

Totals = Mapping[frozenset[Prompt], tuple[float, int, float, int]]
"""Seconds and tokens of decoding for what is resampled: the baseline's, then the row's."""


@dataclass(frozen=True)
class MeasuredRow:
    """One row, with what its differences are made from."""

    row: Row
    run: StoredRun
    totals: Totals
    agreement: Mapping[Prompt, tuple[int, int]]
    scores: Mapping[str, TaskValues]
    """Empty in folders of before."""


def measured_rows(key: str, run: StoredRun) -> list[MeasuredRow]:
    """A run's rows, its baseline first."""
    scores = run.scores.strategies if run.scores is not None else {}
    baseline = run.metrics.baseline
    base_row = Row(
        key=f"{key}0",
        run=key,
        label=baseline.strategy,
        is_baseline=True,
        lossless=True,
        claim_failed=False,
        speedup=None,
        tokens_per_second=baseline.tokens_per_second,
        scores=baseline.tasks,
        token_agreement=None,
        acceptance_rate=None,
        mean_accepted_length=None,
        mean_layers=None,
        ceiling=None,
        peak_bytes=baseline.memory.peak_bytes if baseline.memory else None,
    )
    found = [MeasuredRow(base_row, run, {}, {}, scores.get(baseline.strategy, {}))]
    for place, strategy in enumerate(run.metrics.strategies, start=1):
        timed = comparable_in_time(pair_up(run.records, baseline.strategy, strategy.label))
        found.append(
            MeasuredRow(
                _row(f"{key}{place}", key, strategy),
                run,
                decode_totals(timed.pairs),
                agreement_by_prompt(run.records, strategy.label),
                scores.get(strategy.label, {}),
            )
        )
    return found


def _row(key: str, run: str, strategy: StrategyMetrics) -> Row:
    speed, speculation, parity = strategy.speed, strategy.speculation, strategy.parity
    refuted = strategy.certificate is not None and strategy.certificate.refuted
    return Row(
        key=key,
        run=run,
        label=strategy.label,
        is_baseline=False,
        unavailable=strategy.unavailable,
        lossless=strategy.lossless,
        claim_failed=refuted or bool(parity and parity.violations),
        speedup=speed.speedup if speed else None,
        tokens_per_second=speed.tokens_per_second if speed else None,
        scores={task: scores.metrics for task, scores in strategy.tasks.items()},
        token_agreement=strategy.fidelity.token_agreement if strategy.fidelity else None,
        acceptance_rate=speculation.acceptance_rate if speculation else None,
        mean_accepted_length=speculation.mean_accepted_length if speculation else None,
        mean_layers=strategy.depth.mean_layers if strategy.depth else None,
        ceiling=strategy.ceiling,
        peak_bytes=strategy.memory.peak_bytes if strategy.memory else None,
    )
