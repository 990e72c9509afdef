"""Cycles of drafting and verifying, played through on what is known of a draft: no model runs.

A table says of places in a reference, and of every place of a cycle that begins there, what the draft would
propose while all it proposed before was right. How many tokens a cycle has taken follows exactly, for any
number of speculations and any confidence to stop at; what a draft does after a token that is wrong is taken
to be like the rest of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from lsbench.strategy.draft_length import DraftLength
from lsbench.tuning.draft_table import DraftTable, Until
from lsbench.tuning.riding import riding


@dataclass(frozen=True)
class Effort:
    """What rows cost, in all. Numbers are expectations where a draft went on after a wrong token.

    Attributes:
        attention, mlp: sub-layers run.
        layers: layers run, one run in part by its share of weight bytes.
        checks, spare_heads, filled: as ``lsbench.engine.tally.Tally`` counts them.
        older_rows, own_passes, ridden: likewise.
    """

    attention: float = 0.0
    mlp: float = 0.0
    layers: float = 0.0
    checks: float = 0.0
    spare_heads: float = 0.0
    filled: float = 0.0
    older_rows: float = 0.0
    own_passes: float = 0.0
    ridden: float = 0.0

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


class TableCycles:
    """The cycles of one generation by what a table says, in their order (a ``NextCycle``).

    What a draft does after a token that is wrong is taken to be like the rest of it: all that is known, where
    that is all there is, else all of this generation up to there.

    Args:
        table: of the reference.
        until: where the draft ends a cycle.
    """

    def __init__(self, table: DraftTable, until: Until) -> None:
        self._table, self._until = table, until
        self._seen: list[int] = []

    def __call__(self, first: int, count: int) -> Cycle:
        """The cycle that begins at a place.

        Args:
            first: place of the last token out.
            count: tokens to draft at most.

        Raises:
            NotDrafted: the table does not know it.
        """
        table, rows = self._table, self._table.cycle(first, count, self._until)
        if not rows:
            return Cycle(first, 0.0, 0, Effort(), 0.0, 0.0)
        every = table.rows
        taken = int(every.agrees[rows].sum())
        unknown = 0 if table.stops(rows[-1], self._until) else count - len(rows)
        self._seen += rows
        rode = riding(every.runs[rows], every.frontier[rows].tolist(), every.rides)
        attention = float(sum((at + 1) // 2 for at in rode.frontier))
        mlp = float(sum(at // 2 for at in rode.frontier))
        work, further = every.work[rows].sum(axis=0), 0.0
        if unknown:
            like = every if table.whole else every.at(np.array(self._seen))
            further = _expected(unknown, float((like.chances >= self._until.below).mean()))
            work = work + further * like.work.mean(axis=0)
            attention += further * float(((like.frontier + 1) // 2).mean())
            mlp += further * float((like.frontier // 2).mean())
        # The token after the last one taken is the full model's, and may be beyond the reference.
        return Cycle(
            first=first,
            drafted=len(rows) + further,
            taken=taken,
            effort=Effort(
                *work.tolist(), older_rows=rode.older_rows, own_passes=rode.own_passes, ridden=rode.ridden
            ),
            resumed_attention=attention,
            resumed_mlp=mlp,
        )


def _expected(most: int, sure: float) -> float:
    """How many more are drafted, if each but the first follows another with probability ``sure``."""
    return float(sum(sure**place for place in range(most)))
