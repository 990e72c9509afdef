"""Requests of a batch that share no step of the engine: each in a loop of all, or taking turns."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING

from lsbench.spec import GenerateRequest
from lsbench.strategy.emission import Emitted

if TYPE_CHECKING:
    from lsbench.engine import Session
    from lsbench.strategy import Strategy


@dataclass
class Member:
    """One request of a batch, as ``Strategy.generate_together`` gets it.

    Attributes:
        session: an empty one, for this request alone; its ``model`` is the transformers model.
        request: what to continue.
        ended: set by the caller as soon as a stop condition holds. What comes out for it from then on is
            passed over, so that a loop may leave it out or carry it along.
    """

    session: Session
    request: GenerateRequest
    ended: bool = False


def emissions(strategy: Strategy, members: Sequence[Member]) -> Generator[tuple[int, Emitted | Exception]]:
    """What comes out and for which of the members, in the order it does, or what failed in its place.

    It ends when all members have ended, or when nothing more comes. Whoever iterates sets ``ended``, after a
    failure too.

    Args:
        strategy: one whose ``batching()`` is not ``steps``.
        members: none of them begun.
    """
    if strategy.batching() == "loop":
        return _in_its_loop(strategy, members)
    return _in_turns(strategy, members)


def _in_its_loop(strategy: Strategy, members: Sequence[Member]) -> Generator[tuple[int, Emitted | Exception]]:
    """What fails in a loop that all share fails for all who have not ended."""
    try:
        for number, emitted in strategy.generate_together(members):
            place = index(number)
            if not 0 <= place < len(members):
                raise ValueError(f"emitted for member {place}; the batch has 0 to {len(members) - 1}")
            if not members[place].ended:
                yield place, emitted
            if all(member.ended for member in members):
                return
    except Exception as error:
        for place, member in enumerate(members):
            if not member.ended:
                yield place, error


def _in_turns(strategy: Strategy, members: Sequence[Member]) -> Generator[tuple[int, Emitted | Exception]]:
    """One emission of each, again and again; what fails fails for one alone."""
    import torch

    running = {place: _generation(strategy, member) for place, member in enumerate(members)}
    try:
        while running:
            for place, generation in list(running.items()):
                # Members enter and leave torch's modes in the middle of one another: what each finds must
                # be the same.
                with torch.inference_mode():
                    said = _next(generation)
                if said is not None:
                    yield place, said
                if said is None or isinstance(said, Exception) or members[place].ended:
                    with torch.inference_mode():
                        running.pop(place).close()
    finally:
        with torch.inference_mode():
            for generation in running.values():
                generation.close()


def _generation(strategy: Strategy, member: Member) -> Generator[Emitted]:
    """What a strategy does when it is called, and not only when it is asked for more, is its turn, too."""
    yield from strategy.generate(member.session, member.request)


def _next(generation: Iterator[Emitted]) -> Emitted | Exception | None:
    try:
        return next(generation, None)
    except Exception as error:
        return error
