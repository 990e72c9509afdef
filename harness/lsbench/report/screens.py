"""The two places progress is shown: a terminal, redrawn in place, or plain lines for pipes and logs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lsbench.report import figures
from lsbench.report.pace import RunPace
from lsbench.report.plain import ascii_only, one_line

_LINE_EVERY_S = 15.0
_REDRAW_EVERY_S = 0.1
_BAR_WIDTH = 60


class Screen(Protocol):
    """Somewhere to show progress."""

    def show(self, pace: RunPace, important: bool) -> None:
        """Show ``pace``; unless ``important``, it may be left out when something was shown just now."""
        ...

    def say(self, text: str) -> None:
        """Show a line that stays."""
        ...

    def close(self) -> None:
        """Leave the place as it was found."""
        ...


class Lines:
    """Plain lines without control codes, a few a minute at most, for a pipe, a log or a dumb terminal."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._shown_at = float("-inf")
        self._last = ""

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

    def say(self, text: str) -> None:
        """Write ``text`` on a line of its own; a reader who went away is no reason to stop a run."""
        encoding = (getattr(self._stream, "encoding", None) or "utf-8").lower()
        line = text if encoding.startswith("utf") else ascii_only(text)
        try:
            print(f"lsbench: {line}", file=self._stream, flush=True)
        except (OSError, ValueError):
            self._last = ""

    def close(self) -> None:
        """Nothing to undo."""


class Drawn:
    """A few lines at the bottom of a terminal, redrawn in place.

    They are redrawn when something happened and never by a thread of their own: between two events
    a request is being timed, and drawing then would take its processor time.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._shown_at = float("-inf")
        self._console = Console(file=stream, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()

    def show(self, pace: RunPace, important: bool) -> None:
        """Redraw, unless that was done a moment ago and nothing important happened."""
        now = self._clock()
        if important or now - self._shown_at >= _REDRAW_EVERY_S:
            self._live.update(self._picture(pace, now), refresh=True)
            self._shown_at = now

    def say(self, text: str) -> None:
        """Print a line above the picture."""
        self._console.print(self._text(text))

    def close(self) -> None:
        """Wipe the picture and give the cursor back."""
        self._live.update(Text())
        self._live.stop()

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
        table = Table(box=None, pad_edge=False, header_style="dim")
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
        table = Table(box=None, pad_edge=False, header_style="dim")
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

    def _text(self, text: str, style: str = "", one_row: bool = False) -> Text:
        spelled = ascii_only(text) if self._console.options.ascii_only else text
        return Text(spelled, style, no_wrap=one_row, overflow="ellipsis" if one_row else None)


def redraws(stream: TextIO) -> bool:
    """Whether lines can be redrawn there."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def progress_bar(done: int, total: int) -> RenderableType:
    """A bar on a line of its own."""
    bar = Table.grid()  # a bar alone ends without a line break
    bar.add_row(ProgressBar(total=total, completed=done, width=_BAR_WIDTH))
    return bar
