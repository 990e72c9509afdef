"""The progress of a run while it runs, on standard error so that standard output stays clean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from lsbench.report import figures
from lsbench.report.pace import ReplicaPace, RunPace, StrategyPace, remarkable
from lsbench.report.plain import one_line
from lsbench.report.progress_view import ProgressView
from lsbench.report.screens import Drawn, Lines


class LiveView(ProgressView[RunPace, Drawn | Lines]):
    """Shows how far a run has come: redrawn in place on a terminal, elsewhere an occasional plain line."""

    def _begin(self) -> RunPace:
        return RunPace()

    def _open(self, stream: TextIO, redrawn: bool) -> Drawn | Lines:
        return (Drawn if redrawn else Lines)(stream, self._clock)

    def _last_words(self) -> Iterator[str]:
        pace = self._pace
        if pace.total is not None and pace.done < pace.total:
            yield f"stopped after request {pace.done} of {pace.total}"

    def start(self, total_requests: int, done_already: int = 0) -> None:
        """Begin to count requests.

        Args:
            total_requests: of the whole run: every request under the baseline and every strategy.
            done_already: how many of them an earlier process of this run finished.
        """
        with self._lock:
            pace = self._pace
            pace.stage, pace.stage_done, pace.stage_total = "", 0, None
            pace.total, pace.done, pace.already = total_requests, done_already, done_already
            pace.started_at = self._clock()
            self._show(True)

    def request_done(
        self,
        task: str,
        doc_id: int,
        strategy: str,
        tokens_per_second: float | None = None,
        speedup: float | None = None,
        layers: float | None = None,
        failed: bool = False,
    ) -> None:
        """Count one finished request.

        Args:
            task: its task.
            doc_id: its document.
            strategy: label of the strategy it ran under (the baseline's too).
            tokens_per_second: its decode speed; None when it generated nothing.
            speedup: the strategy's speedup over everything timed so far; None for the baseline.
            layers: its layers per token; None when the strategy cannot tell.
            failed: whether it ended in an error.
        """
        with self._lock:
            pace = self._pace
            pace.stage, pace.stage_total = "", None
            pace.done += 1
            one = pace.strategies.setdefault(strategy, StrategyPace())
            one.done += 1
            one.failed += failed
            one.tokens_per_second = one.tokens_per_second if tokens_per_second is None else tokens_per_second
            one.layers = one.layers if layers is None else layers
            one.speedup = one.speedup if speedup is None else speedup
            pace.latest = f"{one_line(task)} {doc_id} under {one_line(strategy)}"
            if failed:
                pace.latest += " failed"
            elif tokens_per_second is not None:
                pace.latest += f", {figures.significant(tokens_per_second)} tokens/s"
            self._show(pace.done == pace.total)

    def replica(
        self,
        index: int,
        state: str,
        task: str | None,
        doc_id: int | None,
        tokens_per_second: float | None,
        ranks: int,
    ) -> None:
        """Show what one copy of the model is doing; one process alone is not shown.

        Args:
            index: the copy's number, from 0.
            state: what it does, in a word: starting, running, idle, restarting, lost.
            task: of the request in hand; None for none.
            doc_id: of the request in hand.
            tokens_per_second: of its latest request; None leaves what was known.
            ranks: processes that share the copy.
        """
        with self._lock:
            pace = self._pace
            before = pace.replicas.get(index)
            known = before.tokens_per_second if before is not None else None
            pace.replicas[index] = ReplicaPace(
                state=state,
                ranks=ranks,
                sample=""
                if task is None
                else f"{one_line(task)} {'' if doc_id is None else doc_id}".rstrip(),
                tokens_per_second=known if tokens_per_second is None else tokens_per_second,
            )
            if pace.distributed:
                self._show(remarkable(before.state if before is not None else None, state))
