"""A look inside a model in a terminal: what follows, a map of tokens and layers, and the layers' figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text as RichText

from lsbench.insight.outcome import BASIS, Inspection, Step, Text
from lsbench.report.figures import ratio, share, significant
from lsbench.report.inspect_grid import State, state_of, token_text
from lsbench.report.plain import ascii_only, one_line
from lsbench.report.table import Say

_TOKEN_WIDTH = 14
_MOST_STEPS = 24
"""Of the first text; the page shows all."""
_MOST_LAYERS = 16
"""Rows of the table of layers."""
_SIGNS: dict[State, str] = {"kept": "█", "reached": "▒", "other": "·"}
_ASCII_SIGNS: dict[State, str] = {"kept": "#", "reached": "+", "other": "."}
_COLOURS: dict[State, tuple[str, str, str]] = {
    "kept": ("green4", "green3", "green1"),
    "reached": ("dark_orange3", "orange3", "gold1"),
    "other": ("grey37", "grey50", "grey70"),
}
"""By probability: below a third, below two thirds, from there on."""


class InspectionScreen:
    """A look inside, as something ``rich`` prints at any width from 60 columns.

    Args:
        inspection: what came of it.
    """

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        inspection, say = self._inspection, ascii_only if options.ascii_only else str
        model = inspection.model
        yield RichText()
        yield RichText(
            say(one_line(f"{model.id}, {model.num_layers} layers, {model.dtype} on {model.device}")), "bold"
        )
        for sentence in inspection.follows:
            yield _indented(say(sentence))
        for note in inspection.notes:
            yield _indented(say(f"Note: {one_line(note)}"), "yellow")
        yield _indented(say(BASIS), "dim")
        yield RichText()
        yield from _heatmap(inspection, inspection.texts[0], options.max_width, say)
        yield RichText()
        yield _layers(inspection, say)


def _indented(text: str, style: str = "") -> Padding:
    return Padding(RichText(text, style), (1, 0, 0, 2))


def _heatmap(inspection: Inspection, text: Text, width: int, say: Say) -> Iterator[RenderableType]:
    plain = say is ascii_only
    signs = _ASCII_SIGNS if plain else _SIGNS
    shown = _columns(inspection.num_layers, width - _TOKEN_WIDTH - 1)
    each = max(1, min(2, (width - _TOKEN_WIDTH - 1) // len(shown)))
    some = f", one in {shown[1] - shown[0]}" if len(shown) < inspection.num_layers else ""
    title = f"What each layer predicts after {text.name}: tokens down, layers across{some}"
    yield RichText(say(title), "bold")
    yield _scale(shown, each)
    for step in text.steps[:_MOST_STEPS]:
        name = token_text(inspection.token(step.token), _TOKEN_WIDTH, plain)
        row = RichText(set_cell_size(name, _TOKEN_WIDTH) + " ")
        for layer in shown:
            row.append(signs[state_of(step, layer)] * each, _colour(step, layer))
        yield row
    if len(text.steps) > _MOST_STEPS or len(inspection.texts) > 1:
        tokens = _count(max(0, len(text.steps) - _MOST_STEPS), "more token")
        texts = _count(len(inspection.texts) - 1, "more text")
        yield RichText(say(f"… {tokens} and {texts} on the page"), "dim")
    told = f"{signs['kept']} final prediction, for good  {signs['reached']} there, but lost again"
    yield RichText(f"{told}  {signs['other']} another", "dim")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _columns(num_layers: int, room: int) -> Sequence[int]:
    """The layers that are shown, the last among them: all, or as many as there is room for."""
    every = -(-num_layers // max(1, room))
    return range(num_layers - every * ((num_layers - 1) // every), num_layers + 1, every)


def _scale(shown: Sequence[int], each: int) -> RichText:
    """Numbers over the first layer, every fifth and the last."""
    row = ""
    for place, layer in enumerate(shown):
        wanted = layer == shown[-1] or place == 0 or layer % 5 == 0
        at = place * each
        if wanted and len(row) <= at and (layer == shown[-1] or at + len(str(layer)) < len(shown) * each - 2):
            row = row.ljust(at) + str(layer) + " "
    return RichText(" " * (_TOKEN_WIDTH + 1) + row.rstrip(), "dim")


def _colour(step: Step, layer: int) -> str:
    chance = step.chances[layer - 1]
    return _COLOURS[state_of(step, layer)][min(2, int(chance * 3))]


def _layers(inspection: Inspection, say: Say) -> Table:
    """Figures of some layers, at even distances, the last one among them."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("layer", "own final token", "for good", "attention", "MLP", "exit", "as a draft"):
        table.add_column(heading, justify="right", no_wrap=True)
    exits = {each.layer: each for each in inspection.exits}
    for number in _columns(inspection.num_layers, _MOST_LAYERS):
        layer, exit_ = inspection.layer(number), exits.get(number)
        draft = "" if exit_ is None else f"{ratio(exit_.draft.speedup)} K={exit_.draft.num_speculations}"
        figures = (
            str(number),
            share(layer.agreement),
            share(layer.kept),
            significant(layer.attention_influence, 2),
            significant(layer.mlp_influence, 2),
            "" if exit_ is None else ratio(exit_.speedup),
            draft,
        )
        table.add_row(*map(say, figures))
    return table
