"""How much each option decided: the share of what trials differ in that follows from it alone.

Functional analysis of variance over a random forest (Hutter, Hoos and Leyton-Brown, "An Efficient Approach
for Assessing Hyperparameter Importance", ICML 2014). The forest is scikit-learn's, fitted to the trials; it
is then asked about points drawn evenly from the whole space, so that a searcher that stayed near the best
ones does not make the options it settled early look unimportant. An option's share is the variance of the
forest's mean answer as the option alone changes, over the variance of all its answers; what is left over is
interplay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lsbench.tuning.coordinates import Dimension, Point, holds
from lsbench.tuning.domains import Among, Token, alike
from lsbench.tuning.spaces import Space

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_TRIALS = 10
"""Fewer say nothing of several options."""
_TREES = 100
_BACKGROUND = 128
_VALUES = 24


@dataclass(frozen=True)
class Importance:
    """What the options decided.

    Attributes:
        shares: by option, 0 to 1, the largest first. A drafter's option counts where it applies.
        explained: how well the forest foretells trials it was not fitted to: 1 is wholly, 0 no better than
            their mean, and then the shares mean nothing.
        trials: how many it was fitted to.
    """

    shares: dict[str, float]
    explained: float
    trials: int


def option_importance(
    space: Space, points: Sequence[Mapping[str, Token]], values: Sequence[float], seed: int = 0
) -> Importance | None:
    """How much each option of a space decided of some trials' values.

    Values are ranked first, so that how far a bad trial falls behind does not count.

    Args:
        space: that was searched.
        points: whole ones, of the trials.
        values: what was measured of each, finite.
        seed: of the forest and of what it is asked.

    Returns:
        None with fewer than ``MIN_TRIALS`` trials, or where all came out alike.
    """
    if len(points) < MIN_TRIALS or len(set(values)) < 2:
        return None
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(_TREES, min_samples_leaf=2, oob_score=True, random_state=seed, n_jobs=1)
    forest.fit(_encoded(space, points), _ranks(np.asarray(values, dtype=np.float64)))
    random = np.random.default_rng(seed)
    background = [space.draw(random) for _ in range(_BACKGROUND)]
    whole = float(np.var(forest.predict(_encoded(space, background))))
    by_option: dict[str, list[Dimension]] = {}
    for dimension in space.dimensions:
        by_option.setdefault(dimension.option, []).append(dimension)
    shares: dict[str, float] = {}
    for option, dimensions in by_option.items():
        settings = _settings(dimensions, random)
        asked: list[Point] = [{**point, **setting} for setting in settings for point in background]
        means = forest.predict(_encoded(space, asked)).reshape(len(settings), -1).mean(axis=1)
        shares[option] = min(1.0, float(np.var(means)) / whole) if whole > 0 else 0.0
    ordered = dict(sorted(shares.items(), key=lambda item: -item[1]))
    return Importance(ordered, float(forest.oob_score_), len(points))


def _settings(dimensions: Sequence[Dimension], random: np.random.Generator) -> list[Point]:
    """Values of one option's coordinates: all of a single one's, or drawn ones of several."""
    if len(dimensions) == 1:
        return [{dimensions[0].key: token} for token in dimensions[0].domain.spread(_VALUES)]
    return [{each.key: each.domain.draw(random) for each in dimensions} for _ in range(_VALUES)]


def _encoded(space: Space, points: Sequence[Mapping[str, Token]]) -> NDArray[np.float64]:
    """[points, columns]: numbers as they are, one of several values as a column for each.

    A coordinate that does not apply stands at its start, so that what it happens to be tells nothing.
    """
    rows: list[list[float]] = []
    for point in points:
        row: list[float] = []
        for dimension in space.dimensions:
            token = point[dimension.key] if holds(dimension.when, point) else dimension.start
            if isinstance(dimension.domain, Among):
                row += [float(alike(token, other)) for other in dimension.domain.tokens]
            else:
                row.append(float(token))  # type: ignore[arg-type]
        rows.append(row)
    return np.asarray(rows, dtype=np.float64)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0, the mean rank where values are alike."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    return (last - (counts - 1) / 2)[places]
