"""A threshold with a guarantee: Learn then Test over candidates, as CALM calibrates its exits.

Angelopoulos et al., "Learn then Test: Calibrating Predictive Algorithms to Achieve Risk Control" (2021);
Schuster et al., "Confident Adaptive Language Modeling" (2022), section 4. Every candidate is a hypothesis,
"its risk exceeds the tolerance", and each is tested with a p-value that holds for any number of prompts.
They are tested in a fixed order, the most careful first, each at the full level, until one is not refuted:
then the chance that any of the refuted ones was true is at most delta.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsbench.errors import BadInput
from lsbench.measurement.mean_loss import binomial_tail, hoeffding_bentkus


@dataclass(frozen=True)
class Candidate:
    """One threshold, and what its calibration losses say.

    Attributes:
        threshold: the confidence at which tokens stop.
        mean_loss: over the calibration prompts.
        p_value: of the hypothesis that its risk exceeds the tolerance.
        controlled: whether that was refuted; None where testing had ended before its turn.
    """

    threshold: float
    mean_loss: float
    p_value: float
    controlled: bool | None


@dataclass(frozen=True)
class Calibration:
    """What came of calibrating.

    Attributes:
        threshold: the smallest whose risk is at most ``risk``, in all but a share ``delta`` of calibrations;
            None where not even the largest is.
        risk: the tolerated mean loss.
        delta: the chance of being wrong.
        prompts: how many losses each candidate has, at least.
        candidates: all, the most careful (largest) first.
    """

    threshold: float | None
    risk: float
    delta: float
    prompts: int
    candidates: tuple[Candidate, ...]

    @property
    def words(self) -> str:
        """One sentence."""
        held = f"a mean loss of at most {self.risk:g} with confidence {1 - self.delta:g}"
        if self.threshold is not None:
            return f"threshold={self.threshold:g} holds {held}, calibrated on {self.prompts} prompts."
        needed = prompts_needed(self.risk, self.delta)
        hint = f"; even without any loss it takes {needed} prompts" if self.prompts < needed else ""
        return f"No threshold holds {held}, on {self.prompts} prompts{hint}."


def prompts_needed(risk: float, delta: float) -> int:
    """The fewest calibration prompts with which any threshold could pass, were all its losses 0.

    Raises:
        BadInput: a risk or delta that does not lie between 0 and 1.
    """
    _check("--risk", risk)
    _check("--delta", delta)
    count = math.ceil(math.log(delta) / math.log1p(-risk) - 1e-9)
    return max(1, count)


def calibrate(
    losses: Mapping[float, Sequence[float]], risk: float, delta: float, *, pass_or_fail: bool = False
) -> Calibration:
    """The cheapest threshold whose risk is controlled.

    Args:
        losses: for each candidate threshold, the loss of every calibration prompt under it, 0 to 1 (the share
            of tokens that differ from the full model's, say). The prompts are drawn independently from those
            that the guarantee is for; the candidates are chosen without looking at them. A larger threshold
            is the more careful one.
        risk: the mean loss that is tolerated, above 0 and below 1.
        delta: the chance of being wrong, likewise.
        pass_or_fail: whether a loss can only be 0 or 1, which makes for a sharper test.

    Raises:
        BadInput: a risk or delta that does not lie between 0 and 1, or no candidate.
        ValueError: a candidate without losses, or with one that it cannot have.
    """
    _check("--risk", risk)
    _check("--delta", delta)
    if not losses:
        raise BadInput("No threshold to calibrate: name candidates with --space threshold=LOW..HIGH")
    p_value = binomial_tail if pass_or_fail else hoeffding_bentkus
    candidates: list[Candidate] = []
    chosen: float | None = None
    ended = False
    for threshold in sorted(losses, reverse=True):
        own = losses[threshold]
        found = p_value(own, risk)
        controlled = None if ended else found <= delta
        if controlled:
            chosen = threshold
        ended = ended or not controlled
        candidates.append(Candidate(threshold, math.fsum(own) / len(own), found, controlled))
    return Calibration(chosen, risk, delta, min(map(len, losses.values())), tuple(candidates))


def _check(flag: str, value: float) -> None:
    if not 0 < value < 1:
        raise BadInput(f"{flag} {value:g} must lie between 0 and 1, such as 0.05")
