"""The values that one coordinate of a search can take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from lsbench.option_text import write_value

if TYPE_CHECKING:
    from numpy.random import Generator

Token = str | int | float | bool | None
"""A value as a searcher handles it: never a list or a mapping, which searchers take for a space."""


@dataclass(frozen=True)
class Whole:
    """Whole numbers from ``low`` to ``high``, both included."""

    low: int
    high: int

    def draw(self, random: Generator) -> Token:
        """One of them, each equally likely."""
        return int(random.integers(self.low, self.high, endpoint=True))

    def at(self, fraction: float) -> Token:
        """The number that stands at a fraction of the way from ``low`` to ``high``."""
        return round(self.low + fraction * (self.high - self.low))

    def spread(self, count: int) -> tuple[Token, ...]:
        """At most ``count`` different ones at even distances, both ends among them."""
        return tuple(dict.fromkeys(self.at(fraction) for fraction in _fractions(count)))

    def nearest(self, value: object) -> Token:
        """The one nearest to a number; None for anything else."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return min(max(round(value), self.low), self.high)

    def read(self, token: Token) -> JsonValue:
        """The option's value; searchers give numbers of their own types."""
        return int(token)  # type: ignore[arg-type]

    def token(self, value: object) -> Token:
        """The token of an option's value.

        Raises:
            ValueError: it is none of them.
        """
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise ValueError(f"not a whole number from {self.low} to {self.high}")
        return value

    @property
    def ends(self) -> tuple[Token, ...]:
        """What is to be checked so that all of them hold."""
        return (self.low, self.high)


@dataclass(frozen=True)
class Real:
    """Numbers from ``low`` to ``high``."""

    low: float
    high: float

    def draw(self, random: Generator) -> Token:
        """One of them, uniformly."""
        return self._rounded(random.uniform(self.low, self.high))

    def at(self, fraction: float) -> Token:
        """The number at a fraction of the way from ``low`` to ``high``."""
        return self._rounded(self.low + fraction * (self.high - self.low))

    def spread(self, count: int) -> tuple[Token, ...]:
        """``count`` of them at even distances, both ends among them."""
        return tuple(dict.fromkeys(self.at(fraction) for fraction in _fractions(count)))

    def nearest(self, value: object) -> Token:
        """The one nearest to a number; None for anything else."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return min(max(float(value), self.low), self.high)

    def read(self, token: Token) -> JsonValue:
        """The option's value, to four significant digits: no measurement of ours tells more apart."""
        return self._rounded(float(token))  # type: ignore[arg-type]

    def token(self, value: object) -> Token:
        """The token of an option's value.

        Raises:
            ValueError: it is none of them.
        """
        if self.nearest(value) != value:
            raise ValueError(f"not a number from {self.low:g} to {self.high:g}")
        return float(value)  # type: ignore[arg-type]

    @property
    def ends(self) -> tuple[Token, ...]:
        """What is to be checked so that all of them hold."""
        return (self.low, self.high)

    def _rounded(self, value: float) -> float:
        return min(max(float(f"{value:.4g}"), self.low), self.high)


@dataclass(frozen=True)
class Among:
    """Some values of any kind, in the order in which they were named, none twice."""

    values: tuple[JsonValue, ...]

    @property
    def tokens(self) -> tuple[Token, ...]:
        """One for each value: itself, or what it is written as where it is a list or a mapping."""
        return tuple(map(_token, self.values))

    def draw(self, random: Generator) -> Token:
        """One of them, each equally likely."""
        return self.tokens[int(random.integers(len(self.values)))]

    def spread(self, count: int) -> tuple[Token, ...]:
        """All of them, however many are asked for: what lies between two of them is not known."""
        return self.tokens

    def nearest(self, value: object) -> Token:
        """The token of the value itself, or else of the first."""
        try:
            return self.token(value)
        except ValueError:
            return self.tokens[0]

    def read(self, token: Token) -> JsonValue:
        """The option's value; searchers give text and booleans of their own types."""
        plain = token.item() if hasattr(token, "item") else token  # type: ignore[union-attr]
        for own, value in zip(self.tokens, self.values, strict=True):
            if alike(own, plain):
                return value
        return next(value for own, value in zip(self.tokens, self.values, strict=True) if own == plain)

    def token(self, value: object) -> Token:
        """The token of an option's value.

        Raises:
            ValueError: it is none of them.
        """
        for token, own in zip(self.tokens, self.values, strict=True):
            if alike(own, value):
                return token
        raise ValueError(f"none of {', '.join(map(write_value, self.values))}")

    @property
    def ends(self) -> tuple[Token, ...]:
        """What is to be checked so that all of them hold."""
        return self.tokens


Domain = Whole | Real | Among


def alike(one: object, other: object) -> bool:
    """Whether two values are the same and of one kind: ``true`` is not 1, and 1 is not 1.0."""
    return type(one) is type(other) and one == other


def among(values: Sequence[JsonValue]) -> Among:
    """The different ones of some values, in their order."""
    kept: list[JsonValue] = []
    for value in values:
        if not any(alike(value, other) for other in kept):
            kept.append(value)
    return Among(tuple(kept))


def _token(value: JsonValue) -> Token:
    return write_value(value) if isinstance(value, list | dict) else value


def _fractions(count: int) -> list[float]:
    if count < 1:
        raise ValueError(f"{count} points cannot be spread over a range")
    return [0.5] if count == 1 else [index / (count - 1) for index in range(count)]
