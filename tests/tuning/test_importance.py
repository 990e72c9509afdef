"""Importance, where what decides is known."""

import numpy as np
import pytest

from lsbench.spec import StrategyChoice
from lsbench.strategy import Choice, FloatRange, IntRange, Strategy, StrategyOptions, option
from lsbench.tuning.importance import MIN_TRIALS, option_importance
from lsbench.tuning.space_building import build_space


class Options(StrategyOptions):
    depth: int = option(3, help="decides most", search=IntRange(1, 20))
    kind: str = option("a", help="decides some", search=Choice(("a", "b", "c")))
    noise: float = option(0.5, help="decides nothing", search=FloatRange(0, 1))
    extra: float | None = option(None, help="decides nothing, and may be left out", search=FloatRange(0, 1))


@pytest.fixture
def space(register):
    register("known", type("Known", (Strategy,), {"Options": Options, "policy": lambda s, r: None}))
    return build_space(StrategyChoice(name="known"), 12)


@pytest.mark.slow  # importing scikit-learn takes a second
def test_it_finds_what_decides(space):
    random = np.random.default_rng(2)
    # A searcher that stays among deep points, as one does that has found them to be good.
    points = [space.draw(random) for _ in range(60)]
    for point in points[20:]:
        point["depth"] = int(random.integers(15, 21))
    values = [point["depth"] / 20 + 0.2 * (point["kind"] == "b") for point in points]
    found = option_importance(space, points, values)
    assert found is not None
    assert list(found.shares)[:2] == ["depth", "kind"]
    assert found.shares["depth"] > 0.6
    assert found.shares["kind"] > 0.05
    assert max(found.shares["noise"], found.shares["extra"]) < 0.05
    assert found.explained > 0.7
    assert found.trials == 60
    assert option_importance(space, points, values) == found
    # How far the worst fall behind does not matter, only that they do.
    assert option_importance(space, points, [value**9 for value in values]) == found


@pytest.mark.slow
def test_values_that_follow_from_nothing_are_not_explained(space):
    random = np.random.default_rng(4)
    points = [space.draw(random) for _ in range(60)]
    found = option_importance(space, points, random.random(60).tolist())
    assert found is not None
    assert found.explained < 0.2


def test_too_little_says_nothing(space):
    random = np.random.default_rng(0)
    points = [space.draw(random) for _ in range(MIN_TRIALS)]
    assert option_importance(space, points[1:], list(range(MIN_TRIALS - 1))) is None
    assert option_importance(space, points, [1.0] * MIN_TRIALS) is None
