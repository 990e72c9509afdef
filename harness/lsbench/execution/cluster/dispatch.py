"""Turns to free replicas, records back; what a lost replica had in hand is run again elsewhere."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from lsbench.errors import BadInput, LsbenchError
from lsbench.execution.cluster.assignment import Assignment, Order, Piece
from lsbench.execution.cluster.failure import Lost
from lsbench.execution.cluster.patience import WakingClock
from lsbench.execution.lines import line_of
from lsbench.records import RecordKey, SampleRecord

if TYPE_CHECKING:
    from pathlib import Path

    from lsbench.execution.cluster.group import Group
    from lsbench.execution.cluster.patience import Patience
    from lsbench.execution.setup import Setup
    from lsbench.execution.turns import Turn
    from lsbench.spec import GenerateRequest
    from lsbench.view import ReplicaProgress

_LOOK_EVERY_S = 0.2
"""So often an interruption, and a replica that is silent, is looked for."""


class Dispatch:
    """Who runs what, from the start of the replicas to the last record.

    Args:
        groups: the replicas; not begun.
        setup: what each of them loads.
        warm_up: what each of them runs and discards first.
        max_retries: how often what a lost replica had in hand is run again.
        patience: how long a replica may be silent.
        view: is told what each replica is doing.
        logs: the folder that says why replicas were lost.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        setup: Setup,
        warm_up: Sequence[GenerateRequest],
        max_retries: int,
        patience: Patience,
        view: ReplicaProgress,
        logs: Path,
    ) -> None:
        self._groups = groups
        self._setup, self._warm_up = setup, warm_up
        self._max_retries, self._patience = max_retries, patience
        self._view, self._logs = view, logs
        self._running: dict[int, Assignment] = {}
        self._waiting: deque[Assignment] = deque()
        self._failed_starts: Counter[int] = Counter()
        self._clock = WakingClock()
        self._heard: dict[int, float] = {}
        """When each replica last gave word of itself, by that clock."""
        self._known: dict[int, set[RecordKey]] = {group.index: set() for group in groups}
        """Which records each replica was told of, or made."""
        self._records: dict[RecordKey, SampleRecord] = {}
        """Those that outputs are compared with, or that say how much was looked at."""
        self._done: set[RecordKey] = set()
        self._failed: set[RecordKey] = set()
        self._attempts: dict[RecordKey, int] = {}
        self.unavailable: dict[str, str] = {}
        """Which strategies cannot run, by label, and why; known once all have started."""
        self.losses: Counter[str] = Counter()
        """How often a replica was lost, by the reason."""

    # -- before the first request -------------------------------------------------------------------

    def start(self) -> None:
        """Until every replica has loaded, calibrated and warmed up.

        Raises:
            BadInput: loading or calibrating says that what was asked cannot be.
            LsbenchError: a replica was lost again and again.
        """
        for group in self._groups:
            self._begin(group)
        while any(group.state != "idle" for group in self._groups):
            for _ in self._news():
                pass
            self._check_left()
        self._leave_out()

    def _leave_out(self) -> None:
        """What cannot run on one of the replicas runs on none, and not on those that are started again."""
        for group in self._groups:
            self.unavailable.update(group.unavailable)
        self._setup = self._setup.without(self.unavailable)
        for group in self._groups:
            if left := self.unavailable.keys() - group.unavailable.keys():
                group.leave_out(sorted(left))

    def first(self, what: str, *arguments: object) -> Any:
        """What rank 0 of a replica answers, asked with the ranks that share it while all others wait.

        Raises:
            LsbenchError: a replica was lost again and again.
        """
        while True:
            group = next((group for group in self._groups if group.state == "idle"), None)
            if group is None:
                for _ in self._news():
                    pass
                self._check_left()
                continue
            try:
                return group.everyone(what, *arguments, within_s=self._patience.start_s)[0]
            except Lost as lost:
                for _ in self._lose(group, lost):
                    pass

    # -- the requests -------------------------------------------------------------------------------

    def run(
        self,
        turns: Sequence[Turn],
        finished: AbstractSet[RecordKey],
        attempts: Mapping[RecordKey, int],
        earlier: Sequence[SampleRecord],
    ) -> Iterator[SampleRecord]:
        """As ``Backend.run``, over turns.

        Raises:
            LsbenchError: no replica is left.
        """
        contenders = self._setup.contenders()
        compared = {each.label for each in contenders if each.strategy.lossless}
        self._done, self._attempts = set(finished), dict(attempts)
        for record in earlier:
            self._remember(record)
        assignments = (Assignment(turn, self._setup.choices, compared) for turn in turns)
        self._waiting.extend(each for each in assignments if each.missing(self._done, self._failed))
        while self._waiting or self._running:
            for group in self._groups:
                if group.state == "idle" and self._waiting:
                    self._give(group, self._waiting.popleft())
            yield from self._news()
            self._check_left()
        for group in self._groups:
            self._show(group)

    def _begin(self, group: Group, again: bool = False) -> None:
        self._heard[group.index] = self._clock.now_s()
        group.begin(self._setup, self._warm_up, again)
        self._show(group)

    def _give(self, group: Group, assignment: Assignment) -> None:
        self._running[group.index] = assignment
        known = self._known[group.index]
        earlier = [record for record in self._worth_telling(assignment) if record.key not in known]
        known.update(record.key for record in earlier)
        keys = {piece.key for piece in assignment.everything()}
        attempts = {key: self._attempts[key] for key in keys & self._attempts.keys()}
        self._heard[group.index] = self._clock.now_s()
        group.give(Order(assignment.turn, frozenset(keys & self._done), attempts, tuple(earlier)))
        self._show(group)

    def _worth_telling(self, assignment: Assignment) -> Iterator[SampleRecord]:
        """Outputs of the turn's own requests, and every look of those of which a run takes only a few."""
        own = {piece.key for piece in assignment.everything()}
        for key, record in self._records.items():
            if key in own or record.kind == "certificate":
                yield record

    def _news(self) -> Iterator[SampleRecord]:
        """What the replicas have to say, once there is anything or a moment has passed."""
        import ray

        asked = {each: group for group in self._groups for each in group.waited_for}
        ready, _ = ray.wait(list(asked), num_returns=1, timeout=_LOOK_EVERY_S) if asked else ([], [])
        for news in ready:
            group = asked[news]
            before = group.state
            self._heard[group.index] = self._clock.now_s()
            try:
                record = group.hear(news)
            except Lost as lost:
                yield from self._lose(group, lost)
                continue
            except BadInput as refused:
                if before == "starting":
                    raise
                yield from self._lose(group, Lost(str(refused)))
                continue
            if record is not None:
                self._take(group, record)
                yield record
            if group.state == "idle" != before:
                self._failed_starts[group.index] = 0
                self._running.pop(group.index, None)
                if not self._waiting:
                    self._show(group)
        for group in self._groups:
            yield from self._check_silent(group)

    def _take(self, group: Group, record: SampleRecord) -> None:
        self._patience.saw(record)
        self._known[group.index].add(record.key)
        self._done.add(record.key)
        if record.error is not None:
            self._failed.add(record.key)
        self._remember(record)
        self._show(group, record)

    def _remember(self, record: SampleRecord) -> None:
        if record.error is None and (record.kind == "generate" or record.draws):
            self._records[record.key] = record

    # -- what is lost -------------------------------------------------------------------------------

    def _check_silent(self, group: Group) -> Iterator[SampleRecord]:
        assignment = self._running.get(group.index)
        bound = self._patience.start_s if assignment is None else self._patience.seconds(assignment.turn)
        silent = self._clock.now_s() - self._heard[group.index]
        if group.waited_for and silent > bound:
            yield from self._lose(group, Lost(f"replica {group.index} gave no word for {silent:.0f} seconds"))

    def _lose(self, group: Group, lost: Lost) -> Iterator[SampleRecord]:
        """End a replica, start it again, and see to what it had in hand."""
        assignment = self._running.pop(group.index, None)
        starting = group.state in ("starting", "restarting")
        self.losses[lost.reason] += 1
        self._write_down(lost)
        group.end()
        self._known[group.index].clear()
        if starting:
            self._failed_starts[group.index] += 1
        if self._failed_starts[group.index] > self._max_retries:
            group.state = "lost"
            self._show(group)
        else:
            self._begin(group, again=True)
        self._view.note(f"{lost.reason}; " + ("it is given up" if group.state == "lost" else "started again"))
        if assignment is not None:
            yield from self._run_again(assignment, lost)

    def _run_again(self, assignment: Assignment, lost: Lost) -> Iterator[SampleRecord]:
        """Put what is missing of a turn first in the queue; what was tried too often fails."""
        missing = assignment.missing(self._done, self._failed)
        for piece in missing:
            self._attempts[piece.key] = self._attempts.get(piece.key, 0) + 1
        for piece in assignment.given_up(missing, self._max_retries):
            record = self._failure(piece, lost)
            self._done.add(record.key)
            self._failed.add(record.key)
            yield record
        if assignment.missing(self._done, self._failed):
            self._waiting.appendleft(assignment)

    def _failure(self, piece: Piece, lost: Lost) -> SampleRecord:
        tries = self._max_retries + 1
        line = line_of(
            piece.choice, piece.request, piece.kind, self._attempts[piece.key], self._setup.segment
        )
        times = "once" if tries == 1 else f"{tries} times"
        return line(
            error=f"Lost: its replica was lost {times} while it ran, the last time because {lost.reason}"
        )

    def _check_left(self) -> None:
        if all(group.state == "lost" for group in self._groups):
            reason, _ = self.losses.most_common(1)[0]
            raise LsbenchError(f"No replica can be started: {reason}. {self._logs} has what they wrote.")

    def _write_down(self, lost: Lost) -> None:
        try:
            with (self._logs / "lost.log").open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {lost.reason}\n{lost.trace}\n")
        except OSError:
            return  # a full disk is told where records are written

    def _show(self, group: Group, record: SampleRecord | None = None) -> None:
        assignment = self._running.get(group.index)
        request = assignment.turn.requests[0] if assignment is not None else None
        speed = None
        if record is not None and record.decode_s and record.token_ids:
            speed = (len(record.token_ids) - 1) / record.decode_s
        self._view.replica(
            group.index,
            group.state,
            request.task if request is not None else None,
            request.doc_id if request is not None else None,
            speed,
            group.size,
        )
