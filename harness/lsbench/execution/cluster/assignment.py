"""A turn as it is handed to a replica, and what of it is left when that replica was lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from lsbench.execution.lines import Kind, key_of
from lsbench.execution.turns import Turn
from lsbench.records import RecordKey, SampleRecord
from lsbench.spec import GenerateRequest, Request, StrategyChoice

_LOOKS: tuple[Kind, ...] = ("fidelity", "parity", "certificate")


@dataclass(frozen=True)
class Order:
    """What a rank is told to run.

    Attributes:
        turn: the requests, under everyone.
        finished: what of them need not be run.
        attempts: the last failed attempt, where there was one.
        earlier: records that outputs are compared with, or that say how much was looked at already.
    """

    turn: Turn
    finished: frozenset[RecordKey]
    attempts: Mapping[RecordKey, int]
    earlier: tuple[SampleRecord, ...]


@dataclass(frozen=True)
class Piece:
    """A record that a turn is to give.

    Attributes:
        choice: under whom.
        request: of what.
        kind: what of it.
    """

    choice: StrategyChoice
    request: Request
    kind: Kind

    @property
    def key(self) -> RecordKey:
        """Of the record."""
        return key_of(self.choice.label, self.request, self.kind)


@dataclass
class Assignment:
    """A turn on its way through the replicas.

    Attributes:
        turn: the requests.
        choices: who runs them: the baseline first.
        compared: labels of those whose outputs are looked at beside the baseline's.
        losses: how often a replica was lost while it had the same in hand: whose, and what.
    """

    turn: Turn
    choices: Sequence[StrategyChoice]
    compared: AbstractSet[str]
    losses: Counter[tuple[str, Kind]] = field(default_factory=Counter)

    def missing(self, done: AbstractSet[RecordKey], failed: AbstractSet[RecordKey]) -> list[Piece]:
        """What is still to come, in the order in which a worker runs it.

        Args:
            done: records that are there.
            failed: those of them that hold an error: what follows from them never comes.
        """
        there = done - failed
        return [piece for piece in self._pieces(there) if piece.key not in done]

    def everything(self) -> Iterator[Piece]:
        """Whatever a worker could give, looks included that only follow from other records."""
        for choice in self.choices:
            for request in self.turn.requests:
                yield Piece(choice, request, request.kind)
                if isinstance(request, GenerateRequest):
                    yield from (Piece(choice, request, kind) for kind in _LOOKS)

    def given_up(self, missing: Sequence[Piece], max_retries: int) -> list[Piece]:
        """What was in hand when a replica was lost, if that has happened too often now; else nothing.

        Args:
            missing: what was not there yet.
            max_retries: how often it may be run again.
        """
        if not missing:
            return []
        first = missing[0]
        self.losses[first.choice.label, first.kind] += 1
        if self.losses[first.choice.label, first.kind] <= max_retries:
            return []
        if first.kind in _LOOKS:
            return [first]
        # All that decodes together was in hand.
        return [piece for piece in missing if (piece.choice, piece.kind) == (first.choice, first.kind)]

    def _pieces(self, there: AbstractSet[RecordKey]) -> Iterator[Piece]:
        order = self.choices if self.turn.index % 2 == 0 else self.choices[::-1]
        for choice in order:
            for request in self.turn.requests:
                yield Piece(choice, request, request.kind)
        baseline = self.choices[0].label
        for request in self.turn.requests:
            if not isinstance(request, GenerateRequest) or key_of(baseline, request, "generate") not in there:
                continue
            for choice in self.choices[1:]:
                yield Piece(choice, request, "fidelity")
                if choice.label in self.compared and key_of(choice.label, request, "generate") in there:
                    yield Piece(choice, request, "parity" if request.sampling.greedy else "certificate")
