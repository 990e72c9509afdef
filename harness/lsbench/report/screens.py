"""The two places progress is shown: a terminal, redrawn in place, or plain lines for pipes and logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

from rich.console import Group, RenderableType
from rich.table import Table

from lsbench.report import figures
from lsbench.report.pace import RunPace
from lsbench.report.places import Redrawn, Written, progress_bar, small_table
from lsbench.report.plain import one_line

_LINE_EVERY_S = 15.0


class Lines(Written):
    """Plain lines without control codes, a few a minute at most, for a pipe, a log or a dumb terminal."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        super().__init__(stream, clock)
        self._shown_at = float("-inf")

    def show(self, pace: RunPace, important: bool) -> None:
        """Write one line if ``important`` or if the last is old."""
        now = self._clock()
        if not important and now - self._shown_at < _LINE_EVERY_S:
            return
        parts = (pace.headline(now), pace.strength(), "" if pace.stage else pace.standings())
        line = "; ".join(part for part in parts if part)
        if line and line != self._last:
            self.say(line)
            self._last, self._shown_at = line, now


class Drawn(Redrawn[RunPace]):
    """Strategies, replicas and the latest request at the bottom of a terminal, redrawn in place."""

    def _picture(self, pace: RunPace, now: float) -> RenderableType:
        lines: list[RenderableType] = [self._text(pace.headline(now), "bold")]
        if pace.stage and pace.stage_total:
            lines.append(progress_bar(pace.stage_done, pace.stage_total))
        elif pace.total and not pace.stage:
            lines.append(progress_bar(pace.done, pace.total))
        if pace.strategies:
            lines.append(self._standings(pace))
        if pace.distributed:
            lines.append(self._replicas(pace))
        if pace.latest:
            lines.append(self._text(f"latest: {pace.latest}", "dim", one_row=True))
        return Group(*lines)

    def _standings(self, pace: RunPace) -> Table:
        table = small_table()
        table.add_column("strategy")  # the only column that gives way on a narrow terminal
        for heading in ("done", "tokens/s", "layers/token", "speedup so far"):
            table.add_column(heading, justify="right", no_wrap=True)
        for label, one in pace.strategies.items():
            done = f"{one.done} ({one.failed} failed)" if one.failed else str(one.done)
            numbers = (
                done,
                figures.significant(one.tokens_per_second),
                figures.significant(one.layers),
                figures.ratio(one.speedup),
            )
            table.add_row(self._text(one_line(label), one_row=True), *(self._text(text) for text in numbers))
        return table

    def _replicas(self, pace: RunPace) -> Table:
        table = small_table()
        for heading in ("replica", "ranks"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("state", no_wrap=True)
        table.add_column("sample")  # gives way on a narrow terminal
        table.add_column("tokens/s", justify="right", no_wrap=True)
        for index, one in sorted(pace.replicas.items()):
            table.add_row(
                str(index),
                str(one.ranks),
                self._text(one_line(one.state)),
                self._text(one.sample or figures.NONE, one_row=True),
                self._text(figures.significant(one.tokens_per_second)),
            )
        return table
