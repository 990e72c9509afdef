"""The final table in the terminal: the verdict in a sentence, the figures, and whether to believe them."""

from __future__ import annotations

from collections.abc import Callable

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lsbench.metrics import Metrics
from lsbench.report.belief import NOTHING_AGAINST, belief_notes
from lsbench.report.content import HOW_TO_READ, Cell, Section, model_line, sections, strategy_heading
from lsbench.report.facts import RunFacts
from lsbench.report.plain import ascii_only, one_line
from lsbench.report.quality import Tone
from lsbench.report.verdict import speed_tone, verdict_sentences

Say = Callable[[str], str]
"""Spells text for the terminal's own characters."""

STYLES: dict[Tone, str] = {"good": "green", "bad": "red", "even": "yellow", "plain": ""}
_INDENT = 2
_NAME_WIDTH = 32
_BASELINE_WIDTH = 18
_STRATEGY_WIDTH = 24
"""Columns narrower than these make a table nobody reads: further strategies go in a table below."""


def run_table(metrics: Metrics, facts: RunFacts | None = None) -> RunTable:
    """The whole outcome of a run as something ``rich`` prints at any width from 60 columns.

    Args:
        metrics: what ``metrics.json`` holds.
        facts: what the manifest adds; only its notes are shown here.
    """
    return RunTable(metrics, facts)


class RunTable:
    """Verdict, figures and notes of one run; lays itself out by the width it is given."""

    def __init__(self, metrics: Metrics, facts: RunFacts | None) -> None:
        self._metrics = metrics
        self._facts = facts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        say = ascii_only if options.ascii_only else str
        yield Text()
        yield Text(say(model_line(self._metrics)), "bold")
        yield from self._verdicts(say)
        for first, last in self._columns(options.max_width):
            yield self._table(first, last, say)
        yield self._belief(say)
        yield Text(say("How to read: " + "; ".join(HOW_TO_READ) + "."), "dim")

    def _verdicts(self, say: Say) -> RenderResult:
        sentences = verdict_sentences(self._metrics)
        for strategy, sentence in zip(self._metrics.strategies, sentences, strict=True):
            text = Text(say(sentence))
            text.stylize(f"bold {STYLES[speed_tone(strategy)]}", 0, len(say(one_line(strategy.label))))
            yield Padding(text, (0, 0, 0, _INDENT))

    def _columns(self, width: int) -> list[tuple[int, int]]:
        """Ranges of strategies that fit side by side in ``width`` columns."""
        count = len(self._metrics.strategies)
        fitting = max(1, (width - _NAME_WIDTH - _BASELINE_WIDTH) // _STRATEGY_WIDTH)
        return [(first, min(first + fitting, count)) for first in range(0, max(count, 1), fitting)]

    def _table(self, first: int, last: int, say: Say) -> Table:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        built = sections(self._metrics)
        names = [row.name for section in built for row in section.rows]
        longest = max(
            [_INDENT + len(say(name)) for name in names] + [len(section.title) for section in built],
            default=0,
        )
        table.add_column("", width=min(longest, _NAME_WIDTH), overflow="fold")
        baseline = one_line(self._metrics.baseline.strategy)
        table.add_column(Text(say(f"{baseline}\n(baseline)")), overflow="fold")
        for strategy in self._metrics.strategies[first:last]:
            table.add_column(Text(say("\n".join(strategy_heading(strategy)))), overflow="fold")
        for section in built:
            self._add(table, section, first, last, say)
        return table

    def _add(self, table: Table, section: Section, first: int, last: int, say: Say) -> None:
        table.add_row(Text(say(section.title), "bold"))
        for row in section.rows:
            cells = (row.baseline, *row.strategies[first:last])
            table.add_row(
                Padding(Text(say(row.name)), (0, 0, 0, _INDENT)), *(_drawn(cell, say) for cell in cells)
            )

    def _belief(self, say: Say) -> Group:
        notes = belief_notes(self._metrics, self._facts)
        if not notes:
            return Group(Text(f"Believe it? {NOTHING_AGAINST}", "bold"), Text())
        grid = Table.grid(padding=(0, 1))
        for note in notes:
            grid.add_row("  -", Text(say(note)))
        return Group(Text("Believe it? Know this first:", "bold"), grid, Text())


def _drawn(cell: Cell, say: Say) -> Text:
    return Text(say("\n".join(cell.lines)), STYLES[cell.tone])
