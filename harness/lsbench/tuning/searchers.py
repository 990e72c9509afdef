"""Who says what to try next, from what came of all that was tried.

A searcher keeps nothing of its own: what it proposes follows from the seed, the number of the trial, and what
is known by then. A search that was killed goes on from its trials alone, as if it had never been.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lsbench.tuning.coordinates import Point, holds
from lsbench.tuning.domains import Among, Domain, Real, Token, Whole, alike

if TYPE_CHECKING:
    from lsbench.tuning.spaces import Space

OBJECTIVE = "objective"
"""What Ray Tune calls the figure that is made large."""
_GAMMA = 1.0
"""Of n trials the best gamma times the root of n are what a good point looks like. HyperOpt's own 0.25 is two
of sixty."""
_NEIGHBOURS = 200
"""How many points near the best one are looked at, at most."""

Known = Sequence[tuple[Point, float]]
"""Whole points and what came of them: the larger the better, and finite."""


class Searcher(Protocol):
    """Proposes points of a space."""

    def propose(self, known: Known, number: int) -> Iterator[Point]:
        """Whole points, the best first; they need not be trials, and may have been tried before.

        Args:
            known: what was tried, in the order in which it was proposed.
            number: of the trial that is to come.
        """
        ...


class TreeParzen:
    """Tree-structured Parzen estimators: HyperOpt's, through Ray Tune's ``HyperOptSearch``.

    HyperOpt looks at each coordinate by itself and takes the likeliest value, so that with a dozen switches
    it soon proposes what was tried before, again and again. Then points follow that differ from the best one
    that is known in one coordinate, later in more (tests/benchmarks/tpe_skip_set.py says what that is worth).

    Args:
        space: what to search.
        seed: of what is drawn.
        drawn: how many points are tried before the first that rests on what came of others.
    """

    def __init__(self, space: Space, seed: int, drawn: int) -> None:
        self._space, self._seed, self._drawn = space, seed, drawn

    def propose(self, known: Known, number: int) -> Iterator[Point]:
        """HyperOpt's, then those near the best."""
        random = np.random.default_rng([self._seed, number])
        proposed = self._suggested(known, int(random.integers(2**31)))
        yield proposed
        best = max(known, key=lambda each: each[1])[0] if known else proposed
        applicable = [each for each in self._space.dimensions if holds(each.when, best)]
        for place in range(_NEIGHBOURS):
            count = min(len(applicable), 1 + place // (2 * len(applicable)))
            changed = random.choice(len(applicable), size=count, replace=False)
            yield {**best, **{applicable[at].key: applicable[at].domain.draw(random) for at in changed}}

    def _suggested(self, known: Known, seed: int) -> Point:
        from ray.tune.search.hyperopt import HyperOptSearch

        dimensions = self._space.dimensions
        written = [
            {_name(at): _number(each.domain, point[each.key]) for at, each in enumerate(dimensions)}
            for point, _ in known
        ]
        search: Any = HyperOptSearch(
            metric=OBJECTIVE,
            mode="max",
            points_to_evaluate=written or None,
            n_initial_points=self._drawn,
            random_state_seed=seed,
            gamma=_GAMMA,
        )
        domains = {_name(at): _drawn_from(each.domain) for at, each in enumerate(dimensions)}
        search.set_search_properties(OBJECTIVE, "max", domains)
        for place, (_, value) in enumerate(known):
            if not math.isfinite(value):
                raise ValueError(f"a searcher that is told {value} learns nothing from it")
            search.suggest(str(place))
            search.on_trial_complete(str(place), {OBJECTIVE: value})
        suggested: Mapping[str, Any] = search.suggest("next")
        return {each.key: _read(each.domain, suggested[_name(at)]) for at, each in enumerate(dimensions)}


class Drawn:
    """Points drawn evenly, whatever came of others."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed

    def propose(self, known: Known, number: int) -> Iterator[Point]:
        """As many as are asked for."""
        random = np.random.default_rng([self._seed, number])
        while True:
            yield self._space.draw(random)


class Grid:
    """All combinations of evenly spread values, one after the other."""

    def __init__(self, space: Space, points_per_range: int) -> None:
        self._space, self._points = space, points_per_range

    def propose(self, known: Known, number: int) -> Iterator[Point]:
        """All, from the first on."""
        return self._space.grid(self._points)


def _name(place: int) -> str:
    """Of a coordinate, in HyperOpt, so that no key is taken for a path."""
    return f"x{place}"


def _drawn_from(domain: Domain) -> Any:
    """As Ray Tune writes it; one of several values is its place, so that none is taken for another."""
    from ray import tune

    if isinstance(domain, Among):
        return tune.choice(list(range(len(domain.values))))
    if isinstance(domain, Whole):
        return tune.randint(domain.low, domain.high + 1)
    return tune.uniform(domain.low, domain.high)


def _number(domain: Domain, token: Token) -> int | float:
    if isinstance(domain, Among):
        return next(place for place, own in enumerate(domain.tokens) if alike(own, token))
    return int(token) if isinstance(domain, Whole) else float(token)  # type: ignore[arg-type]


def _read(domain: Domain, number: int | float) -> Token:
    """Reals to as many digits as they are told apart by."""
    if isinstance(domain, Among):
        return domain.tokens[int(number)]
    if isinstance(domain, Real):
        return float(domain.read(float(number)))  # type: ignore[arg-type]
    return int(number)
