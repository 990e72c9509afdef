"""How times spread over requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from lsbench.metrics import Metrics
from lsbench.records import SampleRecord
from lsbench.report.chart import BASELINE_COLOUR, Chart, chart, colour_of
from lsbench.report.forest import name_rows

_MOST_POINTS = 400
"""Requests of one strategy that are drawn one by one; of more, the box and what lies outside it."""


def distribution_charts(metrics: Metrics, records: Sequence[SampleRecord]) -> list[Chart]:
    """Time per token and time to the first token, a box for the baseline and each strategy."""
    made = (
        _boxes("time-per-token", metrics, records, _time_per_token, "time per token, ms",
               "Decoding time of a token after the first (TPOT), of each request."),
        _boxes("time-to-first-token", metrics, records, lambda record: record.ttft_s,
               "time to first token, ms",
               "From the request to its first token (TTFT), of each request: mostly reading the prompt."),
    )  # fmt: skip
    return [one for one in made if one is not None]


def _time_per_token(record: SampleRecord) -> float | None:
    decoded = len(record.token_ids or ()) - 1
    return None if record.decode_s is None or decoded < 1 else record.decode_s / decoded


def _boxes(
    name: str,
    metrics: Metrics,
    records: Iterable[SampleRecord],
    seconds: Callable[[SampleRecord], float | None],
    axis: str,
    caption: str,
) -> Chart | None:
    from plotly.graph_objects import Box, Figure

    labels = [metrics.baseline.strategy, *(strategy.label for strategy in metrics.strategies)]
    found: dict[str, list[float]] = {label: [] for label in labels}
    for record in records:
        if record.kind == "generate" and record.error is None and record.label in found:
            value = seconds(record)
            if value is not None:
                found[record.label].append(float(f"{value * 1000:.4g}"))
    figure = Figure()
    for place, label in enumerate(labels):
        if found[label]:
            figure.add_trace(
                Box(
                    x=found[label],
                    y0=place,
                    boxpoints="all" if len(found[label]) <= _MOST_POINTS else "outliers",
                    jitter=0.5,
                    pointpos=0,
                    line={"width": 1.5},
                    marker={
                        "color": colour_of(place - 1) if place else BASELINE_COLOUR,
                        "opacity": 0.7,
                        "size": 5,
                    },
                    fillcolor="rgba(0,0,0,0)",
                    hoverinfo="x",
                    orientation="h",
                )
            )
    if not figure.data:
        return None
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title_text=axis, rangemode="tozero")
    name_rows(figure, labels)
    return chart(name, figure, caption)
