"""Values with their intervals, one row for each strategy: a forest plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsbench.metrics import Interval
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
) -> Figure:
    """Points with whiskers over a common axis.

    Args:
        estimates: at least one.
        axis: what the axis counts.
        reference: a value worth a line across, such as "no difference".
        tick_format: of the axis, in d3's notation.
        bounds: what no value can leave, such as 0 and 1 for a share; then the axis ends there.
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
    figure.update_xaxes(title_text=axis, tickformat=tick_format, range=_range(estimates, reference, bounds))
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


def _range(
    estimates: Sequence[Estimate], reference: float | None, bounds: tuple[float, float] | None
) -> list[float]:
    """All intervals, the reference, and some room; never empty."""
    ends = [end for one in estimates for end in (one.value, *(one.interval or ()))]
    ends += [] if reference is None else [reference]
    low, high = min(ends), max(ends)
    room = 0.06 * (high - low) or 0.05 * max(abs(high), 0.2)
    if bounds is None:
        return [low - room, high + room]
    # A little beyond a bound, so that a point upon it is seen whole.
    edge = 0.02 * (bounds[1] - bounds[0])
    return [max(low - room, bounds[0] - edge), min(high + room, bounds[1] + edge)]
