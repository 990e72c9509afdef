"""What a search tries: each setting once, none that cannot run."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from lsbench.errors import BadInput
from lsbench.spec import StrategyChoice
from lsbench.tuning.coordinates import Point
from lsbench.tuning.searchers import Searcher
from lsbench.tuning.spaces import Space
from lsbench.tuning.trials import Trial

Origin = Literal["default", "start", "searcher", "grid", "random", "prediction"]
_LOOKED_AT = 100_000
"""Points that are looked at for one that is new; then there is taken to be none."""


@dataclass(frozen=True)
class Proposal:
    """One setting to try.

    Attributes:
        number: counted from 0.
        point: where it lies, whole; empty outside the space, as the default may.
        choice: the strategy with those options.
        origin: who proposed it.
    """

    number: int
    point: Point
    choice: StrategyChoice
    origin: Origin


class Proposals:
    """Hands out settings, and remembers what came of them. Any thread may call it.

    Args:
        space: what is searched.
        searcher: proposes what comes after the starts.
        starts: points to begin with.
        most: how many trials there may be, those of ``earlier`` included.
        origin: of what the searcher proposes.
        default: the strategy as it is without a search, tried first; None where it must be told more.
        earlier: trials of earlier processes of the search.
    """

    def __init__(
        self,
        space: Space,
        searcher: Searcher,
        starts: Sequence[Point],
        most: int,
        origin: Origin = "searcher",
        default: StrategyChoice | None = None,
        earlier: Iterable[Trial] = (),
    ) -> None:
        self._space, self._searcher, self._starts = space, searcher, tuple(starts)
        self._most, self._default = most, default
        self._origin: Origin = origin
        self._lock = threading.Lock()
        self._ended = False
        self._given: dict[int, Proposal] = {}
        self._values: dict[int, float] = {}
        for trial in earlier:
            self._given[trial.number] = Proposal(trial.number, trial.point, trial.choice, trial.origin)
            if trial.objective is not None:
                self._values[trial.number] = trial.objective

    def next(self) -> Proposal | None:
        """The next setting; None when there are enough, all were tried, or ``end`` was said."""
        with self._lock:
            if self._ended or len(self._given) >= self._most:
                return None
            # A trial that a killed process had in hand left a gap, which is filled first.
            number = next(number for number in range(len(self._given) + 1) if number not in self._given)
            proposal = self._find(number)
            if proposal is None:
                self._ended = True
            else:
                self._given[number] = proposal
            return proposal

    def tell(self, number: int, value: float) -> None:
        """What came of a setting: finite, and the larger the better."""
        with self._lock:
            self._values[number] = value

    def end(self) -> None:
        """Propose nothing any more."""
        with self._lock:
            self._ended = True

    def given(self, number: int) -> Proposal:
        """One that was handed out."""
        with self._lock:
            return self._given[number]

    def _find(self, number: int) -> Proposal | None:
        tried = {proposal.choice.label for proposal in self._given.values()}
        if self._default is not None and self._default.label not in tried:
            return Proposal(number, self._point_of(self._default), self._default, "default")
        for point, choice in self._space.trials(self._starts):
            if choice.label not in tried:
                return Proposal(number, point, choice, "start")
        known = [
            (self._given[each].point, value)
            for each, value in sorted(self._values.items())
            if self._given[each].point
        ]
        proposed = islice(self._searcher.propose(known, number), _LOOKED_AT)
        for point, choice in self._space.trials(proposed):
            if choice.label not in tried:
                return Proposal(number, point, choice, self._origin)
        return None

    def _point_of(self, choice: StrategyChoice) -> Point:
        """Where it lies; nowhere if its options leave to a default what the space decides."""
        try:
            point = self._space.point_of(choice)
            return point if self._space.to_choice(point).label == choice.label else {}
        except BadInput:
            return {}
