"""How many layers tokens ran, and how far drafts were right."""

from __future__ import annotations

from collections.abc import Sequence

from lsbench.metrics import AcceptanceAt, Metrics, StrategyMetrics
from lsbench.report import figures
from lsbench.report.chart import Chart, Key, chart, colour_of
from lsbench.report.plain import one_line
from lsbench.report.plotly_page import chart_text

_HEIGHT = 220


def depth_charts(metrics: Metrics) -> list[Chart]:
    """A histogram for every strategy whose depth is known and that decoded a token."""
    return [
        _histogram(strategy, place, metrics.model.num_layers)
        for place, strategy in enumerate(metrics.strategies)
        if strategy.depth is not None and sum(strategy.depth.histogram)
    ]


def acceptance_chart(metrics: Metrics) -> Chart | None:
    """What share of drafted tokens was accepted at each place of a draft; None where nothing was drafted."""
    from plotly.graph_objects import Figure, Scatter

    figure, keys = Figure(), []
    for place, strategy in enumerate(metrics.strategies):
        positions = [at for at in _positions(strategy) if at.drafted]
        if not positions:
            continue
        label = chart_text(strategy.label)
        keys.append(Key(colour_of(place), one_line(strategy.label)))
        figure.add_trace(
            Scatter(
                x=[at.position for at in positions],
                y=[at.accepted / at.drafted for at in positions],
                mode="lines+markers",
                line={"color": colour_of(place), "width": 2},
                marker={"size": 8},
                name=label,
                hoverinfo="text",
                hovertext=[
                    f"{label}<br>token {at.position} of the draft: "
                    f"{at.accepted:,} of {at.drafted:,} accepted, {figures.share(at.accepted / at.drafted)}"
                    for at in positions
                ],
            )
        )
    if not figure.data:
        return None
    figure.update_layout(height=_HEIGHT + 20, showlegend=False)
    figure.update_xaxes(title_text="place in the draft", dtick=1)
    figure.update_yaxes(range=[-0.02, 1.02], tickformat=".0%", title_text="accepted")
    return chart(
        "acceptance-by-position",
        figure,
        "The share of drafted tokens that were accepted, by their place in the draft. A token counts as "
        "accepted only where all before it in its draft were.",
        keys=tuple(keys),
    )


def _positions(strategy: StrategyMetrics) -> Sequence[AcceptanceAt]:
    return strategy.speculation.acceptance_by_position if strategy.speculation else ()


def _histogram(strategy: StrategyMetrics, place: int, full: int) -> Chart:
    from plotly.graph_objects import Bar, Figure

    depth = strategy.depth
    assert depth is not None
    counts, total = depth.histogram, sum(depth.histogram)
    drawn = [(layers, count) for layers, count in enumerate(counts) if count]
    bars = Bar(
        x=[layers for layers, _ in drawn],
        y=[count / total for _, count in drawn],
        marker={"color": colour_of(place)},
        hoverinfo="text",
        hovertext=[
            f"{layers} layers: {count:,} tokens, {figures.share(count / total)}" for layers, count in drawn
        ],
    )
    figure = Figure(bars, {"height": _HEIGHT, "bargap": 0.15})
    figure.update_xaxes(title_text="layers run", range=[-0.5, len(counts) - 0.5])
    figure.update_yaxes(tickformat=".0%", title_text="tokens")
    whole = figures.share(sum(counts[full:]) / total)
    caption = (
        f"{figures.significant(depth.mean_layers)} of {full} layers per token on average; "
        f"half of the {total:,} tokens ran {_median(counts)} layers or fewer, {whole} ran all {full}."
    )
    return chart(f"depth-{place + 1}", figure, caption, one_line(strategy.label))


def _median(counts: tuple[int, ...]) -> int:
    half, seen = sum(counts) / 2, 0
    for layers, tokens in enumerate(counts):
        seen += tokens
        if seen >= half:
            return layers
    return len(counts) - 1
