"""The end of a search in the terminal: the verdict in a sentence, what it rests on, and what it cost."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lsbench.report.plain import ascii_only, one_line
from lsbench.report.tune_folder import StoredTune
from lsbench.report.tune_words import (
    beside_default,
    cost_sentences,
    found_heading,
    front_rows,
    prediction_sentence,
    tune_notes,
    verdict,
)

_STYLES = {"good": "bold green", "bad": "bold red", "even": "bold yellow", "plain": "bold"}
_MOST_FRONT = 8


class TuneTable:
    """The outcome of a search as something ``rich`` prints at any width from 60 columns."""

    def __init__(self, tune: StoredTune) -> None:
        self._tune = tune

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        tune, say = self._tune, ascii_only if options.ascii_only else str
        words, tone = verdict(tune)
        yield Text()
        yield Padding(Text(say(words), _STYLES[tone]), (0, 0, 1, 0))
        rows = beside_default(tune)
        if rows:
            table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
            table.add_column("")
            table.add_column(found_heading(tune), overflow="fold")
            if rows[0].default is not None:
                table.add_column("without a search", overflow="fold")
            for row in rows:
                cells = (row.name, row.best, row.default)
                table.add_row(*(Text(say(one_line(text))) for text in cells if text is not None))
            yield table
        front, measured = front_rows(tune)
        if front:
            table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
            table.add_column("speedup" if measured else "speedup (predicted)")
            table.add_column("quality")
            table.add_column("front: no other trial beats these in both", overflow="fold")
            for cells in front[:_MOST_FRONT]:
                table.add_row(*(Text(say(one_line(text))) for text in cells))
            yield table
        sentences = [*cost_sentences(tune), prediction_sentence(tune)]
        yield Text(say(" ".join(sentence for sentence in sentences if sentence)))
        notes = tune_notes(tune)
        if notes:
            yield Text("\nBelieve it? Know this first:", "bold")
            grid = Table.grid(padding=(0, 1))
            for note in notes:
                grid.add_row("  -", Text(say(note)))
            yield grid
        yield Text()
