"""What decoding spent its time on, strategy beside strategy."""

from __future__ import annotations

from dataclasses import dataclass

from lsbench.metrics import Metrics, TimeShares
from lsbench.report import figures
from lsbench.report.chart import BASELINE_COLOUR, Chart, Key, chart
from lsbench.report.forest import name_rows
from lsbench.report.plain import one_line


@dataclass(frozen=True)
class _Part:
    field: str
    name: str
    colour: str
    opacity: float = 1.0


_PARTS = (
    _Part("layers", "layers", "var(--series-1)"),
    _Part("head", "output head", "var(--series-1)", 0.5),
    _Part("draft_layers", "layers, drafting", "var(--series-2)"),
    _Part("draft_heads", "output head, drafting", "var(--series-2)", 0.5),
    _Part("checks", "looking whether to stop", "var(--series-5)"),
    _Part("kv_fill", "filling keys and values", "var(--series-4)"),
    _Part("sampling", "drawing tokens", "var(--series-3)"),
    _Part("fixed", "the rest of a step", "var(--series-6)"),
    _Part("other", "Python, and what was not measured", BASELINE_COLOUR, 0.6),
)


def cost_chart(metrics: Metrics) -> Chart | None:
    """The milliseconds of a token, stacked by what they were spent on; None where that is known of nobody."""
    from plotly.graph_objects import Bar, Figure

    known = _known(metrics)
    if not known:
        return None
    figure = Figure(layout={"bargap": 0.35, "barmode": "relative", "showlegend": False})
    keys = []
    for part in _PARTS:
        told = [
            (place, share, share * token_ms)
            for place, (_, token_ms, shares) in enumerate(known)
            if (share := getattr(shares, part.field))
        ]
        if told:
            keys.append(Key(part.colour, part.name, part.opacity))
            words = [
                f"{part.name}: {figures.milliseconds(ms / 1000)} a token, {figures.share(share)}"
                for _, share, ms in told
            ]
            figure.add_trace(
                Bar(
                    x=[ms for _, _, ms in told],
                    y=[place for place, _, _ in told],
                    name=part.name,
                    marker={"color": part.colour, "opacity": part.opacity},
                    orientation="h",
                    hoverinfo="text",
                    hovertext=words,
                )
            )
    figure.update_xaxes(title_text="ms a token")
    name_rows(figure, [label for label, _, _ in known])
    unknown = [
        f"{label}: {reason}"
        for label, reason in [
            (metrics.baseline.strategy, metrics.baseline.no_time_shares),
            *((strategy.label, strategy.no_time_shares) for strategy in metrics.strategies),
        ]
        if reason is not None
    ]
    caption = (
        "Decoding time of a token by what it was spent on: how often each part ran × what it costs, as "
        "measured before the run."
    )
    return chart("costs", figure, one_line(" ".join([caption, *unknown])), keys=tuple(keys))


def _known(metrics: Metrics) -> list[tuple[str, float, TimeShares]]:
    """Label, milliseconds a token, and what they went to."""
    base = metrics.baseline
    everyone = [
        (base.strategy, base.tokens_per_second, base.time_shares),
        *(
            (one.label, one.speed.tokens_per_second if one.speed else None, one.time_shares)
            for one in metrics.strategies
        ),
    ]
    return [
        (label, 1000 / speed, shares) for label, speed, shares in everyone if speed and shares is not None
    ]
