"""From records and scores to ``metrics.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lsbench.measurement import notes
from lsbench.measurement.ceiling import bandwidth_fraction, ceiling
from lsbench.measurement.certificate import about_certificate, certificates
from lsbench.measurement.depth import depth, memory, speculation
from lsbench.measurement.fidelity import fidelity
from lsbench.measurement.pairing import (
    Pairing,
    comparable_in_time,
    first_attempts,
    generations,
    pair_up,
)
from lsbench.measurement.parity import about_parity, parity
from lsbench.measurement.quality import task_scores
from lsbench.measurement.time_shares import time_shares
from lsbench.measurement.timing import (
    noise,
    percentiles,
    speedups,
    token_count,
    tokens_per_second,
    tpot,
    units,
)
from lsbench.metrics import BaselineMetrics, Metrics, ModelInfo, Speed, Status, StrategyMetrics, TaskScores
from lsbench.records import LoopTimes, SampleRecord, StepCost
from lsbench.spec import StrategyChoice
from lsbench.store.scores import Scored

if TYPE_CHECKING:
    from lsbench.store.manifest import Manifest


@dataclass(frozen=True)
class RunContext:
    """What the records do not say themselves about the run they come from."""

    run_id: str
    status: Status
    model: ModelInfo
    baseline: str
    """Label of the baseline."""
    strategies: tuple[StrategyChoice, ...]
    """In the order they were asked for."""
    load_average: float | None = None
    """Over the minute before the run began."""
    cores: int | None = None
    """Logical cores the run could use."""
    notes: tuple[str, ...] = ()
    """What the run noted; repeated first."""
    costs: tuple[StepCost, ...] = ()
    """What the parts of a step cost where it ran, by width."""
    loop_times: tuple[LoopTimes, ...] = ()
    """Of those who decode in loops of their own."""
    bytes_per_second: float | None = None
    """Memory bandwidth there; None where it was not measured."""
    replicas: int = 1
    """Copies of the model."""
    ranks: int = 1
    """Processes that shared each."""
    unavailable: Mapping[str, str] = field(default_factory=dict)
    """Which strategies could not run, by label, and why."""
    shared: bool = False
    """Whether these processes got in each other's way."""


def context_of(manifest: Manifest) -> RunContext:
    """The context of a stored run.

    Raises:
        ValueError: the run stopped before its model was found, so there is nothing to conclude.
    """
    if manifest.model is None:
        raise ValueError(f"run {manifest.run_id} has no model yet")
    # A run that was resumed elsewhere is told by the segment that shared, if any did.
    placed = max(manifest.placements, key=lambda placement: placement.shared, default=None)
    return RunContext(
        run_id=manifest.run_id,
        status=manifest.status,
        model=manifest.model.info,
        baseline=manifest.spec.baseline,
        strategies=manifest.spec.strategies,
        load_average=manifest.load_average[0] if manifest.load_average else None,
        cores=manifest.hardware.cores,
        notes=manifest.notes,
        costs=manifest.costs,
        loop_times=manifest.loop_times,
        bytes_per_second=manifest.bandwidth.bytes_per_second if manifest.bandwidth else None,
        replicas=placed.replicas if placed else 1,
        ranks=placed.tensor_parallel if placed else 1,
        shared=placed is not None and placed.shared,
        unavailable=manifest.unavailable,
    )


