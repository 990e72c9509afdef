"""Ranks that take turns in one process: what a group does, tried on a small model and without a launcher.

Each runs in a greenlet, its own stack in the same thread, and is left where it waits for the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar, cast

import torch
from greenlet import getcurrent, greenlet
from torch import Tensor

from lsbench.engine.agreement import Disagreement, GroupAgreement
from lsbench.engine.shard_loading import part_of
from lsbench.engine.sharding import Rank
from lsbench.engine.stack import DecoderStack

T = TypeVar("T")


@dataclass(frozen=True)
class _Waiting:
    """A rank that is left where it brings a part of a sum, or waits for words."""

    asker: greenlet
    brings: Tensor | None = None
    words: frozenset[str] = frozenset()


class _Turns(Generic[T]):
    """Lets ranks run one after the other.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.outcomes: list[T | Exception] = [RuntimeError("it did not run")] * size
        self._hub = getcurrent()
        self._said: set[str] = set()

    def sum(self, tensor: Tensor) -> Tensor:
        """Of what all ranks bring; called within a rank."""
        return tensor.copy_(cast(Tensor, self._hub.switch(_Waiting(getcurrent(), brings=tensor))))

    def set(self, key: str, value: str) -> None:
        """Say something."""
        self._said.add(key)

    def wait(self, keys: list[str], timeout: timedelta) -> None:
        """Until all are said; at once where those who could are waiting too."""
        self._hub.switch(_Waiting(getcurrent(), words=frozenset(keys)))

    def run(self, jobs: Sequence[Callable[[], T]]) -> None:
        """Until all have ended; what each came to is in ``outcomes``."""
        ranks = [
            greenlet(lambda place=place, job=job: self._end(place, job)) for place, job in enumerate(jobs)
        ]
        waiting: dict[int, _Waiting] = {}
        ready: deque[tuple[int, Callable[[], object]]] = deque(
            (place, rank.switch) for place, rank in enumerate(ranks)
        )
        while ready or waiting:
            while ready:
                place, go_on = ready.popleft()
                said = go_on()
                if not ranks[place].dead:
                    waiting[place] = cast(_Waiting, said)
            ready.extend(self._next(waiting))
            waiting.clear()

    def _end(self, place: int, job: Callable[[], T]) -> None:
        try:
            self.outcomes[place] = job()
        except Exception as error:
            self.outcomes[place] = error

    def _next(self, waiting: dict[int, _Waiting]) -> list[tuple[int, Callable[[], object]]]:
        """How all those go on that wait, when nobody runs."""
        found: list[tuple[int, Callable[[], object]]] = []
        brought = [each.brings for each in waiting.values() if each.brings is not None]
        fits = len(brought) == self.size and len({each.shape for each in brought}) == 1
        total = sum(brought[1:], brought[0].clone()) if fits else None
        for place, each in waiting.items():
            if each.brings is None:
                found.append((place, _answering(each, None if each.words <= self._said else TimeoutError())))
            else:
                apart = Disagreement(f"Of {self.size} ranks, rank {place} adds up what others do not bring.")
                found.append((place, _answering(each, apart if total is None else total)))
        return found


def _answering(waiting: _Waiting, answer: Tensor | Exception | None) -> Callable[[], object]:
    if isinstance(answer, Exception):
        return lambda: waiting.asker.throw(answer)
    return lambda: waiting.asker.switch(answer)


def run_on_ranks(stack: DecoderStack, size: int, job: Callable[[DecoderStack], T]) -> list[T | Exception]:
    """What ``job`` makes of each rank's part of a model.

    Args:
        stack: the whole model, small.
        size: how many ranks; no more than key-value heads.
        job: run on each. It draws from no random numbers that a process has but one of.

    Returns:
        of each rank what it returned, or raised.
    """
    turns: _Turns[T] = _Turns(size)
    parts = [
        part_of(stack, Rank(number, size), GroupAgreement(number, size, turns.sum, turns, wait_s=0))
        for number in range(size)
    ]
    # Ranks enter and leave this mode in the middle of one another: what each finds must be the same.
    with torch.inference_mode():
        turns.run([lambda part=part: job(part) for part in parts])
    return turns.outcomes
