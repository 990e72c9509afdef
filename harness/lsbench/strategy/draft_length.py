"""How many tokens to draft a cycle: as many as give the most tokens for what they cost, by measurement.

With K drafted tokens, each taken with probability a after those before it, a cycle emits 1 + a + ... + a^K
tokens on average (Leviathan et al., 2023) and costs K c + v(K): c a drafted token, v(K) the pass that
verifies K of them. a, c and v are measured while decoding.
"""

from __future__ import annotations

_FORGETTING = 0.9
"""What an average of costs keeps of itself at each new measurement."""
_TRIAL_FORGETTING = 0.97
"""The same for each token that was verified: the last thirty or so count."""
_PRIOR_TRIALS, _PRIOR_ACCEPTANCE = 4.0, 0.75
"""What is believed before anything is verified: a single bad cycle must not end drafting."""
_PROBE_EVERY = 8
"""Cycles after which a neighbour is tried, in turn above and below, so that v is known there too."""


class DraftLength:
    """Decides K cycle by cycle, for one request.

    Args:
        most: the largest K. 0 is a choice too: a draft that does not pay is left alone but for the probes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._trials, self._taken = _PRIOR_TRIALS, _PRIOR_TRIALS * _PRIOR_ACCEPTANCE
        self._draft_cost: float | None = None
        self._verify_costs: dict[int, float] = {}
        self._cycle = 0

    @property
    def acceptance(self) -> float:
        """Measured probability that a drafted token is taken, given those before it were."""
        return self._taken / self._trials

    def choose(self) -> int:
        """K of the next cycle, 0 to ``most``; the largest until something was measured."""
        self._cycle += 1
        best = self.best()
        if self._cycle % _PROBE_EVERY:
            return best
        step = 1 if self._cycle // _PROBE_EVERY % 2 else -1
        return best + step if 0 <= best + step <= self._most else best - step

    def best(self) -> int:
        """The K with the most expected tokens for its cost; the largest until something was measured."""
        if self._draft_cost is None or not self._verify_costs:
            return self._most
        return max(range(self._most + 1), key=lambda count: self._rate(count, self._draft_cost or 0.0))

    def record(self, drafted: int, taken: int, draft_cost: float, verify_cost: float) -> None:
        """Take the measurements of a cycle.

        Args:
            drafted: tokens drafted, at most as many as chosen.
            taken: how many of them the full model took.
            draft_cost: of all of them together, in any unit.
            verify_cost: of the pass that verified them, in the same unit.
        """
        for trial in range(min(taken + 1, drafted)):
            self._trials = self._trials * _TRIAL_FORGETTING + 1
            self._taken = self._taken * _TRIAL_FORGETTING + (trial < taken)
        if drafted:
            self._draft_cost = _averaged(self._draft_cost, draft_cost / drafted)
        self._verify_costs[drafted] = _averaged(self._verify_costs.get(drafted), verify_cost)

    def _rate(self, count: int, draft_cost: float) -> float:
        tokens = sum(self.acceptance**place for place in range(count + 1))
        # A number never tried is believed to cost what the nearest one that was did.
        nearest = min(self._verify_costs, key=lambda tried: abs(tried - count))
        return tokens / max(count * draft_cost + self._verify_costs[nearest], 1e-12)


def _averaged(average: float | None, value: float) -> float:
    return value if average is None else average * _FORGETTING + value * (1 - _FORGETTING)
