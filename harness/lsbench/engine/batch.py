"""Sequences that decode together, each by code that knows nothing of the others.

Every member runs in a greenlet: its own stack in the same thread. When it asks its session for a step it
is left there until all the others wait for one too; then one step serves them all, so that each weight is
read once for the whole batch. Sequences may bring different numbers of tokens and run to different depths,
and one that has ended leaves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from greenlet import getcurrent, greenlet

from lsbench.engine.clock import Clock
from lsbench.engine.session import Session
from lsbench.engine.stack import DecoderStack
from lsbench.engine.step_request import StepOutcome, StepRequest
from lsbench.engine.stepping import take_step

T = TypeVar("T")


@dataclass(frozen=True)
class _Asked:
    """A member's code, stopped where it wants a step."""

    asker: greenlet
    request: StepRequest


class Batch:
    """Runs several members at once.

    Args:
        stack: the model.

    Attributes:
        clock: stands still while a finished member's result is being dealt with outside.
    """

    def __init__(self, stack: DecoderStack) -> None:
        self._stack = stack
        self._hub: greenlet | None = None
        self.clock = Clock(stack.device)

    def session(self, capacity: int) -> Session:
        """A session for one member, to be used from within ``run``."""
        return Session(self._stack, capacity=capacity, take_step=self._ask)

    def run(self, members: Sequence[Callable[[], T]]) -> Iterator[T]:
        """What each member returns, as soon as it does.

        A step that fails fails in every member that waited for it. What a member raises is raised here and
        ends the batch; closing the iterator ends it too (by greenlet's ``GreenletExit``).
        """
        running = [greenlet(member) for member in members]
        ready: deque[tuple[int, Callable[[], object]]] = deque(
            (place, member.switch) for place, member in enumerate(running)
        )
        waiting: dict[int, _Asked] = {}
        try:
            while ready or waiting:
                while ready:
                    place, go_on = ready.popleft()
                    said = self._enter(running[place], go_on)
                    if running[place].dead:
                        with self.clock.stopped():
                            yield cast(T, said)
                    else:
                        waiting[place] = cast(_Asked, said)
                if waiting:
                    ready.extend(self._serve(waiting))
        finally:
            for member in running:
                self._enter(member, member.throw)

    def _ask(self, request: StepRequest) -> StepOutcome:
        hub = self._hub
        assert hub is not None  # a session of a batch decodes within ``run``
        return cast(StepOutcome, hub.switch(_Asked(getcurrent(), request)))

    def _enter(self, member: greenlet, go_on: Callable[[], object]) -> object:
        """Let a member's code go on until it asks or ends."""
        self._hub = member.parent = getcurrent()
        # Members enter and leave this mode in the middle of one another: what each finds must be the same.
        with torch.inference_mode():
            return go_on()

    def _serve(self, waiting: dict[int, _Asked]) -> list[tuple[int, Callable[[], object]]]:
        """Take a step for those who wait, and say how each goes on.

        Who verifies waits for those who draft: a draft's step is short, and a verifying pass beside it would
        make it as long as its own, again and again.
        """
        places = [place for place, asked in waiting.items() if not asked.request.verifies] or list(waiting)
        served = {place: waiting.pop(place) for place in sorted(places)}
        try:
            with torch.inference_mode():
                outcomes = take_step(self._stack, [asked.request for asked in served.values()])
        except Exception as failure:
            return [(place, _throwing(asked.asker, failure)) for place, asked in served.items()]
        return [
            (place, _giving(asked.asker, outcome))
            for (place, asked), outcome in zip(served.items(), outcomes, strict=True)
        ]


def _giving(asker: greenlet, outcome: StepOutcome) -> Callable[[], object]:
    return lambda: asker.switch(outcome)


def _throwing(asker: greenlet, failure: Exception) -> Callable[[], object]:
    return lambda: asker.throw(failure)
