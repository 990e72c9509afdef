"""Ladders of nested skip sets, by what their sub-layers weigh.

A ladder is an order in which sub-layers are left out, least harmful first, and some rungs on it, each leaving
out a longer beginning of that order. So every rung's skip set holds the one before it. What is measured out
along it are the bytes of weights that a token reads, never a count of sub-layers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from lsbench.strategy import BadInput
from lsbench_strategies.skip_set import Granularity, Unit

_DEFAULT_RUNGS = 3
_ROUNDING = 1e-9
"""Relative slack of a sum of shares: three thirds make a whole."""


@dataclass(frozen=True)
class Ladder:
    """Nested skip sets.

    Attributes:
        rungs: sub-layer indices left out on each rung; rung 0 is empty, the last is the largest.
    """

    rungs: tuple[frozenset[int], ...]


def rank_units(
    influence: Sequence[float], weights: Sequence[int], granularity: Granularity, kept_layers: int
) -> tuple[Unit, ...]:
    """Units by block influence per byte saved, least first.

    Args:
        influence: [2L] block influence of each sub-layer.
        weights: [2L] bytes of each.
        granularity: whether a unit is a sub-layer or a whole layer (whose influence is the sum of its two).
        kept_layers: the first layers, which are never left out.
    """
    indices = range(2 * kept_layers, len(weights))
    if granularity == "layer":
        units: list[Unit] = [(j, j + 1) for j in indices if j % 2 == 0]
    else:
        units = [(j,) for j in indices]
    return tuple(
        sorted(units, key=lambda unit: sum(influence[j] for j in unit) / sum(weights[j] for j in unit))
    )


def build_ladder(
    order: Sequence[Unit],
    weights: Sequence[int],
    max_skip_ratio: float,
    rungs: int | None,
    given_by: str = "rungs",
) -> Ladder:
    """Nested skip sets along ``order``.

    Args:
        order: units, first left out first; one that no longer fits the allowance is passed over.
        weights: [2L] bytes of each sub-layer.
        max_skip_ratio: share of the sub-layers' bytes that no rung exceeds.
        rungs: how many, the empty one not counted; None is three, or as many as there are units for.
        given_by: the option that says how many.

    Returns:
        the last rung leaves out all that fits. Rung r of R leaves out the longest beginning of it that weighs
        no more than r/R of its bytes, but at least one unit more than the rung before.

    Raises:
        BadInput: the allowance is too small for any unit, or for as many different rungs.
    """
    chosen, reached = _within(order, weights, max_skip_ratio)
    if not chosen:
        lightest = min((sum(weights[j] for j in unit) for unit in order), default=0) / sum(weights)
        raise BadInput(
            f"--strategy dynamic_skip: max_skip_ratio={max_skip_ratio:g} leaves out nothing: the lightest "
            f"part is {lightest:.3f} of the layers' weights"
        )
    count = min(_DEFAULT_RUNGS, len(chosen)) if rungs is None else rungs
    if count > len(chosen):
        raise BadInput(
            f"--strategy dynamic_skip: {given_by} asks for {count} different skip sets, but within "
            f"max_skip_ratio={max_skip_ratio:g} there is room for {len(chosen)}"
        )
    return _divided(chosen, reached, count)


def rebuilt_ladder(
    order: Sequence[Unit], weights: Sequence[int], max_skip_ratio: float, rungs: int
) -> Ladder:
    """Another ladder in place of one that ``build_ladder`` made, along a new order of the same units.

    Args:
        order: units, first left out first.
        weights: [2L] bytes of each sub-layer.
        max_skip_ratio: share of the sub-layers' bytes that no rung exceeds.
        rungs: how many there were, the empty one not counted, and will be: where heavier units stand first
            and fewer of them fit, the last rungs are alike.
    """
    chosen, reached = _within(order, weights, max_skip_ratio)
    ladder = _divided(chosen, reached, min(rungs, len(chosen)))
    return Ladder(ladder.rungs + ladder.rungs[-1:] * (rungs + 1 - len(ladder.rungs)))


def _within(
    order: Sequence[Unit], weights: Sequence[int], max_skip_ratio: float
) -> tuple[list[Unit], list[float]]:
    """The units that fit the allowance, and the bytes of each beginning of them."""
    allowance = max_skip_ratio * sum(weights) * (1 + _ROUNDING)
    chosen: list[Unit] = []
    reached: list[float] = []
    for unit in order:
        total = (reached[-1] if reached else 0) + sum(weights[j] for j in unit)
        if total <= allowance:
            chosen.append(unit)
            reached.append(total)
    return chosen, reached


def _divided(chosen: Sequence[Unit], reached: Sequence[float], count: int) -> Ladder:
    sets, length = [frozenset[int]()], 0
    for rung in range(1, count + 1):
        fitting = bisect_right(reached, reached[-1] * rung / count * (1 + _ROUNDING))
        length = min(max(fitting, length + 1), len(chosen) - (count - rung))
        sets.append(frozenset(j for unit in chosen[:length] for j in unit))
    return Ladder(tuple(sets))
