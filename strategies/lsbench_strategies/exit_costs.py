"""What drafting at an exit costs, and verifying what was drafted there, as measured while decoding.

A drafted token runs its exit's layers and the head: its cost is on a line over what it weighs. A verifying
pass resumes: it takes one row (the token that nothing was drafted from) up to the exit, and all rows from
there on and through the head, where the cost of a layer is on a line over the number of rows. The lines are
fitted to every measurement, so that a hiccup of the machine counts little and an exit never tried has a cost
too. Costs may be in any unit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_FORGETTING = 0.95
"""What a line keeps of older measurements at each new one."""
_LEAST_SPREAD = 1e-6
"""Variance over squared mean from which the places of measurements differ enough to tell a slope."""


class ExitCosts:
    """Of some exits.

    Args:
        depths: of each exit, ascending: the weights up to it, in layers.
        full: the weights of all layers, in layers.
        head: the weights of the head, in layers.
        draft_head: those that drafting reads of it; all of them unless given.
    """

    def __init__(
        self, depths: Sequence[float], full: float, head: float, draft_head: float | None = None
    ) -> None:
        self._depths = np.asarray(depths, dtype=np.float64)
        self._full, self._head = full, head
        self._draft_head = head if draft_head is None else draft_head
        self._step = _Line(proportional=True)
        """Of one row, over the weights that it runs."""
        self._layer = _Line(proportional=False)
        """A layer of a verifying pass, over the tokens that were drafted."""

    def record(self, exit: int | None, drafted: int, draft_cost: float, verify_cost: float) -> None:
        """Take the measurements of a cycle.

        Args:
            exit: which one was drafted at; None where nothing was.
            drafted: how many tokens.
            draft_cost: of all of them together.
            verify_cost: of the pass that verified them.
        """
        if exit is None or not drafted:
            self._step.add(self._full + self._head, verify_cost)
            return
        depth = float(self._depths[exit])
        weight = depth + self._draft_head
        self._step.add(weight, draft_cost / drafted)
        alone = self._step.at(np.array([weight]))[0] * depth / weight
        rest = self._full - depth + self._head
        # A hiccup while drafting must not make verifying free.
        self._layer.add(drafted, max(verify_cost - alone, 0.2 * verify_cost) / rest)

    def table(self, most: int) -> npt.NDArray[np.float64]:
        """[exits, most + 1] cost of a cycle that drafts 0 to ``most`` tokens at each exit.

        Weights that are read, in layers, until something was measured.
        """
        weights = self._depths + self._draft_head
        counts = np.arange(most + 1)
        if self._step.is_empty:
            return weights[:, None] * counts + self._full + self._head
        steps = self._step.at(weights)
        alone = steps * self._depths / weights
        nothing = self._step.at(np.array([self._full + self._head]))[0]
        layer = nothing / (self._full + self._head) if self._layer.is_empty else self._layer.at(counts)
        result = (
            steps[:, None] * counts
            + alone[:, None]
            + (self._full - self._depths + self._head)[:, None] * np.broadcast_to(layer, counts.shape)
        )
        result[:, 0] = nothing
        return result


class _Line:
    """Through measurements, the later ones counting more; it neither falls nor begins below zero.

    Args:
        proportional: where all were made at one place, whether the line goes through zero, or is level.
    """

    def __init__(self, proportional: bool) -> None:
        self._proportional = proportional
        # Weight, and the sums of x, y, x * x and x * y.
        self._sums = np.zeros(5)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was measured."""
        return not self._sums[0]

    def add(self, x: float, y: float) -> None:
        """A measurement ``y`` at ``x`` > 0."""
        self._sums = self._sums * _FORGETTING + np.array([1, x, y, x * x, x * y])

    def at(self, x: npt.NDArray[np.float64] | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The line's height at some places."""
        mean_x, mean_y, mean_xx, mean_xy = self._sums[1:] / self._sums[0]
        steepest = mean_y / mean_x
        slope = steepest if self._proportional else 0.0
        variance = mean_xx - mean_x**2
        if variance > _LEAST_SPREAD * mean_x**2:
            slope = min(max((mean_xy - mean_x * mean_y) / variance, 0.0), steepest)
        return mean_y + slope * (x - mean_x)
