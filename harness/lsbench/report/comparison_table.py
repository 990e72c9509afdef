"""A comparison of runs in the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lsbench.comparison import Comparison, Front
from lsbench.report.comparison_content import (
    HOW_TO_READ,
    ON_FRONT,
    Grid,
    grids,
    legend,
    machines,
    row_name,
    sentences,
    title,
    warning,
)
from lsbench.report.front_picture import front_picture
from lsbench.report.plain import ascii_only, one_line
from lsbench.report.table import STYLES, Say

_INDENT = 2


class ComparisonTable:
    """The whole comparison as something ``rich`` prints at any width from 60 columns."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        say: Say = ascii_only if options.ascii_only else str
        loud = warning(self._comparison)
        yield Text()
        if loud is not None:
            yield Text(say(loud), "bold red")
        yield Text(say(title(self._comparison)), "bold")
        yield Text(say(machines(self._comparison)), "dim")
        for line in legend(self._comparison):
            yield Padding(Text(say(line), "dim"), (0, 0, 0, _INDENT))
        for sentence, tone in sentences(self._comparison):
            text = Text(say(sentence))
            text.stylize(f"bold {STYLES[tone]}", 0, say(sentence).index(": "))
            yield Padding(text, (0, 0, 0, _INDENT))
        for grid in grids(self._comparison):
            yield from self._grid(grid, say)
        for front in self._comparison.fronts:
            yield from self._front(front, options.max_width, say)
        yield from self._notes(say)
        yield Text(say("How to read: " + "; ".join(HOW_TO_READ) + "."), "dim")
        if loud is not None:
            yield Text(say(loud), "bold red")

    def _grid(self, grid: Grid, say: Say) -> Iterator[Text | Table]:
        yield Text()
        yield Text(say(grid.title), "bold")
        yield Text(say(grid.meaning), "dim")
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for head in grid.heads:
            table.add_column(Text(say(head)), overflow="fold")
        for row in grid.rows:
            table.add_row(*(Text(say("\n".join(cell.lines)), STYLES[cell.tone]) for cell in row))
        yield table

    def _front(self, front: Front, width: int, say: Say) -> Iterator[Text | Padding]:
        yield Text(say(f"Speed against {one_line(front.quality)}"), "bold")
        yield Padding(Text(say(front_picture(front, width - _INDENT)), no_wrap=True), (0, 0, 0, _INDENT))
        named = ", ".join(
            row_name(self._comparison.row(point.row)) for point in front.points if point.on_front
        )
        yield Padding(Text(say(f"* {ON_FRONT}: {named}")), (0, 0, 1, 2))

    def _notes(self, say: Say) -> Iterator[Text | Table]:
        if not self._comparison.notes:
            return
        yield Text("Believe it? Know this first:", "bold")
        grid = Table.grid(padding=(0, 1))
        for note in self._comparison.notes:
            grid.add_row("  -", Text(say(one_line(note))))
        yield grid
        yield Text()
