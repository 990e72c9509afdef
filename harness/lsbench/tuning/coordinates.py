"""Coordinates of a search, and how a strategy's options follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import JsonValue

from lsbench.tuning.domains import Domain, Token, alike

Point = dict[str, Token]
"""A value for coordinates by their keys."""
When = tuple[tuple[str, Token], ...]
"""Keys and the values that they must have; nothing is always so."""
GATE = "?"
"""Ends the key of a coordinate that says whether an option is given at all."""


def holds(when: When, point: Mapping[str, Token]) -> bool:
    """Whether a point has all these values."""
    return all(point.get(key) == token for key, token in when)


@dataclass(frozen=True)
class Dimension:
    """One coordinate.

    Attributes:
        key: unique in its space.
        option: the option that it decides, alone or with others.
        domain: its values.
        start: one that is known to be good: the option's default where that is one of them.
        when: where it applies; every key in it is of a dimension that stands before it in the space.
    """

    key: str
    option: str
    domain: Domain
    start: Token
    when: When = ()


class Assignment(Protocol):
    """How an option follows from a point."""

    @property
    def option(self) -> str:
        """Its name as ``--strategy`` takes it, such as ``draft.exit_layer``."""
        ...

    @property
    def when(self) -> When:
        """Where the option is given at all."""
        ...

    def value(self, point: Mapping[str, Token]) -> JsonValue:
        """Its value; None where it is left to its default."""
        ...

    def point(self, value: JsonValue) -> Point:
        """The coordinates that give a value (None: that leave it to its default).

        Raises:
            ValueError: none do.
        """
        ...


@dataclass(frozen=True)
class Fixed:
    """An option that is not searched."""

    option: str
    when: When
    fixed: JsonValue

    def value(self, point: Mapping[str, Token]) -> JsonValue:
        """What it is fixed to."""
        return self.fixed

    def point(self, value: JsonValue) -> Point:
        """None are needed, as long as it is that value."""
        if value is not None and value != self.fixed:
            raise ValueError("fixed to another value")
        return {}


@dataclass(frozen=True)
class Searched:
    """An option that is one coordinate.

    Attributes:
        dimension: the coordinate.
        default: what the option is if it is not given; such a value is left out.
        gate: the key that says whether the option is given, for one whose default is not in its range.
    """

    dimension: Dimension
    default: JsonValue = None
    gate: str | None = None

    @property
    def option(self) -> str:
        """That of the coordinate."""
        return self.dimension.option

    @property
    def when(self) -> When:
        """Where the coordinate applies."""
        return self.dimension.when

    def value(self, point: Mapping[str, Token]) -> JsonValue:
        """That of the coordinate; None where it is the default."""
        value = self.dimension.domain.read(point[self.dimension.key])
        return None if alike(value, self.default) else value

    def point(self, value: JsonValue) -> Point:
        """The coordinate's token."""
        if value is None and self.gate is not None:
            return {self.gate: False}
        if value is None and self.default is None:
            return {}
        value = self.default if value is None else value
        opened: Point = {} if self.gate is None else {self.gate: True}
        return {**opened, self.dimension.key: self.dimension.domain.token(value)}
