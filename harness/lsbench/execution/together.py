"""A batch whose sequences share no step of the engine: one loop of the strategy's own, or turns; timed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from lsbench.engine.clock import Clock
from lsbench.engine.session import Session
from lsbench.execution.generation import Followed, Generation, capacity_for
from lsbench.spec import GenerateRequest
from lsbench.strategy import Emitted, Member, Strategy
from lsbench.strategy.members import emissions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lsbench.engine.stack import DecoderStack


def generate_together(
    stack: DecoderStack,
    tokenizer: PreTrainedTokenizerBase,
    strategy: Strategy,
    requests: Sequence[GenerateRequest],
) -> Iterator[tuple[int, Generation | Exception]]:
    """Run ``strategy`` on a batch until a stop condition holds for each.

    All begin at once, and one clock runs for all; it stands still while a result is dealt with outside.

    Args:
        stack: the model.
        tokenizer: the model's.
        strategy: prepared; one whose ``batching()`` is not ``steps``.
        requests: what to continue.

    Yields:
        the place of a request and what its generation gave, as soon as it has ended; or why it failed.
    """
    clock = Clock(stack.device)
    followed = [Followed(stack, tokenizer, request, clock) for request in requests]
    members = [Member(Session(stack, capacity=capacity_for(request)), request) for request in requests]

    def outcome(place: int) -> Generation | Exception:
        members[place].ended = True
        try:
            return followed[place].result(members[place].session)
        except Exception as error:
            return error

    def failure(place: int, error: Exception) -> Exception:
        members[place].ended = True
        return error

    def taken(place: int, said: Emitted | Exception) -> Generation | Exception | None:
        if isinstance(said, Exception):
            return failure(place, said)
        try:
            return outcome(place) if followed[place].take(said) else None
        except Exception as error:
            return failure(place, error)

    with closing(emissions(strategy, members)) as coming:
        for place, said in coming:
            result = taken(place, said)
            if result is not None:
                with clock.stopped():
                    yield place, result
    for place, member in enumerate(members):
        if not member.ended:
            yield place, outcome(place)
