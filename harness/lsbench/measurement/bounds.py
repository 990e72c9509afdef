"""What a checkpoint leaves room for: the speed of depths and drafts, by where its layers agree with its last.

The arithmetic is that of a run's ceiling (``ceiling``): layers, head and the fixed part of a step as they
were measured, and nothing else. Confidence checks, filling of keys and values, and Python come on top.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lsbench.measurement.ceiling import Work, cycle_seconds
from lsbench.records import StepCost

Flags = npt.NDArray[np.bool_]
MOST_DRAFTED = 16
"""Tokens drafted in a cycle at most: costs are measured up to verifying so many."""


@dataclass(frozen=True)
class Cycles:
    """Drafting and verifying, played through: counts are totals.

    Attributes:
        count: cycles.
        drafted: tokens drafted.
        taken: of these, how many the full model takes.
        tokens: emitted, the full model's own included.
    """

    count: int
    drafted: int
    taken: int
    tokens: int

    def __add__(self, other: Cycles) -> Cycles:
        """Together."""
        return Cycles(
            self.count + other.count,
            self.drafted + other.drafted,
            self.taken + other.taken,
            self.tokens + other.tokens,
        )

    @property
    def acceptance(self) -> float | None:
        """Taken of drafted tokens; None where nothing was drafted."""
        return self.taken / self.drafted if self.drafted else None

    @property
    def tokens_per_cycle(self) -> float:
        """Mean of all cycles."""
        return self.tokens / self.count


@dataclass(frozen=True)
class BestDraft:
    """The number of drafted tokens that makes the most of a draft.

    Attributes:
        num_speculations: K.
        cycles: what comes of it.
        speedup: over decoding token by token.
    """

    num_speculations: int
    cycles: Cycles
    speedup: float


def steady(costs: Sequence[StepCost]) -> tuple[StepCost, ...]:
    """Costs in which no step takes longer than a wider one.

    A step of more tokens reads the same weights and computes more. Where a narrower one was measured to take
    longer, other work fell upon it; a draft would seem to pay by that alone.
    """
    wider: StepCost | None = None
    settled: list[StepCost] = []
    for cost in sorted(costs, key=lambda each: -each.width):
        if wider is not None:
            layer = min(cost.layer_s, wider.layer_s)
            share = layer / cost.layer_s if cost.layer_s else 1.0
            cost = cost.model_copy(
                update={
                    "layer_s": layer,
                    "attention_s": None if cost.attention_s is None else cost.attention_s * share,
                    "mlp_s": None if cost.mlp_s is None else cost.mlp_s * share,
                    "head_s": min(cost.head_s, wider.head_s),
                    "fixed_s": min(cost.fixed_s, wider.fixed_s),
                }
            )
        settled.append(cost)
        wider = cost
    return tuple(sorted(settled, key=lambda each: each.width))


def speedup_of(work: Work, costs: Sequence[StepCost], num_layers: int) -> float:
    """Seconds a token of decoding one by one at full depth, by those of ``work``.

    Args:
        work: of a mean cycle.
        costs: of this machine, by width.
        num_layers: L.
    """
    plain = Work(tokens=1, drafted=0, draft_layers=0, resumed_layers=0, layers=num_layers)
    return work.tokens * cycle_seconds(plain, costs) / cycle_seconds(work, costs)


def depth_speedup(layers: float, costs: Sequence[StepCost], num_layers: int) -> float:
    """Of tokens that stop after ``layers`` layers, on average."""
    return speedup_of(Work(1, 0, 0, 0, layers=layers), costs, num_layers)


def play(agrees: Iterable[bool], num_speculations: int) -> Cycles:
    """Draft and verify one text greedily.

    Args:
        agrees: for each place of the text, whether the draft, having seen the text before it, proposes what
            the full model chose there.
        num_speculations: K, drafted in a cycle; fewer where the text ends before.
    """
    right = list(agrees)
    count = drafted = taken = place = 0
    while place < len(right):
        # The full model's own token ends a cycle, so the last one of a text is never drafted.
        asked = min(num_speculations, len(right) - place - 1)
        run = 0
        while run < asked and right[place + run]:
            run += 1
        count, drafted, taken, place = count + 1, drafted + asked, taken + run, place + run + 1
    return Cycles(count, drafted, taken, len(right))


def draft_speedup(
    cycles: Cycles,
    draft_layers: float,
    resumed_layers: float,
    costs: Sequence[StepCost],
    num_layers: int,
    head: float = 1.0,
) -> float:
    """Of drafting and verifying.

    Args:
        cycles: at least one.
        draft_layers: run for each drafted token.
        resumed_layers: of these, the leading ones that verifying takes over.
        costs: of this machine, by width.
        num_layers: L.
        head: the share of the head that a drafted token reads.
    """
    work = Work(
        tokens=cycles.tokens_per_cycle,
        drafted=cycles.drafted / cycles.count,
        draft_layers=draft_layers if cycles.drafted else 0,
        resumed_layers=resumed_layers if cycles.drafted else 0,
        layers=num_layers,
        draft_head=head,
    )
    return speedup_of(work, costs, num_layers)


def best_draft(
    texts: Sequence[Flags],
    draft_layers: float,
    resumed_layers: float,
    costs: Sequence[StepCost],
    num_layers: int,
    head: float = 1.0,
    lengths: Iterable[int] = range(1, MOST_DRAFTED + 1),
) -> BestDraft:
    """The best number of tokens to draft over some texts; ``play`` and ``draft_speedup`` say how.

    Args:
        texts: where the draft agrees, of each.
        draft_layers, resumed_layers, costs, num_layers, head: as ``draft_speedup`` takes them.
        lengths: the numbers that are tried.
    """
    found: list[BestDraft] = []
    for length in lengths:
        cycles = sum((play(text.tolist(), length) for text in texts), Cycles(0, 0, 0, 0))
        speedup = draft_speedup(cycles, draft_layers, resumed_layers, costs, num_layers, head)
        found.append(BestDraft(length, cycles, speedup))
    return max(found, key=lambda each: each.speedup)


def upper_share(agreed: int, compared: int) -> float:
    """What a share may be at the most by what was seen of it: the upper end of Wilson's 95 % interval."""
    from scipy.stats import binomtest

    return float(binomtest(agreed, compared).proportion_ci(method="wilson").high)
