"""Intervals and tests over paired prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lsbench.metrics import Interval, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Statistic = Callable[..., NDArray[np.float64]]

MIN_PROMPTS = 5
"""Fewer prompts give no interval: even when all of 4 point the same way, chance alone does so one time
in eight, and a bootstrap over 4 values cannot reach further than the values themselves."""
SMALLEST_DIFFERENCE = 0.01
"""A relative difference in speed that a whole interval must exceed before it is called one.

Of a program compared with itself a 95 % interval leaves out 1 in one comparison of twenty by definition, and
for what no interval over prompts knows of (where tensors came to lie, say) now and then besides. Hardly any
such interval stays further away than this, and nobody changes how they decode for less."""
_CONFIDENCE = 0.95
_RESAMPLES = 9999
_SEED = 20240229
_NUMBERS_AT_ONCE = 2_000_000
"""Resampled values held in memory together."""


def ratio_of_totals_interval(numerator: Sequence[float], denominator: Sequence[float]) -> Interval | None:
    """95 % interval of sum(numerator) / sum(denominator), both of one value a prompt."""
    return _bootstrap([numerator, denominator], _ratio_of_totals)


def speedup_interval(
    baseline_s: Sequence[float],
    baseline_tokens: Sequence[float],
    strategy_s: Sequence[float],
    strategy_tokens: Sequence[float],
) -> Interval | None:
    """95 % interval of the baseline's time per token over the strategy's, each a ratio of totals.

    All four have one value a prompt, in the same order: the prompt is what is resampled.
    """
    return _bootstrap([baseline_s, baseline_tokens, strategy_s, strategy_tokens], _speedup)


def ratio_of_speedups_interval(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]
) -> Interval | None:
    """95 % interval of one speedup over another, on the same prompts.

    Args:
        first: the four columns of ``speedup_interval``.
        second: likewise, of the same prompts in the same order; each prompt is resampled with all that was
            measured on it.
    """
    return _bootstrap([*first, *second], _ratio_of_speedups)


def difference_of_shares_interval(
    part: Sequence[float], whole: Sequence[float], other_part: Sequence[float], other_whole: Sequence[float]
) -> Interval | None:
    """95 % interval of sum(part) / sum(whole) - sum(other_part) / sum(other_whole), of one value a prompt."""
    return _bootstrap([part, whole, other_part, other_whole], _difference_of_shares)


def difference_of_totals_interval(
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    value: Callable[[Sequence[float]], float],
) -> Interval | None:
    """95 % interval of a metric that follows from sums over prompts, the first side's minus the second's.

    Args:
        first: one row a prompt: what it adds to each sum.
        second: likewise, of the same prompts in the same order; each is resampled with both its rows.
        value: from the sums to the metric, as BLEU from its counts.
    """
    import numpy as np

    sides = [np.asarray(side, dtype=np.float64) for side in (first, second)]

    def change(drawn: NDArray[np.float64]) -> float:
        times = np.bincount(drawn.astype(np.int64), minlength=len(first))
        ours, theirs = (value((times @ side).tolist()) for side in sides)
        return ours - theirs

    def statistic(prompts: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return np.apply_along_axis(change, axis, prompts)

    return _bootstrap([range(len(first))], statistic)


def mcnemar(baseline: Sequence[bool], strategy: Sequence[bool]) -> float:
    """Exact McNemar p-value: could chance alone turn as many passes into failures, or back?

    The two-sided binomial test on the documents whose outcome changed; 1 when none did.
    """
    from scipy.stats import binomtest

    lost = sum(before and not after for before, after in zip(baseline, strategy, strict=True))
    gained = sum(after and not before for before, after in zip(baseline, strategy, strict=True))
    if lost + gained == 0:
        return 1.0
    return float(binomtest(lost, lost + gained, 0.5).pvalue)


def unseen_change(documents: int) -> float:
    """The largest share of changed documents that seeing none among so many still allows (95 %, exact).

    The upper end of the Clopper-Pearson interval at 0 of ``documents``: where no outcome changed a
    bootstrap has nothing to resample, and its interval of width 0 would claim certainty.
    """
    from scipy.stats import binomtest

    return float(binomtest(0, documents).proportion_ci(_CONFIDENCE, method="exact").high)


def verdict(interval: Interval | None, swing: float = 0.0) -> Verdict:
    """What a speedup's interval allows to be said; without an interval nothing is claimed.

    It must leave out 1 and everything within ``SMALLEST_DIFFERENCE`` of it.

    Args:
        interval: of the speedup.
        swing: how far the machine's own speed went up and down, relative; the interval must lie further
            from 1 than that. A bootstrap over prompts cannot know of a burst of other work that fell on
            few of them.
    """
    least = 1 + max(swing, SMALLEST_DIFFERENCE)
    if interval is not None and interval[0] > least:
        return "faster"
    if interval is not None and interval[1] < 1 / least:
        return "slower"
    return "no significant difference"


def _bootstrap(columns: Sequence[Sequence[float]], statistic: Statistic) -> Interval | None:
    """Expanded percentile interval over prompts; None with fewer than ``MIN_PROMPTS``.

    Prompts are drawn with replacement, all columns together. The percentile interval, not BCa: a ratio
    of totals is nearly unbiased, BCa's correction is itself noisy at ten prompts and undefined when
    all prompts agree. But the plain percentile interval is too narrow for few prompts by
    sqrt((n - 1) / n) and by the difference between the normal and Student's t, so its level is raised
    to undo just that (Hesterberg, "What Teachers Should Know About the Bootstrap", The American
    Statistician 69, 2015, section 5.3). The seed is fixed: the same records give the same interval.
    """
    count = len(columns[0])
    if count < MIN_PROMPTS:
        return None
    import numpy as np
    from scipy.stats import bootstrap, norm, t

    reach = np.sqrt(count / (count - 1)) * t.ppf((1 + _CONFIDENCE) / 2, count - 1)
    result = bootstrap(
        tuple(np.asarray(column, dtype=np.float64) for column in columns),
        statistic,
        paired=True,
        vectorized=True,
        method="percentile",
        confidence_level=float(1 - 2 * norm.sf(reach)),
        n_resamples=_RESAMPLES,
        batch=max(1, _NUMBERS_AT_ONCE // count),
        rng=np.random.default_rng(_SEED),
    )
    low, high = (float(bound) for bound in result.confidence_interval)
    return (low, high) if np.isfinite(low) and np.isfinite(high) else None


def _ratio_of_totals(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64], axis: int
) -> NDArray[np.float64]:
    return numerator.sum(axis=axis) / denominator.sum(axis=axis)


def _speedup(
    baseline_s: NDArray[np.float64],
    baseline_tokens: NDArray[np.float64],
    strategy_s: NDArray[np.float64],
    strategy_tokens: NDArray[np.float64],
    axis: int,
) -> NDArray[np.float64]:
    baseline = _ratio_of_totals(baseline_s, baseline_tokens, axis)
    return baseline / _ratio_of_totals(strategy_s, strategy_tokens, axis)


def _ratio_of_speedups(*columns: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return _speedup(*columns[:4], axis=axis) / _speedup(*columns[4:], axis=axis)


def _difference_of_shares(
    part: NDArray[np.float64],
    whole: NDArray[np.float64],
    other_part: NDArray[np.float64],
    other_whole: NDArray[np.float64],
    axis: int,
) -> NDArray[np.float64]:
    return _ratio_of_totals(part, whole, axis) - _ratio_of_totals(other_part, other_whole, axis)
