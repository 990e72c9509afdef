"""A skip set that follows the text: what changes the hidden state least, where it was seen to, is left out.

Every verifying pass runs all layers over the tokens that were drafted, so what each sub-layer does to the
hidden state of this very text is seen without running anything more. CLaSp (Chen et al., 2025) finds its
skip set anew from the hidden states of every verifying pass, and SWIFT (Xia et al., 2024) as it decodes;
both also run candidate skip sets to judge them. Here they are ranked by block influence alone (ShortGPT, Men
et al., 2024), the running mean of one minus the cosine of what enters and what leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from lsbench.engine import DepthPlan, PartialHead, Session
from lsbench.strategy import HiddenStates, PolicyDraft, Verification
from lsbench_strategies.difficulty import LadderPolicy

_PRIOR_POSITIONS = 1.0
"""Positions of the text that calibration counts for: the text itself is soon a better witness."""
_FORGETTING = 0.97
"""What the running mean keeps of its weight at each new position: the last thirty or so count."""


class RunningInfluence:
    """Block influence of each sub-layer on the text so far.

    Args:
        calibrated: [2L] what is believed before the text says anything.
    """

    def __init__(self, calibrated: Sequence[float]) -> None:
        self._weight = np.full(len(calibrated), _PRIOR_POSITIONS)
        self._sum = _PRIOR_POSITIONS * np.asarray(calibrated, dtype=np.float64)

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """[2L]."""
        return self._sum / self._weight

    def add(self, cosines: npt.NDArray[np.float64]) -> None:
        """Take the cosines [n, 2L] of n positions, oldest first; NaN is none."""
        for row in cosines:
            known = ~np.isnan(row)
            self._weight = np.where(known, self._weight * _FORGETTING + 1, self._weight)
            self._sum = np.where(known, self._sum * _FORGETTING + (1 - row), self._sum)


class OnlineSkipSetDraft(PolicyDraft):
    """Drafts under a ladder of skip sets that is ranked anew after every cycle.

    Args:
        policy: made for the request, with the plans of the calibrated ladder.
        calibrated: [2L] block influence on the calibration prompts.
        plans: from the influence of each sub-layer to a plan for every rung.
        stop_below, head: as ``PolicyDraft`` has them.
    """

    def __init__(
        self,
        policy: LadderPolicy,
        calibrated: Sequence[float],
        plans: Callable[[Sequence[float]], Sequence[DepthPlan]],
        stop_below: float,
        head: PartialHead | None = None,
    ) -> None:
        super().__init__(policy, stop_below, head)
        self._ladder = policy
        self._plans = plans
        self.influence = RunningInfluence(calibrated)
        self.observer = self._states = HiddenStates(len(calibrated) // 2)

    def learn(self, session: Session, verification: Verification) -> None:
        """Rank again by what the sub-layers did at the positions that stay."""
        self.influence.add(self._states.cosines(verification.positions))
        self._states.forget()
        self._ladder.plans = self._plans(self.influence.mean.tolist())
