"""Which exit to draft at, and how many tokens: both at once, as the most tokens for what they cost.

A cycle that drafts K tokens at an exit where each is taken with probability a emits 1 + a + ... + a^K on
average (Leviathan et al., 2023). DEL (Entezari Zarch et al., 2025) makes the most of them per layer that
runs, over exits and K together; here it is per measured cost.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from lsbench_strategies.exit_costs import ExitCosts

_FORGETTING = 0.97
"""What is kept of a belief at each new token: the last thirty or so count."""
_PRIOR_TRIALS = 2.0
"""Tokens that the belief before any is worth: that from half to all are taken, more where it is deeper."""
_PROBE_EVERY = 8
"""Cycles after which a number beside the best is drafted, in turn above and below, to know its cost."""
_IDLE_PROBE_EVERY = 32
"""The same where drafting nothing is best: what would be accepted is seen without drafting."""


class ExitChoice:
    """Decides exit and number of drafted tokens cycle by cycle, for one request.

    Args:
        depths: of each exit, ascending: the weights up to it, in layers.
        full: the weights of all layers, in layers.
        costs: of these exits.
        probes: whether costs are measured and not known beforehand, so that trying another number tells.
    """

    def __init__(self, depths: Sequence[float], full: float, costs: ExitCosts, probes: bool) -> None:
        self.costs = costs
        self._trials = np.full(len(depths), _PRIOR_TRIALS)
        self._taken = _PRIOR_TRIALS * (1 + np.asarray(depths, dtype=np.float64) / full) / 2
        self._probes = probes
        self._cycle = 0

    @property
    def acceptance(self) -> npt.NDArray[np.float64]:
        """[exits] believed probability that a token drafted there is taken."""
        return self._taken / self._trials

    def record(self, exit: int, chance: float, tokens: float = 1.0) -> None:
        """One more token was seen at an exit.

        Args:
            exit: which.
            chance: 1 if it was or would have been taken, 0 if not, or the probability.
            tokens: how many it stands for.
        """
        kept = _FORGETTING**tokens
        self._trials[exit] = self._trials[exit] * kept + tokens
        self._taken[exit] = self._taken[exit] * kept + tokens * chance

    def best(self, most: int) -> tuple[int, int]:
        """Exit and number of tokens, 0 to ``most``, with the most expected tokens for their cost."""
        rates = _tokens(self.acceptance, most) / self.costs.table(most)
        exit, count = np.unravel_index(int(rates.argmax()), rates.shape)
        return int(exit), int(count)

    def choose(self, most: int) -> tuple[int, int]:
        """What the next cycle does: the best, and now and then a number beside it."""
        self._cycle += 1
        exit, count = self.best(most)
        every = _PROBE_EVERY if count else _IDLE_PROBE_EVERY
        if not self._probes or self._cycle % every:
            return exit, count
        step = 1 if self._cycle // every % 2 else -1
        return exit, count + step if 0 <= count + step <= most else max(count - step, 0)

    def undecided(self, most: int) -> Collection[int]:
        """The exits that would be the best if all that is drafted there were taken; no other need be seen."""
        table = self.costs.table(most)
        best = (_tokens(self.acceptance, most) / table).max()
        certain = (_tokens(np.ones(len(table)), most) / table).max(axis=1)
        return [int(exit) for exit in np.flatnonzero(certain >= best)]


def _tokens(acceptance: npt.NDArray[np.float64], most: int) -> npt.NDArray[np.float64]:
    """[exits, most + 1] expected tokens of a cycle that drafts 0 to ``most``."""
    return np.cumsum(acceptance[:, None] ** np.arange(most + 1), axis=1)
