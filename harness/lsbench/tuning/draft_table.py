"""What a draft proposes, place by place of a reference: as far as any candidate's cycles asked for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Proposals:
    """N tokens that a draft proposed, each from the true text before it.

    Attributes:
        choices: [N] token ids.
        agrees: [N] bool, whether it is the reference's.
        chances: [N] the draft's own probability of its choice.
        work: [N, 6] what each row cost: ``Effort``'s attention, mlp, layers, checks, spare_heads and filled.
        frontier: [N] leading sub-layers that ran exactly; 2L where all did.
        runs: [N, 2L] bool, the sub-layers that ran.
        rides: whether a position left early rides along with a later one that goes deeper.
    """

    choices: Indices
    agrees: npt.NDArray[np.bool_]
    chances: Numbers
    work: Numbers
    frontier: Indices
    runs: npt.NDArray[np.bool_]
    rides: bool

    def __len__(self) -> int:
        """N."""
        return len(self.choices)

    @classmethod
    def joined(cls, parts: Sequence[Proposals]) -> Proposals:
        """One after the other."""
        columns = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(cls)
            if field.name != "rides"
        }
        return cls(**columns, rides=any(part.rides for part in parts))

    def at(self, rows: Indices) -> Proposals:
        """Those of some rows."""
        columns = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "rides"}
        return replace(self, **columns)


@dataclass(frozen=True)
class Until:
    """After which of its tokens a draft ends a cycle, right or wrong.

    Attributes:
        below: one of a smaller chance.
        ends: one of these ids.
    """

    below: float
    ends: frozenset[int]

    def stops(self, drafted: Proposals) -> npt.NDArray[np.bool_]:
        """[N] whether each is such a token."""
        stops = drafted.chances < self.below
        return stops | np.isin(drafted.choices, list(self.ends)) if self.ends else stops


class NotDrafted(Exception):
    """A cycle begins at ``first``, and what is drafted from there is not known so far."""

    def __init__(self, first: int) -> None:
        super().__init__(f"the cycle that begins at place {first} was not drafted")
        self.first = first


class DraftTable:
    """What a draft proposes after tokens of a reference of n tokens, R = n - 1 places, as far as is known.

    Args:
        places: R.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self.whole = False
        self._parts: list[Proposals] = []
        self._joined: Proposals | None = None
        self._cycles: dict[int, list[int]] = {}
        self._latest: dict[int, int] = {}

    @property
    def rows(self) -> Proposals:
        """All that are known, at least one."""
        if self._joined is None:
            self._joined = Proposals.joined(self._parts)
            self._parts = [self._joined]
        return self._joined

    def know_all(self, rows: Proposals) -> None:
        """Take what is proposed at every place, in order, where it comes to the same in any cycle."""
        self._parts, self._joined, self.whole = [rows], rows, True

    def add(self, firsts: Indices, depth: int, rows: Proposals) -> None:
        """Take what is proposed in cycles after ``depth`` tokens that were right.

        Args:
            firsts: [N] where they begin.
            depth: how many of theirs are known; what was known beyond that is forgotten.
            rows: N.
        """
        count = sum(map(len, self._parts))
        self._parts.append(rows)
        self._joined = None
        for row, first in enumerate(firsts.tolist(), start=count):
            self._cycles[first] = [*self._cycles.get(first, ())[:depth], row]
            self._latest[first + depth] = row

    def latest(self, place: int) -> int | None:
        """Row of the last token that was drafted at a place, in whatever cycle."""
        return place if self.whole else self._latest.get(place)

    def cycle(self, first: int, count: int, until: Until) -> list[int]:
        """Rows of the tokens drafted after place ``first``, to the first wrong one or the reference's end.

        Args:
            first: where the cycle begins.
            count: of the tokens, at most.
            until: ends it earlier.

        Raises:
            NotDrafted: fewer are known.
        """
        end = min(first + count, self.places)
        known = range(first, end) if self.whole else self._cycles.get(first, [])[: max(count, 0)]
        for place, row in enumerate(known, start=1):
            if not self.rows.agrees[row] or self.stops(row, until):
                return list(known[:place])
        if first + len(known) < end:
            raise NotDrafted(first)
        return list(known)

    def stops(self, row: int, until: Until) -> bool:
        """Whether a row is the last of its cycle."""
        return bool(self.rows.chances[row] < until.below or self.rows.choices[row] in until.ends)
