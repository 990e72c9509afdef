"""The speedup that a judged candidate would have here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lsbench.measurement.ceiling import Work, cycle_seconds
from lsbench.records import StepCost
from lsbench.tuning.cost_model import SublayerCosts, drafting_work, extra_seconds
from lsbench.tuning.judge import Judgement


@dataclass(frozen=True)
class Prediction:
    """What a candidate would cost.

    Attributes:
        speedup: the baseline's seconds a token by the candidate's.
        seconds_per_token: the candidate's.
        baseline_seconds_per_token: a full-depth step.
        work: of a mean cycle, in layers that take as long.
    """

    speedup: float
    seconds_per_token: float
    baseline_seconds_per_token: float
    work: Work


def predict(judgement: Judgement, costs: Sequence[StepCost], num_layers: int) -> Prediction:
    """By what the candidate would run, and what that costs.

    Args:
        judgement: of the candidate.
        costs: of this machine (``execution.costs.measure_costs``): width 1 at least, and the widths that
            verifying uses where it drafts.
        num_layers: L.
    """
    parts = SublayerCosts.of(costs)
    effort = judgement.effort
    if judgement.drafted is None:
        layers = parts.layers(effort.attention, effort.mlp) / judgement.tokens
        work = Work(1, 0, 0, 0, layers=layers)
    else:
        resumed = judgement.resumed_attention, judgement.resumed_mlp
        work = drafting_work(
            judgement.passes,
            judgement.tokens,
            judgement.drafted,
            effort,
            resumed,
            num_layers,
            judgement.draft_head,
            costs,
        )
    seconds = cycle_seconds(work, costs) / work.tokens
    seconds += extra_seconds(effort, judgement.draft_head, costs) / judgement.tokens
    baseline = cycle_seconds(Work(1, 0, 0, 0, layers=num_layers), costs)
    return Prediction(baseline / seconds, seconds, baseline, work)
