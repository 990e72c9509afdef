"""A replica whose model stays loaded while one strategy after the other is tried on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lsbench.errors import LsbenchError
from lsbench.execution.cluster.assignment import Order
from lsbench.execution.cluster.failure import Lost
from lsbench.execution.cluster.patience import WakingClock
from lsbench.execution.cluster.rank import Failed
from lsbench.execution.turns import turns
from lsbench.records import RecordKey, SampleRecord

if TYPE_CHECKING:
    from lsbench.execution.cluster.group import Group
    from lsbench.execution.cluster.patience import Patience
    from lsbench.execution.setup import Setup
    from lsbench.execution.turns import Turn
    from lsbench.spec import GenerateRequest, Request, StrategyChoice
    from lsbench.view import ReplicaProgress

_LOOK_EVERY_S = 0.2
_STARTS = 3
"""So often in a row it may fail to start before it is given up."""


class Late(Lost):
    """It had not finished in the time that it was given; its processes were ended."""


class Refused(LsbenchError):
    """What was asked of it raised an error; it is as it was before."""


class Bench:
    """One replica, used by one thread at a time.

    What is lost on it is not tried again: whoever gave it learns why, and the next has a new replica.

    Args:
        group: its processes, ready.
        setup: the model and the baseline, alone: what they are started with.
        patience: how long it may be silent.
        view: is told what it is doing.
        log: the file that says why it was lost.
    """

    def __init__(
        self, group: Group, setup: Setup, patience: Patience, view: ReplicaProgress, log: Path
    ) -> None:
        self._group, self._setup, self._patience = group, setup, patience
        self._view, self._log = view, log
        self._down = False
        self._failed_starts = 0
        self._starts = 0

    @property
    def starts(self) -> tuple[int, int]:
        """Which replica, and how often it was started again: its ranks know what they were told since."""
        return self._group.index, self._starts

    @property
    def index(self) -> int:
        """Which replica."""
        return self._group.index

    def change(
        self,
        others: Sequence[StrategyChoice],
        warm_up: Sequence[GenerateRequest],
        within_s: float | None = None,
    ) -> None:
        """Have others beside the baseline from now on, calibrated and warm.

        Args:
            others: who.
            warm_up: what a few tokens are run of first.
            within_s: in how many seconds.

        Raises:
            BadInput: a strategy cannot calibrate; what was there before is still there.
            Lost: the replica was; ``Late`` where it took too long.
            LsbenchError: it cannot be started any more.
        """
        self._everyone(within_s, "change", tuple(others), tuple(warm_up))

    def ask(self, function: Callable[..., object], *arguments: object, within_s: float | None = None) -> Any:
        """What a module's function makes of rank 0's worker; the ranks that share its model run it too.

        Raises:
            Refused: the function raised an error, whose reason this tells.
            LsbenchError: the replica cannot be started any more.
            Lost: the replica was; ``Late`` where it took too long.
        """
        answer = self._everyone(within_s, "apply", function, *arguments)
        if isinstance(answer, Failed):
            raise Refused(answer.reason)
        return answer

    def run(
        self,
        requests: Sequence[Request],
        until: float | None = None,
        enough: Callable[[], bool] = lambda: False,
        finished: AbstractSet[RecordKey] = frozenset(),
        attempts: Mapping[RecordKey, int] | None = None,
        earlier: Sequence[SampleRecord] = (),
    ) -> Iterator[SampleRecord]:
        """Run requests under the baseline and those who are here beside it, as ``Backend.run`` does.

        Args:
            requests: in the order in which they are begun.
            until: by ``time.monotonic``, when the time is over.
            enough: asked before each turn; if it is, those that are left are not run.
            finished: what need not be run again.
            attempts: the last failed attempt at a request, where there was one.
            earlier: records of earlier processes, which outputs are compared with.

        Raises:
            Lost: the replica was; ``Late`` where it took too long.
            LsbenchError: it cannot be started any more.
        """
        self._ready()
        for turn in turns(requests, self._setup.batch_size):
            if enough():
                break
            self._group.give(Order(turn, frozenset(finished), dict(attempts or {}), tuple(earlier)))
            earlier = ()
            yield from self._turn(turn, until)
        self._show()

    def _turn(self, turn: Turn, until: float | None) -> Iterator[SampleRecord]:
        import ray

        clock = WakingClock()
        try:
            while self._group.state != "idle":
                ready, _ = ray.wait(self._group.waited_for, num_returns=1, timeout=_LOOK_EVERY_S)
                for news in ready:
                    record = self._group.hear(news)
                    clock = WakingClock()
                    if record is not None:
                        self._patience.saw(record)
                        self._show(turn, record)
                        yield record
                if until is not None and time.monotonic() > until:
                    raise Late("it took longer than it may")
                if (silent := clock.now_s()) > self._patience.seconds(turn):
                    raise Late(f"replica {self.index} gave no word for {silent:.0f} seconds")
        except Lost as lost:
            self._lose(lost)
            raise
        except GeneratorExit:
            # Nobody waits for the rest of the turn, whose processes are still at it.
            self._down = True
            raise

    def _everyone(self, within_s: float | None, what: str, *arguments: object) -> Any:
        self._ready()
        limit = self._patience.start_s if within_s is None else within_s
        begun = time.monotonic()
        try:
            return self._group.everyone(what, *arguments, within_s=limit)[0]
        except Lost as lost:
            self._lose(lost)
            if time.monotonic() - begun >= limit:
                raise Late("it took longer than it may") from lost
            raise

    def _ready(self) -> None:
        """Start it again if it was lost.

        Raises:
            LsbenchError: it was started too often in vain.
        """
        import ray

        while self._down:
            self._group.end()
            self._group.begin(self._setup, (), again=True)
            self._show()
            begun = WakingClock()
            try:
                while self._group.state != "idle":
                    ready, _ = ray.wait(self._group.waited_for, num_returns=1, timeout=_LOOK_EVERY_S)
                    for news in ready:
                        self._group.hear(news)
                    if begun.now_s() > self._patience.start_s:
                        raise Lost(f"replica {self.index} did not start")
            except Lost as lost:
                self._write_down(lost)
                self._failed_starts += 1
                if self._failed_starts >= _STARTS:
                    raise LsbenchError(
                        f"No replica can be started: {lost.reason}. {self._log.parent} has what was written."
                    ) from lost
                continue
            self._failed_starts = 0
            self._starts += 1
            self._down = False

    def _lose(self, lost: Lost) -> None:
        """End its processes now; they are started again when they are needed."""
        self._down = True
        self._write_down(lost)
        self._group.end()
        self._group.state = "lost"
        self._show()

    def _write_down(self, lost: Lost) -> None:
        try:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {lost.reason}\n{lost.trace}\n")
        except OSError:
            return  # a full disk is told where trials are written

    def _show(self, turn: Turn | None = None, record: SampleRecord | None = None) -> None:
        request = turn.requests[0] if turn is not None else None
        speed = None
        if record is not None and record.decode_s and record.token_ids:
            speed = (len(record.token_ids) - 1) / record.decode_s
        self._view.replica(
            self.index,
            cast(str, self._group.state),
            request.task if request is not None else None,
            request.doc_id if request is not None else None,
            speed,
            self._group.size,
        )
