"""Several things timed in turns, so that all of them meet the same machine; the shortest time of each counts.

What other work on the machine adds falls on one reading and not on another.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from lsbench.engine.clock import Clock

Name = TypeVar("Name", bound=Hashable)

_FEWEST_ROUNDS = 3
_MOST_ROUNDS = 40


def shortest(
    runs: Mapping[Name, Callable[[], object]],
    clock: Clock,
    budget_s: float,
    afterwards: Callable[[], object] = lambda: None,
    is_enough: Callable[[bool], bool] = lambda enough: enough,
) -> dict[Name, float]:
    """Seconds of each at its fastest.

    Args:
        runs: what to time, by name.
        clock: of the device that they run on.
        budget_s: how long to go on, as long as everything has run ``_FEWEST_ROUNDS`` times; a first round,
            which warms up, does not count.
        afterwards: called untimed after each run, to undo what it did.
        is_enough: told after each round whether this clock says so, says whether it is. Ranks that time the
            same together must end after the same round.
    """
    taken: dict[Name, list[int]] = {name: [] for name in runs}
    spent = 0
    for round_number in range(_MOST_ROUNDS + 1):
        for name, run in runs.items():
            begin = clock.now_ns()
            run()
            end = clock.now_ns()
            afterwards()
            if round_number:  # the first warms up
                taken[name].append(end - begin)
                spent += end - begin
        if is_enough(round_number >= _FEWEST_ROUNDS and spent >= budget_s * 1e9):
            break
    return {name: min(times) / 1e9 for name, times in taken.items()}
