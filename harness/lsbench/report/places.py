"""Where progress can be shown, whatever it is of: a terminal, redrawn in place, or plain lines."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, Protocol, TextIO, TypeVar

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lsbench.report.plain import ascii_only

_REDRAW_EVERY_S = 0.1
_BAR_WIDTH = 60
Shown = TypeVar("Shown", contravariant=True)
Pace = TypeVar("Pace")


class Place(Protocol[Shown]):
    """Somewhere to show progress."""

    def show(self, pace: Shown, important: bool) -> None:
        """Show ``pace``; unless ``important``, it may be left out when something was shown just now."""
        ...

    def say(self, text: str) -> None:
        """Show a line that stays."""
        ...

    def close(self) -> None:
        """Leave the place as it was found."""
        ...


class Written:
    """Plain lines without control codes, for a pipe, a log or a dumb terminal.

    Args:
        stream: where to write them.
        clock: seconds that only go forward.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._last = ""

    def say(self, text: str) -> None:
        """Write ``text`` on a line of its own; a reader who went away is no reason to stop."""
        encoding = (getattr(self._stream, "encoding", None) or "utf-8").lower()
        line = text if encoding.startswith("utf") else ascii_only(text)
        try:
            print(f"lsbench: {line}", file=self._stream, flush=True)
        except (OSError, ValueError):
            self._last = ""

    def close(self) -> None:
        """Nothing to undo."""


class Redrawn(ABC, Generic[Pace]):
    """A few lines at the bottom of a terminal, redrawn in place.

    They are redrawn when something happened and never by a thread of their own: between two events
    something is being timed, and drawing then would take its processor time.

    Args:
        stream: the terminal.
        clock: seconds that only go forward.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._shown_at = float("-inf")
        self._console = Console(file=stream, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()

    def show(self, pace: Pace, important: bool) -> None:
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

    @abstractmethod
    def _picture(self, pace: Pace, now: float) -> RenderableType:
        """All lines, at a time of the clock."""

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


def small_table() -> Table:
    """A table without rules, as those below a headline are."""
    return Table(box=None, pad_edge=False, header_style="dim")
