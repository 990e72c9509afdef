"""A comparison of runs as Markdown and as a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsbench.comparison import Comparison, Front, FrontPoint
from lsbench.report import figures
from lsbench.report.chart import BASELINE_COLOUR, Chart, chart, colour_of
from lsbench.report.comparison_content import (
    HOW_TO_READ,
    ON_FRONT,
    grids,
    legend,
    machines,
    row_name,
    sentences,
    title,
    warning,
)
from lsbench.report.plain import one_line
from lsbench.report.plotly_page import chart_text, plotly_script, script_policy
from lsbench.report.templates import environment

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_HEIGHT = 380


@dataclass(frozen=True)
class _Point:
    """A point of a front as text."""

    name: str
    speed: str
    value: str
    on_front: bool


@dataclass(frozen=True)
class _Front:
    quality: str
    points: tuple[_Point, ...]


def comparison_markdown(comparison: Comparison) -> str:
    """The sentences, every table, the fronts and the notes, as GitHub-flavoured Markdown."""
    return _render(
        "comparison.md.j2", comparison, fronts=[_told(comparison, front) for front in comparison.fronts]
    )


def comparison_html(comparison: Comparison) -> str:
    """The same as one page that loads nothing, with each front as a chart."""
    charts = [_chart(comparison, front, place) for place, front in enumerate(comparison.fronts)]
    library = plotly_script() if charts else ""
    return _render("comparison.html.j2", comparison, charts=charts, library=library, policy=script_policy())


def _render(template: str, comparison: Comparison, **more: Any) -> str:
    return (
        environment()
        .get_template(template)
        .render(
            title=title(comparison),
            machines=machines(comparison),
            legend=legend(comparison),
            on_front=ON_FRONT,
            warning=warning(comparison),
            sentences=sentences(comparison),
            grids=grids(comparison),
            notes=comparison.notes,
            how_to_read=HOW_TO_READ,
            **more,
        )
    )


def _told(comparison: Comparison, front: Front) -> _Front:
    return _Front(
        front.quality + ("" if front.higher_is_better else " (lower is better)"),
        tuple(
            _Point(
                row_name(comparison.row(point.row)),
                figures.ratio(point.speedup, point.speedup_ci95),
                _quality(front, point),
                point.on_front,
            )
            for point in front.points
        ),
    )


def _quality(front: Front, point: FrontPoint) -> str:
    decimals = figures.decimals_for(*(each.quality for each in front.points))
    return figures.score(point.quality, None, decimals)


def _chart(comparison: Comparison, front: Front, place: int) -> Chart:
    best = ", ".join(point.row for point in front.points if point.on_front)
    better = "higher" if front.higher_is_better else "lower"
    caption = f"Speed against {one_line(front.quality)} ({better} is better); {ON_FRONT}: {best}."
    return chart(f"front-{place}", _figure(comparison, front), caption)


def _figure(comparison: Comparison, front: Front) -> Figure:
    """A point a row, named by its key; a run has one colour, and the front is joined."""
    from plotly.graph_objects import Figure, Scatter

    figure = Figure()
    best = [point for point in front.points if point.on_front]
    figure.add_trace(
        Scatter(
            x=[point.speedup for point in best],
            y=[point.quality for point in best],
            mode="lines",
            line={"color": BASELINE_COLOUR, "dash": "dot"},
            hoverinfo="skip",
        )
    )
    runs = [run.key for run in comparison.runs]
    for point in front.points:
        row = comparison.row(point.row)
        low, high = point.speedup_ci95 or (point.speedup, point.speedup)
        words = (
            f"{row_name(row)}: {figures.ratio(point.speedup, point.speedup_ci95)}, "
            f"{front.quality} {_quality(front, point)}"
        )
        colour = BASELINE_COLOUR if row.is_baseline else colour_of(runs.index(row.run))
        figure.add_trace(
            Scatter(
                x=[point.speedup],
                y=[point.quality],
                mode="markers+text",
                text=[point.row],
                textposition="top center",
                marker={"color": colour, "size": 11, "symbol": "circle" if point.on_front else "circle-open"},
                error_x={
                    "array": [high - point.speedup],
                    "arrayminus": [point.speedup - low],
                    "symmetric": False,
                    "color": colour,
                    "thickness": 1,
                },
                hovertext=[chart_text(words, 50)],
                hoverinfo="text",
            )
        )
    figure.add_vline(1, line={"color": BASELINE_COLOUR, "dash": "dash", "width": 1})
    figure.update_layout(height=_HEIGHT, showlegend=False)
    figure.update_xaxes(title_text="speedup against the run's own baseline", ticksuffix="×")
    figure.update_yaxes(
        title_text=chart_text(front.quality, 40), autorange=True if front.higher_is_better else "reversed"
    )
    return figure
