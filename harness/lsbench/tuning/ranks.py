"""What is asked of the ranks that hold the model; each function runs there, beside a loaded worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from lsbench.metrics import Interval
from lsbench.records import StepCost
from lsbench.spec import GenerateRequest, StrategyChoice

if TYPE_CHECKING:
    from lsbench.engine.stack import DecoderStack
    from lsbench.execution.worker import Worker
    from lsbench.tuning.judge import Judge


@dataclass(frozen=True)
class Judged:
    """What a candidate is predicted to be.

    Attributes:
        speedup: over the baseline.
        quality: share of the baseline's tokens that it would have chosen too.
        quality_ci95: of that, over prompts.
        acceptance: of drafted tokens; None where nothing is drafted.
        mean_layers: run for each token; None where drafts are verified.
        prompts: how many it was judged by.
    """

    speedup: float
    quality: float
    quality_ci95: Interval | None
    acceptance: float | None
    mean_layers: float | None
    prompts: int


@dataclass(frozen=True)
class Unjudged:
    """Only timing tells anything of it, and why."""

    reason: str


@dataclass(frozen=True)
class _Court:
    judge: Judge
    costs: tuple[StepCost, ...]


_COURTS: WeakKeyDictionary[DecoderStack, _Court] = WeakKeyDictionary()


def measure(worker: Worker, typical: GenerateRequest) -> tuple[StepCost, ...]:
    """What the parts of a step cost at every width that any strategy uses."""
    from lsbench.execution.costs import measure_costs
    from lsbench.execution.step_widths import DRAFTING_WIDTHS

    return measure_costs(worker.stack, typical.prompt_tokens, DRAFTING_WIDTHS, typical.sampling)


def prepare_to_judge(
    worker: Worker,
    requests: Sequence[GenerateRequest],
    model_sha256: str,
    folder: Path,
    costs: tuple[StepCost, ...],
) -> int:
    """Have the full model continue the tuning prompts, and keep what it computed.

    Returns:
        how many prompts candidates are judged by: those with a second token.
    """
    from lsbench.tuning.judge import Judge
    from lsbench.tuning.references import make_references

    here = folder if folder.is_dir() else None
    references = make_references(worker.stack, worker.tokenizer, requests, model_sha256, here)
    if references.references:
        _COURTS[worker.stack] = _Court(Judge(references, costs), costs)
    return len(references.references)


def judge(worker: Worker, choice: StrategyChoice) -> Judged | Unjudged:
    """What a strategy would come to; ``prepare_to_judge`` comes before.

    Raises:
        Exception: whatever the strategy raises.
    """
    from lsbench.measurement.statistics import ratio_of_totals_interval
    from lsbench.strategy.registry import resolve
    from lsbench.tuning.judge import Judgement
    from lsbench.tuning.predict import predict

    court = _COURTS[worker.stack]
    strategy = resolve(choice)
    strategy.prepare(worker.preparation)
    found = court.judge.judge(strategy)
    if not isinstance(found, Judgement):
        return Unjudged(found.reason)
    agreed = [each.agreed for each in found.agreement]
    compared = [each.compared for each in found.agreement]
    return Judged(
        speedup=predict(found, court.costs, worker.stack.num_layers).speedup,
        quality=found.token_agreement,
        quality_ci95=ratio_of_totals_interval(agreed, compared),
        acceptance=found.acceptance_rate,
        mean_layers=found.mean_layers,
        prompts=len(found.agreement),
    )


def losses(
    worker: Worker,
    choices: Sequence[StrategyChoice],
    requests: Sequence[GenerateRequest],
    model_sha256: str,
) -> list[list[float]]:
    """For each strategy, on each prompt, the share of the full model's tokens that it would not have chosen.

    Raises:
        ValueError: one can only be timed.
        Exception: whatever a strategy raises.
    """
    from lsbench.strategy.registry import resolve
    from lsbench.tuning.judge import Judge, Judgement
    from lsbench.tuning.references import make_references

    strategies = [resolve(choice) for choice in choices]
    for strategy in strategies:
        strategy.prepare(worker.preparation)
    found: list[list[float]] = [[] for _ in choices]
    for request in requests:
        # One after the other: what is kept of a prompt is large.
        references = make_references(worker.stack, worker.tokenizer, [request], model_sha256)
        if not references.references:
            continue
        court = Judge(references, ())
        for own, strategy in zip(found, strategies, strict=True):
            judgement = court.judge(strategy)
            if not isinstance(judgement, Judgement):
                raise ValueError(judgement.reason)
            (agreement,) = judgement.agreement
            own.append(1 - agreement.agreed / agreement.compared)
    return found


def parts_of_model(worker: Worker) -> list[tuple[str, float, float]]:
    """Each sub-layer as skip sets name it, its block influence on calibration prompts, and its bytes."""
    influence = worker.preparation.influence.tolist()
    return [
        (f"{place // 2 + 1}.{'mlp' if place % 2 else 'attention'}", influence[place], float(size))
        for place, size in enumerate(worker.stack.sublayer_bytes)
    ]
