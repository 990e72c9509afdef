"""How fast and how good each strategy is, and with what certainty."""

from __future__ import annotations

from collections.abc import Iterator

from lsbench.metrics import Metrics, StrategyMetrics
from lsbench.report import figures
from lsbench.report.chart import Chart, chart, colour_of
from lsbench.report.forest import Estimate, forest
from lsbench.report.plain import one_line
from lsbench.report.quality import difference_text, judge, lower_is_better, metric_name

_MOST_QUALITY_CHARTS = 8


def speed_chart(metrics: Metrics) -> Chart | None:
    """Speedups with their intervals; None where no strategy has one."""
    estimates = []
    for place, strategy, label in _numbered(metrics):
        if strategy.speed is None:
            continue
        shown = (
            (strategy.speed.speedup, "decoding alone", False),
            (strategy.speed.end_to_end_speedup, "with reading the prompt", True),
        )
        for speedup, what, second in shown:
            if speedup is not None:
                words = f"{label}, {what}: {figures.ratio(speedup.value, speedup.ci95)}"
                estimates.append(
                    Estimate(label, speedup.value, speedup.ci95, words, colour_of(place), second)
                )
    if not estimates:
        return None
    figure = forest(estimates, "× the baseline's speed", 1.0, ratios=True)
    return chart(
        "speedup",
        figure,
        "Filled: decoding alone. Hollow: with reading the prompt. Right of the broken line is faster than "
        "the baseline; where the whisker, the 95% interval, comes within 1% of it, no difference is claimed.",
    )


def quality_charts(metrics: Metrics) -> list[Chart]:
    """For each metric of each task that can tell strategies apart, their differences from the baseline; the
    first few of them."""
    shown = _compared(metrics)[:_MOST_QUALITY_CHARTS]
    return [_difference(metrics, *pair, number) for number, pair in enumerate(shown, 1)]


def agreement_chart(metrics: Metrics) -> Chart | None:
    """How many of the baseline's tokens each strategy would have chosen; None where that is not known."""
    estimates = []
    for place, strategy, label in _numbered(metrics):
        if strategy.fidelity is not None:
            agreement = strategy.fidelity.token_agreement
            words = f"{label}: {figures.share(agreement.value, agreement.ci95)}"
            estimates.append(Estimate(label, agreement.value, agreement.ci95, words, colour_of(place)))
    if not estimates:
        return None
    figure = forest(estimates, "token agreement", 1.0, tick_format=".0%", bounds=(0.0, 1.0))
    caption = (
        "The share of the baseline's tokens that a strategy would have chosen too, with its 95% interval."
    )
    return chart("agreement", figure, caption)


def _numbered(metrics: Metrics) -> Iterator[tuple[int, StrategyMetrics, str]]:
    for place, strategy in enumerate(metrics.strategies):
        yield place, strategy, one_line(strategy.label)


def _compared(metrics: Metrics) -> list[tuple[str, str]]:
    """Tasks and metrics on which at least one strategy differs, or could."""
    pairs = [
        (task, metric)
        for strategy in metrics.strategies
        for task, scores in strategy.tasks.items()
        if scores.affected_by_strategy and scores.tells_apart
        for metric in scores.difference
    ]
    return list(dict.fromkeys(pairs))


def _difference(metrics: Metrics, task: str, metric: str, number: int) -> Chart:
    estimates = []
    for place, strategy, label in _numbered(metrics):
        scores = strategy.tasks.get(task)
        difference = scores.difference.get(metric) if scores is not None else None
        if scores is None or difference is None:
            continue
        decimals = figures.decimals_for(scores.metrics[metric].value if metric in scores.metrics else 1.0)
        words = f"{label}: {difference_text(difference, decimals)}, {judge(metric, scores).word}"
        estimates.append(Estimate(label, difference.value, difference.ci95, words, colour_of(place)))
    title = f"{one_line(task)} {metric_name(one_line(metric))}"
    better = "left" if lower_is_better(metric) else "right"
    figure = forest(estimates, "strategy − baseline", 0.0)
    caption = (
        f"the strategy's score less the baseline's, with its 95% interval; {better} of the line is better."
    )
    return chart(f"quality-{number}", figure, caption, title)
