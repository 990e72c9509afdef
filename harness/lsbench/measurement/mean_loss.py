"""Whether a mean loss can be told to lie below a level: p-values that hold for any number of prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence


def hoeffding_bentkus(losses: Sequence[float], level: float) -> float:
    """p-value of the hypothesis that losses between 0 and 1 have a mean above ``level``.

    The smaller of Hoeffding's bound in its relative-entropy form and Bentkus's, e times a binomial tail
    (Bates et al., "Distribution-Free, Risk-Controlling Prediction Sets", Journal of the ACM 68, 2021,
    section 3.1.2). It holds for independent losses of one distribution, whatever that is.

    Args:
        losses: one for each prompt, 0 to 1.
        level: above 0 and below 1.

    Raises:
        ValueError: no loss, one outside 0 to 1, or a level that is out of range.
    """
    total = _checked(losses, level)
    from scipy.stats import binom

    count = len(losses)
    mean = min(total / count, level)
    hoeffding = math.exp(-count * _relative_entropy(mean, level))
    bentkus = math.e * float(binom.cdf(_whole_up(total), count, level))
    return min(1.0, hoeffding, bentkus)


def binomial_tail(losses: Sequence[float], level: float) -> float:
    """The same for losses that can only be 0 or 1: exact, and so the smaller of the two.

    That losses are of this kind must be known beforehand, and not be seen from the losses themselves.

    Raises:
        ValueError: no loss, one that is neither 0 nor 1, or a level that is out of range.
    """
    total = _checked(losses, level)
    if any(loss not in (0, 1) for loss in losses):
        raise ValueError("a binomial test takes losses of 0 and 1 only")
    from scipy.stats import binom

    return float(binom.cdf(round(total), len(losses), level))


def _checked(losses: Sequence[float], level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"the level of a loss must lie between 0 and 1, not at {level}")
    if not losses:
        raise ValueError("without losses nothing can be told of their mean")
    # Written so that NaN is refused, too.
    if not all(0 <= loss <= 1 for loss in losses):
        raise ValueError("losses must lie between 0 and 1")
    return math.fsum(losses)


def _whole_up(total: float) -> int:
    """Rounded up, but not over a rounding error: ten losses of 0.1 are one."""
    return math.ceil(total - 1e-9)


def _relative_entropy(mean: float, level: float) -> float:
    """Of a coin that shows 1 with one probability from one with another, in nats."""
    entropy = (1 - mean) * math.log((1 - mean) / (1 - level)) if mean < 1 else 0.0
    return entropy + (mean * math.log(mean / level) if mean > 0 else 0.0)
