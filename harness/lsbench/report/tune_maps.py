"""Two maps of a search: which layers its trials left out, and what a grid of two options came to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsbench.report.charts import WIDTH, escaped, svg, text_at, tick_text, ticks

if TYPE_CHECKING:
    from markupsafe import Markup

_LEFT = 52


@dataclass(frozen=True)
class Grid:
    """Values over two options.

    Attributes:
        x, y: names of the options.
        columns, rows: their values, as they are counted up; text where they are no numbers.
        values: [rows][columns]; None where nothing is known.
        measured: whether the values were timed; else predicted.
    """

    x: str
    y: str
    columns: tuple[object, ...]
    rows: tuple[object, ...]
    values: tuple[tuple[float | None, ...], ...]
    measured: bool

    @property
    def best(self) -> tuple[int, int] | None:
        """Row and column of the greatest value."""
        known = [
            (value, row, column)
            for row, values in enumerate(self.values)
            for column, value in enumerate(values)
            if value is not None
        ]
        return max(known)[1:] if known else None

    @property
    def numbers(self) -> bool:
        """Whether both options are numbers, so that there is something between two of their values."""
        return all(
            isinstance(value, int | float) and not isinstance(value, bool)
            for value in (*self.columns, *self.rows)
        )


def grid_map(grid: Grid, words: str) -> Markup:
    """Shaded cells with their values, lines of equal value between them, and the best one framed.

    The line of 1, where both speeds are the same, is the thick one.
    """
    wide = (WIDTH - _LEFT - 12) / len(grid.columns)
    high = 30.0
    bottom = 12 + high * len(grid.rows)
    known = [value for values in grid.values for value in values if value is not None]
    low, span = (min(known), max(known) - min(known) or 1.0) if known else (0.0, 1.0)

    def left(column: int) -> float:
        return _LEFT + column * wide

    def top(row: int) -> float:
        return bottom - (row + 1) * high

    parts: list[str] = []
    for row, values in enumerate(grid.values):
        parts.append(text_at(_LEFT - 6, top(row) + high / 2 + 4, _value_text(grid.rows[row]), "end"))
        for column, value in enumerate(values):
            if value is None:
                continue
            shade = 0.06 + 0.5 * (value - low) / span
            at = f'x="{left(column):.1f}" y="{top(row):.1f}" width="{wide:.1f}" height="{high:g}"'
            said = f"{grid.x} {grid.columns[column]}, {grid.y} {grid.rows[row]}: {value:.3f}×"
            parts.append(
                f'<rect class="cell" {at} fill-opacity="{shade:.2f}"><title>{escaped(said)}</title></rect>'
            )
            if wide >= 34:
                middle = left(column) + wide / 2
                parts.append(text_at(middle, top(row) + high / 2 + 4, f"{value:.2f}", "middle"))
    if grid.numbers and known:
        for level in dict.fromkeys([*ticks(min(known), max(known)), 1.0]):
            path = "".join(
                f"M{_LEFT + (x1 + 0.5) * wide:.1f} {bottom - (y1 + 0.5) * high:.1f}"
                f"L{_LEFT + (x2 + 0.5) * wide:.1f} {bottom - (y2 + 0.5) * high:.1f}"
                for (x1, y1), (x2, y2) in contour(grid.values, level)
            )
            if path:
                name = "contour even" if level == 1.0 else "contour"
                parts.append(f'<path class="{name}" d="{path}"><title>{tick_text(level)}×</title></path>')
    if grid.best is not None:
        row, column = grid.best
        at = f'x="{left(column):.1f}" y="{top(row):.1f}" width="{wide:.1f}" height="{high:g}"'
        parts.append(f'<rect class="frame" {at}/>')
    every = max(1, round(36 / wide))
    for column in range(0, len(grid.columns), every):
        middle = left(column) + wide / 2
        parts.append(text_at(middle, bottom + 15, _value_text(grid.columns[column]), "middle"))
    parts.append(text_at((_LEFT + WIDTH) / 2, bottom + 32, grid.x, "middle"))
    centre = (12 + bottom) / 2
    parts.append(
        f'<text x="12" y="{centre:g}" text-anchor="middle" transform="rotate(-90 12 {centre:g})">'
        f"{escaped(grid.y)}</text>"
    )
    return svg(parts, bottom + 40, words)


def contour(
    values: Sequence[Sequence[float | None]], level: float
) -> Iterable[tuple[tuple[float, float], tuple[float, float]]]:
    """Where a surface has one value, as straight pieces within each square of four neighbours.

    Args:
        values: [rows][columns] of the surface; a square with an unknown corner has no piece.
        level: the value.

    Yields:
        both ends of a piece, each (column, row) between the corners.
    """
    for row in range(len(values) - 1):
        for column in range(len(values[row]) - 1):
            corners = (
                (values[row][column], column, row),
                (values[row][column + 1], column + 1, row),
                (values[row + 1][column + 1], column + 1, row + 1),
                (values[row + 1][column], column, row + 1),
            )
            known = [(value, x, y) for value, x, y in corners if value is not None]
            if len(known) < 4:
                continue
            crossed = []
            for (one, x1, y1), (other, x2, y2) in zip(known, [*known[1:], known[0]], strict=True):
                if (one >= level) != (other >= level):
                    part = (level - one) / (other - one)
                    crossed.append((x1 + part * (x2 - x1), y1 + part * (y2 - y1)))
            if len(crossed) == 2:
                yield crossed[0], crossed[1]
            elif len(crossed) == 4:
                # A saddle: its middle says which of the corners belong together.
                above = sum(value for value, _, _ in known) / 4 >= level
                first = 0 if (known[0][0] >= level) != above else 1
                yield crossed[first - 1], crossed[first]
                yield crossed[first + 1], crossed[(first + 2) % 4]


def skip_map(skipped: Sequence[frozenset[str]], num_layers: int, words: str) -> Markup:
    """Layers down, trials across, the best one leftmost: what each left out.

    Args:
        skipped: sub-layers of each trial, as ``12.attention`` and ``12.mlp``; layers count from 1.
        num_layers: L.
        words: what the map shows, in a sentence.
    """
    wide = min(24.0, (WIDTH - _LEFT - 12) / max(1, len(skipped)))
    high = 10.0 if num_layers <= 40 else 6.0
    bottom = 12 + high * num_layers
    parts: list[str] = []
    for name, offset in (("attention", 0.0), ("mlp", high / 2)):
        box = f"h{wide * 0.9:.1f}v{high * 0.44:.1f}h-{wide * 0.9:.1f}z"
        path = "".join(
            f"M{_LEFT + place * wide:.1f} {12 + (layer - 1) * high + offset:g}{box}"
            for place, items in enumerate(skipped)
            for layer in range(1, num_layers + 1)
            if f"{layer}.{name}" in items
        )
        parts.append(f'<path class="skip {name}" d="{path}"/>')
    every = next(step for step in (1, 2, 5, 10, 20) if num_layers / step <= 10 or step == 20)
    for layer in range(every, num_layers + 1, every):
        parts.append(text_at(_LEFT - 6, 12 + (layer - 0.5) * high + 4, str(layer), "end"))
    right = _LEFT + wide * len(skipped)
    parts.append(f'<path class="axis-line" d="M{_LEFT} 12V{bottom:g}H{right:.1f}"/>')
    parts.append(text_at(_LEFT, bottom + 16, "best trial"))
    if right > _LEFT + 150:
        parts.append(text_at(right, bottom + 16, f"worst of {len(skipped)}", "end"))
    centre = (12 + bottom) / 2
    parts.append(
        f'<text x="12" y="{centre:g}" text-anchor="middle" transform="rotate(-90 12 {centre:g})">layer</text>'
    )
    return svg(parts, bottom + 24, words)


def _value_text(value: object) -> str:
    return tick_text(value) if isinstance(value, float) else str(value)
