"""A function that calls back with what it has, turned into an iterator that hands it out one piece at a time.

For methods whose loop is somebody else's, and calls back. The function runs in a greenlet: its own stack in
the same thread, left whenever something is out and entered again when the next is asked for. A thread would
do it too, but its products would run in another pool of OpenMP threads than everyone else's, which spin and
sleep differently, and timings would not compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, Self, TypeVar, cast

import torch
from greenlet import getcurrent, greenlet
from torch import Tensor

Item = TypeVar("Item")


class BorrowedRandomness:
    """torch's global random numbers, seeded for one request and given back as they were after every turn.

    Args:
        seed: of the request.
        device: whose generator is drawn from besides the CPU's.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._seed = seed
        self._generators = [torch.default_generator]
        if device.type == "cuda":
            known = cast("int | None", device.index)
            index = torch.cuda.current_device() if known is None else known
            self._generators.append(torch.cuda.default_generators[index])
        self._own: list[Tensor] | None = None
        self._found: list[Tensor] = []

    def __enter__(self) -> None:
        """The request's turn begins."""
        self._found = [generator.get_state() for generator in self._generators]
        for place, generator in enumerate(self._generators):
            if self._own is None:
                generator.manual_seed(self._seed)
            else:
                generator.set_state(self._own[place])

    def __exit__(self, *_: object) -> None:
        """The request's turn is over."""
        self._own = [generator.get_state() for generator in self._generators]
        for generator, state in zip(self._generators, self._found, strict=True):
            generator.set_state(state)


class Relay(Generic[Item]):
    """What the function calls."""

    def hand(self, item: Item) -> None:
        """Hand something out, and go on when more is asked for; called by the function alone."""
        asking = getcurrent().parent
        assert asking is not None  # only a thread's main greenlet has none, and ``run`` makes another
        asking.switch(item)

    def run(
        self, function: Callable[[Self], object], randomness: BorrowedRandomness | None = None
    ) -> Iterator[Item]:
        """What ``function`` hands out. Whatever it raises is raised here.

        The function is unwound (by greenlet's ``GreenletExit``) when the iterator is closed before its end.

        Args:
            function: is given this relay.
            randomness: whose random numbers it draws; None when it draws none.
        """
        running = greenlet(lambda: function(self))
        try:
            while True:
                running.parent = getcurrent()
                if randomness is None:
                    item = running.switch()
                else:
                    with randomness:
                        item = running.switch()
                if running.dead:
                    return
                yield cast(Item, item)
        finally:
            running.throw()


class StreamRelay(Relay[tuple[int, ...]]):
    """A relay of tokens that is a streamer, as transformers' ``generate`` takes one."""

    def __init__(self) -> None:
        self._prompt_seen = False

    def put(self, value: Tensor) -> None:
        """Take what was generated, ids of any shape; the first call gives the prompt, and is passed over."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        # torch gives ``tolist`` no element type.
        self.hand(tuple(cast("list[int]", value.reshape(-1).tolist())))  # pyright: ignore[reportUnknownMemberType]

    def end(self) -> None:
        """All was put; the function says so by returning, too."""
