"""The charts of a look inside a model: who predicts what, and how much each layer changes."""

from __future__ import annotations

from typing import Any

from lsbench.insight.outcome import Inspection, Layer, Step, Text
from lsbench.report.chart import Chart, chart
from lsbench.report.figures import share
from lsbench.report.inspect_grid import state_of, token_text
from lsbench.report.plotly_page import chart_text

_ROW_HEIGHT, _ROOM = 18, 90
_NAME = 16
"""Characters of a token beside a heatmap."""
# Another prediction, the surer the darker, on the left; the final one on the right.
_COLOURS = [[0.0, "var(--quiet)"], [0.5, "var(--paper)"], [1.0, "var(--series-1)"]]
_LENSES = ("layer %{x}, after %{customdata[1]}", "predicts %{customdata[0]}, %{customdata[2]}")
_HOVER = "<br>".join((*_LENSES, "%{customdata[3]}")) + "<extra></extra>"


def lens_chart(inspection: Inspection, number: int) -> Chart:
    """Tokens down, layers across: what each layer predicts, and how surely.

    Args:
        inspection: what came of the look.
        number: of its text.
    """
    import plotly.graph_objects as go

    text = inspection.texts[number]
    names = [chart_text(token_text(inspection.token(step.token), _NAME)) for step in text.steps]
    layers = list(range(1, inspection.num_layers + 1))
    rows = list(range(len(names)))
    figure = go.Figure(
        go.Heatmap(
            x=layers,
            y=rows,
            z=[[_signed(step, layer) for layer in layers] for step in text.steps],
            customdata=[[_told(inspection, step, layer) for layer in layers] for step in text.steps],
            hovertemplate=_HOVER,
            colorscale=_COLOURS,
            zmin=-1,
            zmax=1,
            showscale=False,
            xgap=1,
            ygap=1,
        )
    )
    figure.add_scatter(
        x=[step.kept for step in text.steps],
        y=rows,
        mode="markers",
        marker={"symbol": "line-ns-open", "size": _ROW_HEIGHT - 6, "color": "var(--series-2)"},
        hoverinfo="skip",
        showlegend=False,
    )
    figure.update_layout(height=_ROOM + _ROW_HEIGHT * len(names))
    figure.update_xaxes(title_text="layer", showgrid=False, side="top", range=[0.5, layers[-1] + 0.5])
    figure.update_yaxes(tickvals=rows, ticktext=names, range=[rows[-1] + 0.5, -0.5], showgrid=False)
    figure.update_yaxes(tickfont={"family": "ui-monospace, monospace", "size": 12})
    return chart(f"lens-{number}", figure, _lens_words(text), text.name)


def agreement_chart(inspection: Inspection) -> Chart:
    """How often each layer says what the last one does."""
    import plotly.graph_objects as go

    figure = go.Figure()
    told = (
        ("agreement", "predicts the model's own final token", "solid", 1),
        ("reached", "it has been there by now", "dot", 2),
        ("kept", "it is there for good", "dash", 3),
    )
    numbers = [layer.layer for layer in inspection.layers]
    for field, name, dash, colour in told:
        values = [getattr(layer, field) for layer in inspection.layers]
        figure.add_scatter(
            x=numbers,
            y=values,
            name=name,
            mode="lines+markers",
            line={"color": f"var(--series-{colour})", "dash": dash},
            text=[share(value) for value in values],
            hovertemplate="layer %{x}: %{text}<extra></extra>",
        )
    figure.update_xaxes(title_text="layer")
    figure.update_yaxes(title_text="share of tokens", range=[0, 1.03], tickformat=".0%")
    return chart(
        "agreement",
        figure,
        f"How often each layer says what the last one does, over {inspection.num_steps} tokens.",
    )


def influence_chart(inspection: Inspection) -> Chart:
    """How much each sub-layer changes what passes through it."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, (name, values) in enumerate(_influences(inspection.layers), 1):
        figure.add_bar(
            x=[layer.layer for layer in inspection.layers],
            y=values,
            name=name,
            marker={"color": f"var(--series-{number})"},
            hovertemplate=f"{name} of layer %{{x}}: %{{y:.3g}}<extra></extra>",
        )
    figure.update_layout(barmode="group")
    figure.update_xaxes(title_text="layer")
    figure.update_yaxes(title_text="1 − cosine", type="log" if _spread(inspection.layers) else "linear")
    return chart(
        "influence",
        figure,
        "Block influence: 1 − the cosine of what enters a sub-layer and what leaves it, mean over tokens.",
    )


def similarity_chart(inspection: Inspection) -> Chart:
    """How alike hidden states of two layers are."""
    import plotly.graph_objects as go

    numbers = list(range(inspection.num_layers + 1))
    values = [[round(value, 4) for value in row] for row in inspection.similarity]
    figure = go.Figure(
        go.Heatmap(
            x=numbers,
            y=numbers,
            z=values,
            zmax=1,
            colorscale=[[0.0, "var(--paper)"], [1.0, "var(--series-1)"]],
            hovertemplate="after layers %{x} and %{y}: %{z:.3f}<extra></extra>",
            colorbar={"thickness": 12},
        )
    )
    figure.update_layout(height=420)
    figure.update_xaxes(title_text="layer (0 is the embedding)", showgrid=False)
    figure.update_yaxes(title_text="layer", showgrid=False)
    return chart("similarity", figure, "Cosine of the hidden states after two layers, the mean over tokens.")


def _influences(layers: tuple[Layer, ...]) -> tuple[tuple[str, list[float]], ...]:
    return (
        ("attention", [layer.attention_influence for layer in layers]),
        ("MLP", [layer.mlp_influence for layer in layers]),
    )


def _spread(layers: tuple[Layer, ...]) -> bool:
    """Whether some bars would vanish beside others, and none is nothing at all."""
    values = [value for _, each in _influences(layers) for value in each]
    return min(values) > 0 and max(values) > 50 * min(values)


def _signed(step: Step, layer: int) -> float:
    """The probability of the prediction; below 0 where the last layer's is another."""
    chance = round(step.chances[layer - 1], 3)
    return -chance if state_of(step, layer) == "other" else chance


def _told(inspection: Inspection, step: Step, layer: int) -> list[Any]:
    """What is shown of a cell that is pointed at."""
    chosen, final = (_quoted(inspection, token) for token in (step.choices[layer - 1], step.choices[-1]))
    last = {
        "kept": "the final prediction, there for good",
        "reached": "the final prediction, but lost again",
        "other": f"in the end: {final}",
    }
    return [
        chosen,
        _quoted(inspection, step.token),
        share(step.chances[layer - 1]),
        last[state_of(step, layer)],
    ]


def _quoted(inspection: Inspection, token: int) -> str:
    return f"“{chart_text(token_text(inspection.token(token)))}”"


def _lens_words(text: Text) -> str:
    return (
        f"What each layer would predict after each of {len(text.steps)} tokens that the model wrote. Blue is "
        "the model's own final prediction, grey another, and the fuller the surer; the mark is where the "
        "final one is there for good. Point at a cell to read it."
    )