def summarise(
    context: RunContext,
    records: Sequence[SampleRecord],
    scored: Mapping[str, Mapping[str, Scored]],
    lossless: Mapping[str, bool],
) -> Metrics:
    """Conclude from a run's records and scores.

    Args:
        context: which run this is.
        records: all of its records, one a request and label, in the order they were written.
        scored: by label, then task; labels and tasks without scores may be missing.
        lossless: by label, whether the strategy claims to be; a missing label does not.

    The baseline itself, if it was also asked for as a strategy, is not compared with itself.
    """
    ours = [record for record in records if record.label == context.baseline]
    written = generations(records, context.baseline)
    in_time = first_attempts(written)
    baseline_scores = scored.get(context.baseline, {})
    shares, no_shares = time_shares(in_time, context.costs, context.model.num_layers, context.loop_times)
    baseline = BaselineMetrics(
        strategy=context.baseline,
        tokens_per_second=tokens_per_second(in_time),
        ttft_s=percentiles(record.ttft_s for record in in_time),
        tpot_s=percentiles(map(tpot, in_time)),
        generated_tokens=sum(map(token_count, written)),
        tasks={task: dict(scores.metrics) for task, scores in baseline_scores.items()},
        noise=noise(in_time),
        memory=memory(ours),
        bandwidth_fraction=bandwidth_fraction(
            written, context.costs, context.model.num_layers, context.bytes_per_second
        ),
        time_shares=shares,
        no_time_shares=no_shares,
    )
    said = [*context.notes, *notes.about_machine(baseline.noise, context.load_average, context.cores)]
    said += notes.about_placement(context.replicas, context.ranks, context.shared)
    said += notes.about_retries(records)
    said += notes.about_bandwidth(baseline.bandwidth_fraction)
    said += notes.about_batches(written)
    said += notes.about_failures(ours, context.baseline)
    strategies: list[StrategyMetrics] = []
    asked = [choice.label for choice in context.strategies if choice.label != context.baseline]
    tested = [label for label in asked if lossless.get(label, False) and label not in context.unavailable]
    certified = certificates(records, tested)
    for choice in context.strategies:
        if choice.label == context.baseline:
            said.append(f"{choice.label} is the baseline itself; it is not compared with itself.")
            continue
        claims = lossless.get(choice.label, False)
        why = context.unavailable.get(choice.label)
        if why is not None and not any(record.label == choice.label for record in records):
            strategies.append(_absent(choice, claims, why))
            continue
        metrics, left_out = _strategy(context, choice, records, claims, scored, baseline.noise)
        metrics = metrics.model_copy(update={"certificate": certified.get(choice.label)})
        strategies.append(metrics)
        said += about_parity(records, choice.label)
        said += about_certificate(choice.label, metrics.certificate, records)
        said += notes.about_ceiling(choice.label, metrics.ceiling)
        said += notes.about_pairs(choice.label, metrics.speed, left_out)
        said += notes.about_lengths(
            choice.label, generations(records, choice.label), generations(records, context.baseline)
        )
        said += notes.about_failures([r for r in records if r.label == choice.label], choice.label)
        said += notes.about_tasks(choice.label, metrics.tasks, baseline.tasks, metrics.fidelity)
    return Metrics(
        run_id=context.run_id,
        status=context.status,
        model=context.model,
        baseline=baseline,
        strategies=tuple(strategies),
        notes=tuple(dict.fromkeys(said)),
    )


def _absent(choice: StrategyChoice, claims_lossless: bool, why: str) -> StrategyMetrics:
    """What there is to say of a strategy that could not run."""
    return StrategyMetrics(
        name=choice.name,
        options=choice.options,
        label=choice.label,
        unavailable=why,
        lossless=claims_lossless,
        tasks={},
        speed=None,
        depth=None,
        fidelity=None,
        speculation=None,
        parity=None,
        ceiling=None,
        memory=None,
    )


def _strategy(
    context: RunContext,
    choice: StrategyChoice,
    records: Sequence[SampleRecord],
    claims_lossless: bool,
    scored: Mapping[str, Mapping[str, Scored]],
    noise_found: float | None,
) -> tuple[StrategyMetrics, Mapping[str, int]]:
    """One strategy's metrics, and why prompts are missing from its speedup."""
    label = choice.label
    ours = [record for record in records if record.label == label and record.error is None]
    written = generations(records, label)
    pairing = pair_up(records, context.baseline, label)
    timed = comparable_in_time(pairing)
    generating = {record.task for record in records if record.kind == "generate"}
    tasks: dict[str, TaskScores] = {
        task: task_scores(
            scores,
            scored.get(context.baseline, {}).get(task),
            affected=not claims_lossless or task in generating,
        )
        for task, scores in scored.get(label, {}).items()
    }
    speed = _speed(written, timed, noise_found)
    measured = speed.speedup.value if speed is not None and speed.speedup is not None else None
    shares, no_shares = time_shares(
        first_attempts(written), context.costs, context.model.num_layers, context.loop_times
    )
    metrics = StrategyMetrics(
        name=choice.name,
        options=choice.options,
        label=label,
        lossless=claims_lossless,
        tasks=tasks,
        speed=speed,
        depth=depth(written, context.model.num_layers),
        fidelity=fidelity(pairing.pairs, records, label),
        speculation=speculation(written),
        parity=parity(records, label),
        ceiling=ceiling(
            written,
            generations(records, context.baseline),
            context.costs,
            context.model.num_layers,
            measured,
            context.bytes_per_second,
        ),
        memory=memory(ours),
        time_shares=shares,
        no_time_shares=no_shares,
    )
    return metrics, timed.left_out


def _speed(written: Sequence[SampleRecord], timed: Pairing, noise_found: float | None) -> Speed | None:
    if not written:
        return None
    ratios = speedups(timed.pairs, noise_found)
    in_time = first_attempts(written)
    return Speed(
        speedup=ratios[0] if ratios else None,
        end_to_end_speedup=ratios[1] if ratios else None,
        tokens_per_second=tokens_per_second(in_time),
        ttft_s=percentiles(record.ttft_s for record in in_time),
        tpot_s=percentiles(map(tpot, in_time)),
        generated_tokens=sum(map(token_count, written)),
        pairs=len({pair.prompt for pair in timed.pairs}),
        batches=units(timed.pairs) if any(pair.strategy.batch is not None for pair in timed.pairs) else None,
    )
