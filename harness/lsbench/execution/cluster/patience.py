"""How long a replica may be silent before it counts as hanging."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lsbench.execution.turns import Turn
from lsbench.records import SampleRecord, StepCost
from lsbench.spec import GenerateRequest

_LONGEST_NAP_S = 1.0


class WakingClock:
    """Seconds that pass only while this process runs and looks.

    One that was stopped, or a machine that slept, must not take for silence what it could not hear.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last, self._passed_s = clock(), 0.0

    def now_s(self) -> float:
        """Seconds passed since it was made, of which this process was awake; asked for often."""
        now = self._clock()
        self._passed_s += min(now - self._last, _LONGEST_NAP_S)
        self._last = now
        return self._passed_s


@dataclass
class Patience:
    """Seconds that may pass between two records of one turn: what the slowest of them should take, and more.

    Attributes:
        least_s: for every record, whatever it takes.
        times: how many times as long as expected is still waited for: other work on the machine, a strategy
            much slower than the baseline.
        start_s: for a process to start, load the model, calibrate, or warm up.
        token_s: seconds that a token takes, the slowest that was seen; None as long as none was.
        unseen_s: what is taken for that until then.
    """

    least_s: float = 300.0
    times: float = 20.0
    start_s: float = 3600.0
    token_s: float | None = None
    unseen_s: float = 0.5

    def measured(self, costs: Sequence[StepCost], num_layers: int) -> None:
        """Learn from what the parts of a step cost."""
        for cost in costs:
            step = cost.layer_s * num_layers + cost.head_s + cost.fixed_s
            self._learn(step / cost.width)

    def saw(self, record: SampleRecord) -> None:
        """Learn from a request that is finished."""
        if record.decode_s and record.token_ids and len(record.token_ids) > 1:
            self._learn(record.decode_s / (len(record.token_ids) - 1))

    def seconds(self, turn: Turn) -> float:
        """How long the next record of a turn may take to come."""
        tokens = 0
        for request in turn.requests:
            if isinstance(request, GenerateRequest):
                tokens += len(request.prompt_tokens) + request.max_new_tokens
            else:
                tokens += sum(len(window.context) + len(window.continuation) for window in request.windows)
        token_s = self.unseen_s if self.token_s is None else self.token_s
        return self.least_s + self.times * token_s * tokens

    def _learn(self, token_s: float) -> None:
        self.token_s = max(self.token_s or 0.0, token_s)
