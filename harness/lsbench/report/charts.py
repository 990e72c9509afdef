"""Charts as small pieces of SVG: no script, no library, colours by class, every mark with its words.

A chart is drawn in units of its view box, and scales to the width that the page gives it. What a colour tells
is told by a shape, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH = 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 38
_HEIGHT = 290

Series = Literal["timed", "predicted", "final", "failed"]


@dataclass(frozen=True)
class Dot:
    """One point, and what is said of it when it is pointed at."""

    x: float
    y: float
    series: Series
    words: str
    spread: tuple[float, float] | None = None
    """From where to where along x it is certain to lie."""


@dataclass(frozen=True)
class Line:
    """Points joined: straight, or level until the next."""

    points: Sequence[tuple[float, float]]
    series: Series
    steps: bool = False


@dataclass(frozen=True)
class Guide:
    """A value worth seeing, across the whole plot."""

    axis: Literal["x", "y"]
    value: float
    words: str


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        return ticks(self.low, self.high)


def plot(
    dots: Sequence[Dot],
    lines: Sequence[Line] = (),
    guides: Sequence[Guide] = (),
    *,
    x: str,
    y: str,
    words: str,
    y_most: float | None = None,
) -> Markup:
    """Points and lines over two axes of numbers.

    Args:
        dots: at least one.
        lines: among them.
        guides: with their words, which may lie over points.
        x: what the horizontal axis counts.
        y: what the vertical one counts.
        words: what the chart shows, in a sentence.
        y_most: where the vertical axis ends at most, such as 1 for a share.
    """
    across = [dot.x for dot in dots] + [end for dot in dots for end in dot.spread or ()]
    across += [guide.value for guide in guides if guide.axis == "x"]
    up = [dot.y for dot in dots] + [guide.value for guide in guides if guide.axis == "y"]
    low_x, high_x = _roomy(across)
    low_y, high_y = _roomy(up)
    if y_most is not None and max(up) <= y_most:
        # A little room, so that a point on the edge is seen whole.
        high_y = min(high_y, y_most + 0.03 * (y_most - low_y))
    scale_x = _Scale(low_x, high_x, _LEFT, WIDTH - _RIGHT)
    scale_y = _Scale(low_y, high_y, _HEIGHT - _BOTTOM, _TOP)
    parts = [*_axes(scale_x, scale_y, x, y, y_most)]
    parts += [_line(line, scale_x, scale_y) for line in lines]
    order: dict[Series, int] = {"failed": 0, "predicted": 1, "timed": 2, "final": 3}
    parts += [_dot(dot, scale_x, scale_y) for dot in sorted(dots, key=lambda dot: order[dot.series])]
    parts += [_guide(guide, scale_x, scale_y) for guide in guides]
    return svg(parts, _HEIGHT, words)


def bars(items: Sequence[tuple[str, float, str]], words: str) -> Markup:
    """Named shares, 0 to 1, as bars that lie; each with what stands at its end.

    Args:
        items: name, share and text of each.
        words: what the chart shows, in a sentence.
    """
    name_width, row = 170, 24
    room = WIDTH - name_width - 60
    parts: list[str] = []
    for place, (name, share, told) in enumerate(items):
        top = place * row + 4
        length = max(1.0, room * min(1.0, max(0.0, share)))
        parts.append(_text(name_width - 6, top + 13, _cut(name, 25), "end", name))
        parts.append(f'<rect x="{name_width}" y="{top + 2}" width="{length:.1f}" height="14"/>')
        parts.append(_text(name_width + length + 6, top + 13, told))
    return svg(parts, len(items) * row + 8, words)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, about so many."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * round_one for round_one in (1, 2, 2.5, 5, 10) if power * round_one >= rough)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def svg(parts: Iterable[str], height: float, words: str) -> Markup:
    """Parts, already written as SVG, as a chart of the common width."""
    from markupsafe import Markup

    inner = "".join(parts)
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-label="{escaped(words)}">{inner}</svg>'
    )


def escaped(text: str) -> str:
    """Text as it may stand in SVG, and nothing that a stranger wrote taken for markup."""
    from markupsafe import escape

    from lsbench.report.plain import one_line

    return str(escape(one_line(text)))


def text_at(x: float, y: float, text: str, anchor: str = "start") -> str:
    """A piece of text."""
    return _text(x, y, text, anchor)


def tick_text(value: float) -> str:
    """A number beside an axis."""
    return f"{value:.6g}".replace("-", "−")


def _roomy(values: Sequence[float]) -> tuple[float, float]:
    """From the least to the greatest, with some room; never empty."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.05 * max(abs(low), 0.2)
    return low - room, high + room


