"""What runs in Ray Tune's own processes: next to nothing. A trial asks at the search's desk, and reports."""

from __future__ import annotations

import asyncio
from typing import Any

from lsbench.tuning.searchers import OBJECTIVE

NUMBER = "number"
"""The one thing that a trial is told: which one it is."""


class Desk:
    """An actor: trials leave their number and wait, the search takes numbers and brings answers."""

    def __init__(self) -> None:
        self._asked: asyncio.Queue[int] = asyncio.Queue()
        self._answers: dict[int, asyncio.Future[float]] = {}

    async def ask(self, number: int) -> float:
        """Wait for what came of a trial."""
        answer = self._answers.get(number)
        if answer is None:
            answer = self._answers[number] = asyncio.get_running_loop().create_future()
            await self._asked.put(number)
        return await asyncio.shield(answer)

    async def take(self) -> int:
        """A trial that waits and was not taken before, as soon as there is one."""
        return await self._asked.get()

    async def tell(self, number: int, value: float) -> None:
        """What came of a trial."""
        answer = self._answers[number]
        if not answer.done():
            answer.set_result(value)


def trial(config: dict[str, Any], desk: Any) -> None:
    """One trial, as Ray Tune runs it."""
    import ray
    from ray import tune
    from ray.exceptions import ActorDiedError

    try:
        value = ray.get(desk.ask.remote(config[NUMBER]))
    except ActorDiedError:
        value = 0.0  # the search has ended before, and nobody asks
    tune.report({OBJECTIVE: value})
