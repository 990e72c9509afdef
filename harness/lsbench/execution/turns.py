"""Which requests run together, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lsbench.spec import GenerateRequest, Request


@dataclass(frozen=True)
class Turn:
    """Requests that every contender runs before anyone goes on.

    Attributes:
        index: place in the run.
        requests: a single one, or generations of one task and repeat.
        batch: which batch of its task they decode as, the same at every repeat; None when each decodes alone.
        size: how many the batch holds.
    """

    index: int
    requests: tuple[Request, ...]
    batch: int | None = None
    size: int = 1


def turns(requests: Sequence[Request], batch_size: int) -> list[Turn]:
    """Requests in their order; with a batch size above 1, generations of one task and repeat together.

    A batch is made of the same prompts at every repeat, and the last of a task may be smaller.
    """
    made: list[Turn] = []
    waiting: dict[tuple[str, int], list[Request]] = {}
    batches: Counter[tuple[str, int]] = Counter()

    def batch(kind: tuple[str, int]) -> None:
        group = waiting.pop(kind)
        made.append(Turn(len(made), tuple(group), batches[kind], len(group)))
        batches[kind] += 1

    for place, request in enumerate(requests):
        if batch_size == 1 or not isinstance(request, GenerateRequest):
            made.append(Turn(len(made), (request,)))
        else:
            kind = (request.task, request.repeat)
            waiting.setdefault(kind, []).append(request)
            if len(waiting[kind]) == batch_size:
                batch(kind)
        if place + 1 == len(requests) or requests[place + 1].task != request.task:
            for kind in sorted(waiting):
                batch(kind)
    return made
