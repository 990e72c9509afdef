"""An answer shown as it comes: in colours with a line of figures below it, or as plain text for pipes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from lsbench.report.answer_pace import AnswerPace, Written
from lsbench.report.places import redraws
from lsbench.report.plain import ascii_only, printable

_REDRAW_EVERY_S = 0.04


class AnswerView(Protocol):
    """Where an answer is shown, from its first token to ``end``."""

    pace: AnswerPace

    def take(self, token: Written) -> None:
        """Show the next token."""
        ...

    def end(self, remark: str = "") -> None:
        """Nothing more comes.

        Args:
            remark: why, where that is worth a word.
        """
        ...


class PlainAnswer:
    """The text alone, as it comes; figures go to standard error, in one line at the end.

    Args:
        stream: of the text.
        num_layers: L of the model.
        quiet: no figures.
        harmless: leave out what would steer a terminal.
    """

    def __init__(self, stream: TextIO, num_layers: int, quiet: bool = False, harmless: bool = False) -> None:
        self.pace = AnswerPace(num_layers)
        self._stream = stream
        self._quiet = quiet
        self._harmless = harmless
        self._last = ""

    def take(self, token: Written) -> None:
        """Write what it adds."""
        self.pace.add(token)
        text = printable(token.text) if self._harmless else token.text
        if text:
            self._stream.write(text)
            self._stream.flush()
            self._last = text

    def end(self, remark: str = "") -> None:
        """End the line."""
        if self._last and not self._last.endswith("\n"):
            self._stream.write("\n")
            self._stream.flush()
        if not self._quiet:
            print(f"lsbench: {_joined(self.pace, remark)}", file=sys.stderr, flush=True)


class ColouredAnswer:
    """On a terminal: each token in the colour of how it was made, and below them the figures so far.

    What fills a row is printed for good; the last row and the figures are redrawn in place, never by a thread
    of their own.

    Args:
        stream: a terminal.
        num_layers: L of the model.
        clock: seconds that only go forward.
    """

    def __init__(self, stream: TextIO, num_layers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.pace = AnswerPace(num_layers)
        self._clock = clock
        self._drawn_at = float("-inf")
        self._row = Text()
        self._console = Console(file=stream, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()

    def take(self, token: Written) -> None:
        """Put it behind the others."""
        look = self.pace.add(token)
        self._row.append(self._spelled(printable(token.text)), look.style)
        self._print_full_rows()
        now = self._clock()
        if now - self._drawn_at >= _REDRAW_EVERY_S:
            self._live.update(Group(self._row, self._figures()), refresh=True)
            self._drawn_at = now

    def end(self, remark: str = "") -> None:
        """Leave the text, the figures and what the colours mean."""
        self._live.update(Text())
        self._live.stop()
        if self._row:
            self._console.print(self._row)
        self._console.print(self._figures(remark))

    def _print_full_rows(self) -> None:
        *whole, last = self._row.split("\n", allow_blank=True)
        *full, last = last.wrap(self._console, self._console.width) or [last]
        for row in (*whole, *full):
            self._console.print(row)
        self._row = last

    def _figures(self, remark: str = "") -> Text:
        text = Text(self._spelled(_joined(self.pace, remark)), "dim")
        for look in self.pace.looks:
            text.append("\n" if look is self.pace.looks[0] else "  ")
            text.append("■ " if look.style and not self._console.options.ascii_only else "", look.style)
            text.append(look.meaning, look.style or "none")
        return text

    def _spelled(self, text: str) -> str:
        return ascii_only(text) if self._console.options.ascii_only else text


def answer_view(stream: TextIO, num_layers: int, quiet: bool) -> AnswerView:
    """The view that a stream deserves.

    Args:
        stream: where the text goes.
        num_layers: L of the model.
        quiet: the text alone.
    """
    with suppress(AttributeError):  # what tests and notebooks put in place of a stream may have no encoding
        stream.reconfigure(errors="replace")  # type: ignore[attr-defined]
    if redraws(stream) and not quiet:
        return ColouredAnswer(stream, num_layers)
    return PlainAnswer(stream, num_layers, quiet, harmless=stream.isatty())


def _joined(pace: AnswerPace, remark: str) -> str:
    return pace.words() + (f" · {remark}" if remark else "")
