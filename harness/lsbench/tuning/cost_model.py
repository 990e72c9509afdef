"""What a candidate would cost a token on this machine, from what it would run and what that costs here.

The arithmetic is that of a run's ceiling (``measurement.ceiling``), with everything in that a run reports as
lacking to it and that can be told beforehand: looks, fills, and older positions that ride along. Sub-layers
count by the seconds they take, not by their bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lsbench.measurement.ceiling import Work, cycle_seconds, riding_seconds
from lsbench.records import StepCost
from lsbench.tuning.cycles import Cycle, CycleCost, Effort


@dataclass(frozen=True)
class SublayerCosts:
    """What an attention and an MLP count as parts of a layer, by their seconds at width 1; 1 in all."""

    attention: float
    mlp: float

    @classmethod
    def of(cls, costs: Sequence[StepCost]) -> SublayerCosts:
        """Halves where the two were not told apart."""
        alone = next((cost for cost in costs if cost.width == 1), None)
        if alone is None or alone.attention_s is None or alone.mlp_s is None or alone.layer_s <= 0:
            return cls(0.5, 0.5)
        return cls(alone.attention_s / alone.layer_s, alone.mlp_s / alone.layer_s)

    def layers(self, attention: float, mlp: float) -> float:
        """Sub-layers as so many layers."""
        return attention * self.attention + mlp * self.mlp


def extra_seconds(effort: Effort, draft_head: float, costs: Sequence[StepCost]) -> float:
    """What looks, fills and riding along take beside the layers, as ``ceiling.remainder`` counts them.

    Args:
        effort: of all.
        draft_head: share of the head that a look reads.
        costs: of this machine; what was not measured counts as nothing.
    """
    alone = next((cost for cost in costs if cost.width == 1), None)
    if alone is None:
        return 0.0
    seconds = effort.spare_heads * draft_head * alone.head_s
    seconds += effort.checks * (alone.check_s or 0.0) + effort.filled * (alone.fill_s or 0.0)
    return seconds + riding_seconds(effort.older_rows, effort.own_passes, effort.ridden, costs)


def drafting_work(
    cycles: int,
    tokens: float,
    drafted: float,
    effort: Effort,
    resumed: tuple[float, float],
    num_layers: int,
    draft_head: float,
    costs: Sequence[StepCost],
) -> Work:
    """The mean cycle of some that draft.

    Args:
        cycles: how many.
        tokens: emitted by all.
        drafted: by all.
        effort: of drafting all.
        resumed: attention and MLP sub-layers that verifying takes over, of all.
        num_layers: L.
        draft_head: share of the head that is read for each drafted token.
        costs: of this machine.
    """
    parts = SublayerCosts.of(costs)
    if not drafted:
        return Work(tokens / cycles, 0, 0, 0, layers=num_layers)
    return Work(
        tokens=tokens / cycles,
        drafted=drafted / cycles,
        draft_layers=parts.layers(effort.attention, effort.mlp) / drafted,
        resumed_layers=parts.layers(*resumed) / drafted,
        layers=num_layers,
        draft_head=draft_head,
    )


def cycle_costs(costs: Sequence[StepCost], num_layers: int, draft_head: float) -> CycleCost:
    """What drafting and verifying cost in a cycle, in seconds.

    Args:
        costs: of this machine.
        num_layers: L.
        draft_head: share of the head that is read for each drafted token.
    """

    def of(cycle: Cycle) -> tuple[float, float]:
        resumed = cycle.resumed_attention, cycle.resumed_mlp
        work = drafting_work(1, 1, cycle.drafted, cycle.effort, resumed, num_layers, draft_head, costs)
        verifying = cycle_seconds(Work(1, work.drafted, 0, work.resumed_layers, layers=num_layers), costs)
        drafting = cycle_seconds(work, costs) - verifying
        return drafting + extra_seconds(cycle.effort, draft_head, costs), verifying

    return of
