"""What positions that were left pending run later (``kv_fill=recompute``), by the engine's own rule.

A later row that runs attention takes along what earlier ones have left out there. One that stopped early
joins where it stopped. One that left a gap and went on comes up from the gap by itself first, with no new
token beside it, and what it would see on the way comes up with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_PENDING, _APPROXIMATE, _EXACT = 0, 1, 2


@dataclass(frozen=True)
class Ridden:
    """What became of some rows.

    Attributes:
        frontier: of each, how many leading sub-layers it ran exactly, later rows' steps included.
        older_rows, own_passes, ridden: as ``lsbench.engine.tally.Tally`` counts them.
    """

    frontier: tuple[int, ...]
    older_rows: int = 0
    own_passes: int = 0
    ridden: int = 0


def riding(runs: npt.NDArray[np.bool_], frontier: Sequence[int], rides: bool) -> Ridden:
    """Rows of one sequence, one step each, after positions that are exact.

    Args:
        runs: [N, 2L] the sub-layers that each ran in its own step.
        frontier: [N] how many leading ones it ran exactly then.
        rides: whether keys and values that they leave out are made later; all of them, or none.
    """
    if not rides:
        return Ridden(tuple(frontier))
    ends = runs.sum(axis=1)
    if not (runs[:, 1:] & ~runs[:, :-1]).any() and not (ends % 2).any():
        return _without_gaps(ends.tolist())
    steps = _Steps(*runs.shape)
    for place, own in enumerate(runs.tolist()):
        steps.take(place, own)
    return Ridden(tuple(steps.frontier), steps.older_rows, steps.own_passes, steps.ridden)


def _without_gaps(ends: Sequence[int]) -> Ridden:
    """Each row ran leading layers alone: all that ride are exact, and none comes up by itself."""
    reached, older, ridden = list(ends), 0, 0
    for place, end in enumerate(ends):
        along = [each for each in range(place) if reached[each] < end]
        ridden += max((end - reached[earlier] for earlier in along), default=0)
        for earlier in along:
            older += end - reached[earlier]
            reached[earlier] = end
    return Ridden(tuple(reached), older, 0, ridden)


class _Steps:
    """One row's step after the other, with what is known of every position."""

    def __init__(self, rows: int, sublayers: int) -> None:
        self.last = sublayers
        self.states = np.full((rows, sublayers // 2), _PENDING, dtype=np.uint8)
        self.frontier = [0] * rows
        self.older_rows = self.own_passes = self.ridden = 0
        self._exact: set[int] = set()

    def take(self, place: int, runs: Sequence[bool]) -> None:
        """The step of row ``place``."""
        self._exact = {place}
        riders: list[int] = []
        for index, run in enumerate(runs):
            if not run:
                self._stop([*riders, place], index)
                riders = []
                continue
            if index % 2 == 0:
                riders = sorted([*riders, *self._bring_up(index // 2, place, riders)])
            if riders:
                self.older_rows += len(riders)
                self.ridden += 1
            self._run([*riders, place], index)
        self._stop(self._exact.copy(), self.last)

    def _bring_up(self, layer: int, limit: int, present: Iterable[int]) -> list[int]:
        """Take positions before ``limit`` that are pending at ``layer`` up to it, but those ``present``."""
        pending = np.flatnonzero(self.states[:limit, layer] == _PENDING).tolist()
        reached = {place: self.frontier[place] for place in set(pending).difference(present)}
        self._exact |= reached.keys()
        for index in range(min(reached.values(), default=0), 2 * layer if reached else 0):
            moving = sorted(place for place, at in reached.items() if at == index)
            if index % 2 == 0:
                moving = sorted([*moving, *self._bring_up(index // 2, moving[-1], moving)])
            self.older_rows += len(moving)
            self.own_passes += 1
            self._run(moving, index)
            reached.update(dict.fromkeys(moving, index + 1))
        return list(reached)

    def _run(self, places: Sequence[int], index: int) -> None:
        layer, is_mlp = divmod(index, 2)
        if is_mlp:
            return
        for place in places:
            self.states[place, layer] = _EXACT if place in self._exact else _APPROXIMATE
        # Who sees what is not exact is exact up to here.
        inexact = np.flatnonzero(self.states[: places[-1], layer] != _EXACT)
        if inexact.size:
            self._stop([place for place in places if place > inexact[0]], index)

    def _stop(self, places: Iterable[int], index: int) -> None:
        """Those that are exact are so up to sub-layer ``index`` and no further."""
        for place in self._exact.intersection(places):
            self.frontier[place] = index
            self._exact.discard(place)