def _axes(x: _Scale, y: _Scale, x_name: str, y_name: str, y_most: float | None) -> Iterable[str]:
    for value in y.ticks:
        if y_most is None or value <= y_most:
            at = y.at(value)
            yield f'<path class="grid" d="M{_LEFT} {at:.1f}H{WIDTH - _RIGHT}"/>'
            yield _text(_LEFT - 6, at + 4, tick_text(value), "end")
    for value in x.ticks:
        yield _text(x.at(value), _HEIGHT - _BOTTOM + 15, tick_text(value), "middle")
    yield f'<path class="axis-line" d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}"/>'
    yield _text((_LEFT + WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_name, "middle")
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    yield (
        f'<text x="12" y="{middle:g}" text-anchor="middle" transform="rotate(-90 12 {middle:g})">'
        f"{escaped(y_name)}</text>"
    )


def _guide(guide: Guide, x: _Scale, y: _Scale) -> str:
    if guide.axis == "x":
        at = x.at(guide.value)
        near_end = at > (x.start + x.end) / 2
        said = _said(
            at + (-4 if near_end else 4), _HEIGHT - _BOTTOM - 6, guide.words, "end" if near_end else "start"
        )
        return f'<path class="guide" d="M{at:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>{said}'
    at = y.at(guide.value)
    said = _said(WIDTH - _RIGHT - 4, at - 4, guide.words, "end")
    return f'<path class="guide" d="M{_LEFT} {at:.1f}H{WIDTH - _RIGHT}"/>{said}'


def _said(x: float, y: float, text: str, anchor: str) -> str:
    """Text that may lie over marks, and stays readable there."""
    return _text(x, y, text, anchor).replace("<text ", '<text class="over" ', 1)


def _line(line: Line, x: _Scale, y: _Scale) -> str:
    path = ""
    for across, up in line.points:
        to_x, to_y = f"{x.at(across):.1f}", f"{y.at(up):.1f}"
        path += f"M{to_x} {to_y}" if not path else f"H{to_x}V{to_y}" if line.steps else f"L{to_x} {to_y}"
    return f'<path class="line {line.series}" d="{path}"/>'


def _dot(dot: Dot, x: _Scale, y: _Scale) -> str:
    at_x, at_y = x.at(dot.x), y.at(dot.y)
    title = f"<title>{escaped(dot.words)}</title>"
    spread = ""
    if dot.spread is not None:
        spread = f'<path class="spread" d="M{x.at(dot.spread[0]):.1f} {at_y:.1f}H{x.at(dot.spread[1]):.1f}"/>'
    if dot.series == "failed":
        cross = f"M{at_x - 3:.1f} {at_y - 3:.1f}l6 6m0 -6l-6 6"
        return f'<path class="dot failed" d="{cross}">{title}</path>'
    if dot.series == "final":
        diamond = f"M{at_x:.1f} {at_y - 6:.1f}l6 6l-6 6l-6 -6z"
        return f'{spread}<path class="dot final" d="{diamond}">{title}</path>'
    return f'{spread}<circle class="dot {dot.series}" cx="{at_x:.1f}" cy="{at_y:.1f}" r="4">{title}</circle>'


def _text(x: float, y: float, text: str, anchor: str = "start", title: str = "") -> str:
    more = f"<title>{escaped(title)}</title>" if title and title != text else ""
    place = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{place}>{escaped(text)}{more}</text>'


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else "…" + text[1 - most :]
