"""Cycles of drafting and verifying, played through on what is known of a draft: no model runs.

A table says of every place in a reference, and of every place of a cycle that begins there, what the draft
would propose while all it proposed before was right. How many tokens a cycle has taken follows exactly, for
any number of speculations and any confidence to stop at; what a draft does after a token that is wrong is
taken to be like the rest of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from lsbench.strategy.draft_length import DraftLength

Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DraftTable:
    """What a draft proposes after each token of a reference of n tokens, R = n - 1 places.

    Attributes:
        index: [R, M] place and tokens drafted before it in its cycle, to a row of the other arrays; -1 where
            one of those was wrong, or the reference has ended. M is the longest cycle that is known.
        choices: [N] token ids.
        agrees: [N] bool, whether it is the reference's.
        chances: [N] the draft's own probability of its choice.
        work: [N, 6] what each row cost: ``Effort``'s attention, mlp, layers, checks, spare_heads and filled.
        frontier: [N] leading sub-layers that ran exactly; 2L where all did.
        end: [N] one past the last sub-layer that ran.
        rides: whether a position left early rides along with a later one that goes deeper.
    """

    index: Indices
    choices: Indices
    agrees: npt.NDArray[np.bool_]
    chances: Numbers
    work: Numbers
    frontier: Indices
    end: Indices
    rides: bool

    @property
    def places(self) -> int:
        """R."""
        return len(self.index)

    @property
    def longest(self) -> int:
        """M."""
        return self.index.shape[1]

    def sure_beyond(self, stop_below: float) -> float:
        """The share of its proposals that do not end a cycle: their chance is at least ``stop_below``."""
        return float((self.chances >= stop_below).mean())


@dataclass(frozen=True)
class Effort:
    """What rows cost, in all. Numbers are expectations where a draft went on after a wrong token.

    Attributes:
        attention, mlp: sub-layers run.
        layers: layers run, one run in part by its share of weight bytes.
        checks, spare_heads, filled: as ``lsbench.engine.tally.Tally`` counts them.
        older_rows: likewise.
    """

    attention: float = 0.0
    mlp: float = 0.0
    layers: float = 0.0
    checks: float = 0.0
    spare_heads: float = 0.0
    filled: float = 0.0
    older_rows: float = 0.0

    def __add__(self, other: Effort) -> Effort:
        """Together."""
        return Effort(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Cycle:
    """One cycle.

    Attributes:
        first: place of the last token out before it.
        drafted: how many tokens it drafts; a fraction is an expectation.
        taken: how many the full model takes, those after the end of the reference not counted.
        effort: what drafting costs.
        resumed_attention, resumed_mlp: sub-layers of drafted positions that verifying need not run again.
    """

    first: int
    drafted: float
    taken: int
    effort: Effort
    resumed_attention: float
    resumed_mlp: float


CycleCost = Callable[[Cycle], tuple[float, float]]
"""What drafting and verifying cost in a cycle."""
NextCycle = Callable[[int, int], Cycle]
"""Given the place of the last token out and how many to draft at most, the cycle that begins there."""


def play(
    cycle: NextCycle,
    places: int,
    num_speculations: int,
    max_new_tokens: int,
    length: DraftLength | None = None,
    cost: CycleCost | None = None,
) -> list[Cycle]:
    """All cycles of a generation.

    Args:
        cycle: one of them.
        places: R, after each of which a token of the reference is to come.
        num_speculations: K.
        max_new_tokens: of the request; nothing is drafted that it would cut off.
        length: decides how many tokens to draft, by costs; None drafts K.
        cost: given with ``length``.
    """
    cycles: list[Cycle] = []
    first, left = 0, max_new_tokens - 1
    while first < places and left > 0:
        count = min(num_speculations if length is None else length.choose(), left - 1)
        made = cycle(first, count)
        cycles.append(made)
        if length is not None and cost is not None:
            length.record(round(made.drafted), made.taken, *cost(made))
        first += made.taken + 1
        left -= made.taken + 1
    return cycles


def table_cycle(
    table: DraftTable, stop_below: float, ends: AbstractSet[int], first: int, count: int
) -> Cycle:
    """A cycle by what a table says.

    Args:
        table: of the reference; it knows cycles of at least ``count``.
        stop_below: a token of a smaller chance is the last of its cycle.
        ends: token ids after which nothing is drafted.
        first: place of the last token out.
        count: tokens to draft at most.
    """
    rows: list[int] = []
    taken, unknown = 0, 0
    for place in range(count):
        row = int(table.index[first, place]) if first + place < table.places else -1
        if row < 0:
            unknown = count - place
            break
        rows.append(row)
        taken += bool(table.agrees[row])
        if table.choices[row] in ends or table.chances[row] < stop_below:
            break
        if not table.agrees[row]:
            unknown = count - place - 1
            break
    further = _expected(unknown, table.sure_beyond(stop_below)) if unknown else 0.0
    frontier, older = ridden(table.frontier[rows].tolist(), table.end[rows].tolist(), table.rides)
    attention = float(sum((at + 1) // 2 for at in frontier))
    mlp = float(sum(at // 2 for at in frontier))
    work = table.work[rows].sum(axis=0)
    if further:
        work = work + further * table.work.mean(axis=0)
        attention += further * float(((table.frontier + 1) // 2).mean())
        mlp += further * float((table.frontier // 2).mean())
    # The token after the last one taken is the full model's, and may be beyond the reference.
    return Cycle(
        first=first,
        drafted=len(rows) + further,
        taken=taken,
        effort=Effort(*work.tolist(), older_rows=older),
        resumed_attention=attention,
        resumed_mlp=mlp,
    )


def _expected(most: int, sure: float) -> float:
    """How many more are drafted, if each but the first follows another with probability ``sure``."""
    return float(sum(sure**place for place in range(most)))


def ridden(frontier: Sequence[int], ends: Sequence[int], rides: bool) -> tuple[list[int], int]:
    """How far positions are exact once later ones have taken them along, and what that ran.

    Args:
        frontier: of each position, in order, when its own step was over.
        ends: one past the last sub-layer that each ran.
        rides: whether what was left out is made when a later one goes deeper.

    Returns:
        the frontiers, and the sub-layers that positions ran in the steps of later ones.
    """
    reached, older = list(frontier), 0
    if not rides:
        return reached, older
    pending: set[int] = set()
    for place, end in enumerate(ends):
        for earlier in [each for each in pending if reached[each] < end]:
            older += end - reached[earlier]
            reached[earlier] = end
        # One that goes on after a gap is exact no further, and has left nothing but what it skipped.
        if reached[place] == end:
            pending.add(place)
    return reached, older
