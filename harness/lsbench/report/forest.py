"""Values with their intervals, one row for each strategy: a forest plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsbench.metrics import Interval
from lsbench.report.charts import tick_text, ticks
from lsbench.report.plotly_page import chart_text

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_LABEL_WIDTH = 20
"""Characters to a line of a name beside a chart, so that the chart has room on a phone."""
_LINE_HEIGHT = 16
_LEAST_HEIGHT = 42
_AROUND = 60
"""Pixels that an axis and the room above a plot take."""
_BESIDE = 0.2
"""How far apart two estimates of one row are, of the distance between rows."""


@dataclass(frozen=True)
class Estimate:
    """One value.

    Attributes:
        name: of its row, taken literally; rows stand in the order of their first estimates.
        value: what was measured.
        interval: where it lies with 95 % certainty; None where that is not known.
        words: what is said when it is pointed at.
        colour: a CSS variable or colour.
        second: drawn hollow and a little below, beside the row's main one.
    """

    name: str
    value: float
    interval: Interval | None
    words: str
    colour: str
    second: bool = False


def forest(
    estimates: Sequence[Estimate],
    axis: str,
    reference: float | None = None,
    *,
    tick_format: str = "",
    bounds: tuple[float, float] | None = None,
    ratios: bool = False,
) -> Figure:
    """Points with whiskers over a common axis.

    Args:
        estimates: at least one.
        axis: what the axis counts.
        reference: a value worth a line across, such as "no difference".
        tick_format: of the axis, in d3's notation.
        bounds: what no value can leave, such as 0 and 1 for a share; then the axis ends there.
        ratios: whether values are ratios; then twice is as far from 1 as half.
    """
    from plotly.graph_objects import Figure, Scatter

    figure = Figure()
    names = list(dict.fromkeys(estimate.name for estimate in estimates))
    for estimate in estimates:
        marker = {"color": estimate.colour, "size": 10, "symbol": "circle"}
        if estimate.second:
            marker |= {"symbol": "circle-open", "size": 8}
        figure.add_trace(
            Scatter(
                x=[estimate.value],
                y=[names.index(estimate.name) + (_BESIDE if estimate.second else 0)],
                error_x=_whiskers(estimate),
                marker=marker,
                mode="markers",
                hovertext=[chart_text(estimate.words)],
                hoverinfo="text",
            )
        )
    if reference is not None:
        figure.add_vline(reference, line={"color": "var(--quiet)", "dash": "dash", "width": 1})
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title_text=axis, tickformat=tick_format)
    ends = [end for one in estimates for end in (one.value, *(one.interval or ()))]
    ends += [] if reference is None else [reference]
    if ratios:
        low, high = _roomy([math.log10(end) for end in ends])
        marks = _ratio_ticks(10**low, 10**high)
        figure.update_xaxes(type="log", range=[low, high])
        figure.update_xaxes(tickvals=marks, ticktext=[tick_text(mark) for mark in marks])
    else:
        figure.update_xaxes(range=_within(_roomy(ends), bounds))
    name_rows(figure, names)
    return figure


def name_rows(figure: Figure, names: Sequence[str]) -> None:
    """Give a figure a row for each name, at 0, 1, ... from top to bottom, each as high as its name needs.

    Args:
        figure: whose marks lie at these heights.
        names: taken literally.
    """
    shown = [chart_text(name, _LABEL_WIDTH) for name in names]
    most_lines = max(name.count("<br>") + 1 for name in shown)
    height = max(_LEAST_HEIGHT, _LINE_HEIGHT * most_lines + 10)
    figure.update_layout(height=_AROUND + height * len(names))
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=shown,
        tickfont={"size": 12},
        # Room between a name and the plot.
        ticks="outside",
        tickcolor="rgba(0,0,0,0)",
        range=[len(names) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
    )


def _whiskers(estimate: Estimate) -> dict[str, Any]:
    if estimate.interval is None:
        return {"visible": False}
    low, high = estimate.interval
    return {
        "array": [high - estimate.value],
        "arrayminus": [estimate.value - low],
        "color": estimate.colour,
        "symmetric": False,
        "thickness": 1 if estimate.second else 2,
        "width": 4,
    }


def _roomy(ends: Sequence[float]) -> tuple[float, float]:
    """From the least to the greatest, and some room; never empty."""
    low, high = min(ends), max(ends)
    room = 0.06 * (high - low) or 0.05 * max(abs(high), 0.2)
    return low - room, high + room


def _within(range_: tuple[float, float], bounds: tuple[float, float] | None) -> tuple[float, float]:
    """Not beyond the bounds but for a little, so that a point upon one is seen whole."""
    if bounds is None:
        return range_
    edge = 0.02 * (bounds[1] - bounds[0])
    return max(range_[0], bounds[0] - edge), min(range_[1], bounds[1] + edge)


def _ratio_ticks(low: float, high: float) -> list[float]:
    """Round numbers, each about twice the one before where there is room for that."""
    if high < 4 * low:
        return ticks(low, high)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    doubled = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return [mark for mark in doubled if low <= mark <= high]
