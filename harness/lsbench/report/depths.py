"""The depth histogram as bars: how many tokens ran how many layers."""

from __future__ import annotations

from dataclasses import dataclass

from lsbench.metrics import Metrics
from lsbench.report import figures


@dataclass(frozen=True)
class Bar:
    """Tokens that ran ``layers`` layers, and their share of the tallest bar (0 to 1)."""

    layers: int
    tokens: int
    height: float
    words: str


@dataclass(frozen=True)
class DepthChart:
    """One strategy's histogram, with a sentence that says what it shows."""

    label: str
    summary: str
    bars: tuple[Bar, ...]


def depth_charts(metrics: Metrics) -> list[DepthChart]:
    """A chart for every strategy whose depth is known and that decoded a token."""
    charts = []
    for strategy in metrics.strategies:
        if strategy.depth is None or sum(strategy.depth.histogram) == 0:
            continue
        counts = strategy.depth.histogram
        total, tallest = sum(counts), max(counts)
        bars = tuple(
            Bar(
                layers,
                tokens,
                tokens / tallest,
                f"{layers} layers: {tokens:,} tokens, {figures.share(tokens / total)}",
            )
            for layers, tokens in enumerate(counts)
        )
        full = metrics.model.num_layers
        whole = figures.share(sum(counts[full:]) / total)
        summary = (
            f"{figures.significant(strategy.depth.mean_layers)} of {full} layers per token on average; "
            f"half of the {total:,} tokens ran {_median(counts)} layers or fewer, {whole} ran all {full}."
        )
        charts.append(DepthChart(strategy.label, summary, bars))
    return charts


def _median(counts: tuple[int, ...]) -> int:
    half, seen = sum(counts) / 2, 0
    for layers, tokens in enumerate(counts):
        seen += tokens
        if seen >= half:
            return layers
    return len(counts) - 1
