"""Where a search looks: points of some flat coordinates, and the strategy that each of them stands for.

Coordinates are flat because a searcher that is handed nested ones hangs or loses keys. One that does not
apply where another has some value (an option of a drafter that is not the one drawn) is simply not looked
at. The space of a strategy is made by ``space_building``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from lsbench.errors import BadInput
from lsbench.spec import StrategyChoice
from lsbench.strategy.registry import resolve
from lsbench.tuning.coordinates import GATE, Assignment, Dimension, Fixed, Point, Searched, holds
from lsbench.tuning.domains import Among, Domain, Token

if TYPE_CHECKING:
    from numpy.random import Generator

_DRAWS = 1000
"""After so many draws that are all refused, none is taken to be acceptable."""


@dataclass(frozen=True)
class Space:
    """All that may be tried of one strategy on a model of L layers.

    Attributes:
        strategy: its name.
        num_layers: L.
        dimensions: the coordinates, in an order in which none depends on a later one.
        assignments: how options follow from them.
        hints: values of some coordinates that are worth trying early; the others are at their start there.
    """

    strategy: str
    num_layers: int
    dimensions: tuple[Dimension, ...]
    assignments: tuple[Assignment, ...]
    hints: tuple[Point, ...] = ()

    @property
    def start(self) -> Point:
        """All coordinates where they are known to be good."""
        return {dimension.key: dimension.start for dimension in self.dimensions}

    def filled(self, point: Mapping[str, Token]) -> Point:
        """The point with every key: what is missing is at its start, as searchers need points to be whole."""
        return {**self.start, **point}

    def applicable(self, point: Mapping[str, Token]) -> Point:
        """The coordinates of a whole point that decide something: two that share them are one trial."""
        return {d.key: point[d.key] for d in self.dimensions if holds(d.when, point)}

    def options(self, point: Mapping[str, Token]) -> dict[str, JsonValue]:
        """The options that a whole point stands for, not yet checked; those at their default are left out."""
        given = {
            assignment.option: assignment.value(point)
            for assignment in self.assignments
            if holds(assignment.when, point)
        }
        return {name: value for name, value in given.items() if value is not None}

    def to_choice(self, point: Mapping[str, Token]) -> StrategyChoice:
        """The strategy that a point stands for, checked by its own options model and for the model's layers.

        Raises:
            BadInput: the point is no trial, and why.
        """
        choice = StrategyChoice(name=self.strategy, options=self.options(self.filled(point)))
        resolve(choice).check(self.num_layers)
        return choice

    def refusal(self, point: Mapping[str, Token]) -> str | None:
        """Why a point is no trial; None where it is one."""
        try:
            self.to_choice(point)
        except BadInput as error:
            return str(error)
        return None

    def default(self) -> StrategyChoice | None:
        """The strategy as it is with what was fixed and nothing else; None where it must be told more."""
        searched = [assignment for assignment in self.assignments if isinstance(assignment, Searched)]
        fixed = [assignment for assignment in self.assignments if isinstance(assignment, Fixed)]
        unset = {each.dimension.key: each.default for each in searched if isinstance(each.default, str)}
        point = {**self.start, **unset}
        given = {each.option: each.fixed for each in fixed if holds(each.when, point)}
        options: dict[str, JsonValue] = {n: value for n, value in given.items() if value is not None}
        choice = StrategyChoice(name=self.strategy, options=options)
        try:
            resolve(choice).check(self.num_layers)
        except BadInput:
            return None
        return choice

    def point_of(self, choice: StrategyChoice) -> Point:
        """The whole point of a strategy with options; those that it leaves out are at their start.

        Raises:
            BadInput: the choice lies outside this space.
        """
        if choice.name != self.strategy:
            raise BadInput(f"{choice.label} is no {self.strategy}, and cannot start its search")
        point, left = self.start, dict(choice.options)
        # References come before the options of what they refer to, so that `when` is decided in time.
        for assignment in self.assignments:
            gates = {key: True for key, _ in assignment.when if key.endswith(GATE)}
            if not holds(assignment.when, {**point, **gates}):
                continue
            value = left.pop(assignment.option, None)
            try:
                point |= assignment.point(value)
            except ValueError as error:
                raise BadInput(
                    f"{choice.label} lies outside the search: {assignment.option} is {error}"
                ) from error
        if left:
            raise BadInput(f"{choice.label} lies outside the search: it gives {next(iter(left))}")
        return point

    def draw(self, random: Generator) -> Point:
        """A whole point with every coordinate drawn on its own; it need not be a trial."""
        return {dimension.key: dimension.domain.draw(random) for dimension in self.dimensions}

    def draw_trial(self, random: Generator) -> Point:
        """A whole point that is a trial.

        Raises:
            BadInput: of a thousand draws none is.
        """
        reason: str | None = None
        for _ in range(_DRAWS):
            point = self.draw(random)
            reason = self.refusal(point)
            if reason is None:
                return point
        raise BadInput(f"Of {_DRAWS} drawn settings of {self.strategy} none can run; the last: {reason}")

    def grid(self, points_per_range: int) -> Iterator[Point]:
        """Whole points at all combinations of evenly spread values, each once; they need not be trials.

        Args:
            points_per_range: values of each range of numbers; of a list of values, all are taken.
        """
        return self._combinations(
            [dimension.domain.spread(points_per_range) for dimension in self.dimensions], 0, {}
        )

    def _combinations(self, values: Sequence[Sequence[Token]], first: int, point: Point) -> Iterator[Point]:
        """All of the coordinates from ``first`` on, where those before are decided."""
        if first == len(values):
            yield self.filled(point)
            return
        dimension = self.dimensions[first]
        for token in values[first] if holds(dimension.when, point) else [dimension.start]:
            yield from self._combinations(values, first + 1, {**point, dimension.key: token})

    def corners(self) -> Iterator[Point]:
        """Whole points with ranges of numbers a quarter or three quarters along, the rest at its start.

        The ends themselves are seldom any good: they leave out nearly everything, or nothing. All ranges that
        are always given are combined; then those that may be left to a default are given, one at a time.
        """
        values = [
            (dimension.start,) if isinstance(dimension.domain, Among) else _quarters(dimension.domain)
            for dimension in self.dimensions
        ]
        yield from self._combinations(values, 0, {})
        for dimension in self.dimensions:
            for key, token in dimension.when:
                if key.endswith(GATE):
                    for value in _quarters(dimension.domain):
                        yield {**self.start, **dict(dimension.when), key: token, dimension.key: value}

    def _alternatives(self) -> Iterator[Point]:
        """The start with every other value of a coordinate that decides which others there are."""
        governing = {key for dimension in self.dimensions for key, _ in dimension.when}
        for dimension in self.dimensions:
            if dimension.key in governing and not dimension.key.endswith(GATE):
                for token in dimension.domain.spread(2):
                    yield {**self.start, **dict(dimension.when), dimension.key: token}

    def starting_points(self, extra: Iterable[Point] = (), most: int = 8) -> list[Point]:
        """Whole points that are trials, for a search to begin with: no two stand for the same options.

        Args:
            extra: what else is known to be good; taken first, after the start.
            most: of them, at most. Next come the space's hints, the start with each other strategy that an
                option may name, and corners.
        """
        hinted = (self.filled(hint) for hint in self.hints)
        candidates = itertools.chain(
            [self.start], map(self.filled, extra), hinted, self._alternatives(), self.corners()
        )
        return [point for point, _ in itertools.islice(self.trials(candidates), most)]

    def trials(self, points: Iterable[Mapping[str, Token]]) -> Iterator[tuple[Point, StrategyChoice]]:
        """Those of some points that are trials, whole, with their strategy; of equal ones the first."""
        seen: set[str] = set()
        for point in points:
            try:
                choice = self.to_choice(point)
            except BadInput:
                continue
            if choice.label not in seen:
                seen.add(choice.label)
                yield self.filled(point), choice


def _quarters(domain: Domain) -> tuple[Token, ...]:
    """The upper one first, where less is left out as a rule."""
    return () if isinstance(domain, Among) else tuple(dict.fromkeys((domain.at(0.75), domain.at(0.25))))
