"""What a generation's emissions add up to, worked out when it has ended and no clock runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from lsbench.strategy import Emitted

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Taken:
    """An emission as far as it was taken: up to a stop condition within it.

    Attributes:
        at_ns: the clock when it was out.
        count: how many of its tokens were taken.
        emission: as the strategy made it.
        depth: layers run for each of its tokens, as plain numbers.
        confidence: of each token that was let stop early, likewise.
        ends: whether a stop condition holds with it.
    """

    at_ns: int
    count: int
    emission: Emitted
    depth: tuple[float, ...] | None
    confidence: tuple[float | None, ...] | None
    ends: bool


@dataclass(frozen=True)
class Account:
    """The figures of one generation; ``SampleRecord`` says what each means."""

    token_s: tuple[float, ...]
    layers_run: tuple[float, ...] | None
    confidences: tuple[float | None, ...] | None
    drafted: int | None
    accepted: int | None
    verify_passes: int | None
    drafted_tokens: tuple[bool, ...] | None
    draft_passes: tuple[tuple[int, int], ...] | None
    draft_layers: float | None
    verify_layers: float | None
    draft_heads: float | None


def account(taken: Sequence[Taken], begin_ns: int) -> Account:
    """Add emissions up.

    Args:
        taken: in order, the last of them with a stop condition.
        begin_ns: the clock when the request began.
    """
    said = [each.emission for each in taken]
    drafts = any(emission.drafted is not None for emission in said)
    verified = sum(
        # A pass ends with the verifier's own token, unless a stop within its drafts leaves that untaken.
        each.emission.kind == "verified" or (each.emission.kind == "accepted" and each.ends)
        for each in taken
    )
    return Account(
        token_s=tuple(seconds for each, seconds in zip(taken, _times(taken, begin_ns), strict=True)
                      for _ in range(each.count)),
        layers_run=_of_each_token([(each.depth, each.count) for each in taken]),
        confidences=_confidences(taken),
        drafted=_total([emission.drafted for emission in said]),
        accepted=sum(each.count for each in taken if each.emission.kind == "accepted") if drafts else None,
        verify_passes=verified if drafts else None,
        drafted_tokens=_drafted_tokens(taken),
        draft_passes=_passes(taken),
        draft_layers=_total([emission.draft_layers for emission in said]),
        verify_layers=_total([emission.verify_layers for emission in said]),
        draft_heads=_total([emission.draft_heads for emission in said]),
    )  # fmt: skip


def _times(taken: Sequence[Taken], begin_ns: int) -> list[float]:
    """Seconds of each emission; the drafts that a pass accepted are out when its own token is."""
    times = [(each.at_ns - begin_ns) / 1e9 for each in taken]
    for place in range(1, len(taken) - 1):
        kinds = taken[place].emission.kind, taken[place + 1].emission.kind
        if kinds == ("accepted", "verified"):
            times[place] = times[place + 1]
    return times


def _confidences(taken: Sequence[Taken]) -> tuple[float | None, ...] | None:
    found = [(each.confidence or (None,) * each.count)[: each.count] for each in taken]
    every = tuple(chain.from_iterable(found))
    return every if any(confidence is not None for confidence in every) else None


def _drafted_tokens(taken: Sequence[Taken]) -> tuple[bool, ...] | None:
    kinds = {each.emission.kind for each in taken}
    if kinds == {"decoded"}:
        return None
    return tuple(each.emission.kind == "accepted" for each in taken for _ in range(each.count))


def _passes(taken: Sequence[Taken]) -> tuple[tuple[int, int], ...] | None:
    """A pass begins with the emission that says how many tokens it drafted; None where one does not say."""
    passes: list[tuple[int, int]] = []
    under_way = False
    for each in taken:
        emission = each.emission
        if emission.drafted is not None:
            passes.append((emission.drafted, 0))
            under_way = True
        if emission.kind == "decoded":
            continue
        if not under_way:
            return None
        if emission.kind == "accepted":
            drafted, accepted = passes[-1]
            passes[-1] = drafted, accepted + each.count
        under_way = emission.kind == "accepted"
    return tuple(passes) if passes else None


def _of_each_token(parts: Sequence[tuple[tuple[float, ...] | None, int]]) -> tuple[float, ...] | None:
    values: list[float] = []
    for part, count in parts:
        if part is None:
            return None
        values.extend(part[:count])
    return tuple(values)


def _total(values: Sequence[Number | None]) -> Number | None:
    told = [value for value in values if value is not None]
    return sum(told[1:], start=told[0]) if told else None
