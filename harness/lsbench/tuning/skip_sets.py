"""Skip sets as coordinates of a search: which sub-layers to leave out, of those that seem to matter least.

L layers have 4^L skip sets, far more than can be tried. What is known beforehand is block influence (1 minus
the cosine of what goes into a sub-layer and what comes out), and per byte of weights saved it ranks them.
A ladder tries beginnings of that ranking, one coordinate in all. Choices decide on each of the first ones by
itself, which also finds sets that no beginning is, and needs more trials. Searching skip sets by Bayesian
optimisation is Draft & Verify's way (Zhang et al., 2024) and SWIFT's (Xia et al., 2024).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from lsbench.tuning.coordinates import Assignment, Dimension, Point, When
from lsbench.tuning.domains import Among, Token, Whole

OPTION = "skip_set"
"""An option of this name takes a list of layers (``12``) and sub-layers (``12.attention``, ``12.mlp``)."""
_START_SHARES = (0.1, 0.2, 0.3)
"""Shares of all weights that the first sets tried leave out; the start is the one in the middle."""


@dataclass(frozen=True)
class Ranked:
    """One part of the model that can be left out.

    Attributes:
        item: as skip sets name it: ``12``, ``12.attention`` or ``12.mlp``.
        influence: how much it changes the hidden state, 0 to 2.
        weight_bytes: what a token reads there.
    """

    item: str
    influence: float
    weight_bytes: float


def ranking(parts: Sequence[tuple[str, float, float]]) -> tuple[Ranked, ...]:
    """Parts (item, influence, bytes) by influence per byte, the least first; of equals, the first given."""
    return tuple(
        sorted((Ranked(*part) for part in parts), key=lambda each: each.influence / each.weight_bytes)
    )


@dataclass(frozen=True)
class SkipSets:
    """How skip sets are searched.

    Attributes:
        ranked: every part that can be left out, the least harmful first (``ranking``).
        form: ``ladder`` or ``choices``.
        most: share of all their weights that the parts searched over may have.
    """

    ranked: tuple[Ranked, ...]
    form: Literal["ladder", "choices"] = "choices"
    most: float = 0.5

    @property
    def candidates(self) -> tuple[Ranked, ...]:
        """The parts searched over: the longest beginning within ``most``, of one part at least."""
        return self.ranked[: max(1, self._within(self.most))]

    def coordinates(
        self, option: str, key: str, when: When
    ) -> tuple[list[Dimension], Assignment, list[Point]]:
        """The coordinates of one option, how it follows from them, and points worth trying.

        Args:
            option: its name as ``--strategy`` takes it.
            key: what the coordinates' keys begin with.
            when: where it applies.
        """
        candidates = self.candidates
        items = tuple(each.item for each in candidates)
        lengths = [min(max(1, self._within(share)), len(items)) for share in _START_SHARES]
        start = lengths[len(lengths) // 2]
        if self.form == "ladder":
            rung = Dimension(f"{key}:parts", option, Whole(1, len(items)), start, when)
            ladder = _Beginning(option, when, rung.key, items)
            return [rung], ladder, [{rung.key: length} for length in dict.fromkeys(lengths)]
        switches = [
            Dimension(f"{key}:{item}", option, Among((False, True)), place < start, when)
            for place, item in enumerate(items)
        ]
        keys = tuple(switch.key for switch in switches)
        hints: list[Point] = [
            {name: place < length for place, name in enumerate(keys)} for length in dict.fromkeys(lengths)
        ]
        return switches, _Chosen(option, when, keys, items), hints

    def _within(self, share: float) -> int:
        """How many parts the longest beginning has that weighs no more than a share of all."""
        allowance = share * sum(each.weight_bytes for each in self.ranked) * (1 + 1e-9)
        total = 0.0
        for count, each in enumerate(self.ranked):
            total += each.weight_bytes
            if total > allowance:
                return count
        return len(self.ranked)


@dataclass(frozen=True)
class _Beginning:
    """The first so many items, in the order of leaving out."""

    option: str
    when: When
    key: str
    items: tuple[str, ...]

    def value(self, point: Mapping[str, Token]) -> JsonValue:
        return list(self.items[: int(point[self.key])])  # type: ignore[arg-type]

    def point(self, value: JsonValue) -> Point:
        if value is None:
            return {}
        if not isinstance(value, list) or value != list(self.items[: len(value)]) or not value:
            raise ValueError("no beginning of the ranking")
        return {self.key: len(value)}


@dataclass(frozen=True)
class _Chosen:
    """Each item by itself, in the order of leaving out."""

    option: str
    when: When
    keys: tuple[str, ...]
    items: tuple[str, ...]

    def value(self, point: Mapping[str, Token]) -> JsonValue:
        return [item for key, item in zip(self.keys, self.items, strict=True) if point[key]]

    def point(self, value: JsonValue) -> Point:
        if value is None:
            return {}
        if not isinstance(value, list) or not {str(item) for item in value} <= set(self.items):
            raise ValueError("not made of the parts that are searched over")
        chosen = {str(item) for item in value}
        return {key: item in chosen for key, item in zip(self.keys, self.items, strict=True)}
