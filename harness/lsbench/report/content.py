"""The figures of a report as rows of text, made once for terminal, Markdown and HTML alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lsbench.metrics import BaselineMetrics, Metrics, StrategyMetrics
from lsbench.report import figures
from lsbench.report.plain import one_line
from lsbench.report.quality import Tone, difference_text, judge, metric_name
from lsbench.report.verdict import claim_failed, claim_text, speed_tone
from lsbench.spec import BASELINE, INT8_WEIGHTS, StrategyChoice

HOW_TO_READ = (
    "speedup is the baseline's time per token ÷ the strategy's, so above 1× is faster",
    "in brackets, the 95% interval",
    "±, the standard error",
    "times are median / 95th percentile over prompts",
    "↓, lower is better",
    "—, does not apply",
)


@dataclass(frozen=True)
class Cell:
    """One figure: its lines of text, and a tone that only repeats what the words say."""

    lines: tuple[str, ...]
    tone: Tone = "plain"

    @property
    def text(self) -> str:
        """The lines as one."""
        return ", ".join(self.lines)


@dataclass(frozen=True)
class Row:
    """One figure for the baseline and for every strategy, in the run's order."""

    name: str
    meaning: str
    baseline: Cell
    strategies: tuple[Cell, ...]


@dataclass(frozen=True)
class Section:
    """Rows that answer one question."""

    title: str
    rows: tuple[Row, ...]


def sections(metrics: Metrics) -> tuple[Section, ...]:
    """Speed, cost in quality, fidelity and memory, leaving out rows that apply to nobody."""
    built = (
        Section("How fast", _speed(metrics)),
        Section("What it costs in quality", _quality(metrics)),
        Section("How true to the full model", _fidelity(metrics)),
        Section("Memory", _memory(metrics)),
    )
    return tuple(section for section in built if section.rows)


def model_line(metrics: Metrics) -> str:
    """The model in a few words: name, layers, number format."""
    model = metrics.model
    weights = " (quantized: int8 weights)" if model.dtype == INT8_WEIGHTS else ""
    return f"{one_line(model.id)}, {model.num_layers} layers, {model.dtype}{weights}"


_NONE = Cell((figures.NONE,))


def strategy_heading(strategy: StrategyMetrics) -> tuple[str, ...]:
    """A strategy's name and its options, one a line: a label too long for a column head."""
    options = (StrategyChoice(name="", options={key: value}).label for key, value in strategy.options.items())
    return (one_line(strategy.name), *(one_line(option.removeprefix(":")) for option in options))


def _cell(text: str, tone: Tone = "plain") -> Cell:
    return Cell((text,), tone)


_Figure = tuple[str, str, str, Callable[[StrategyMetrics], Cell]]
"""A row's name, its meaning, the baseline's figure, and how a strategy's is found."""


def _rows(metrics: Metrics, *rows: _Figure) -> tuple[Row, ...]:
    built = (
        Row(name, meaning, _cell(baseline), tuple(cell(strategy) for strategy in metrics.strategies))
        for name, meaning, baseline, cell in rows
    )
    return tuple(row for row in built if any(cell != _NONE for cell in (row.baseline, *row.strategies)))


def _speed(metrics: Metrics) -> tuple[Row, ...]:
    base = metrics.baseline
    generated = any(strategy.speed is not None for strategy in metrics.strategies) or base.generated_tokens
    return _rows(
        metrics,
        ("speedup", "baseline's time per token ÷ the strategy's, over the same prompts",
         "1×" if generated else figures.NONE, _speedup),
        ("end-to-end speedup", "the same with reading the prompt included",
         "1×" if generated else figures.NONE, _end_to_end),
        ("tokens/s", "tokens decoded in a second, after the first",
         figures.significant(base.tokens_per_second),
         lambda s: _cell(figures.significant(s.speed.tokens_per_second)) if s.speed else _NONE),
        ("time to first token", "from the request to the first token (TTFT): median / 95th percentile",
         figures.percentiles(base.ttft_s),
         lambda s: _cell(figures.percentiles(s.speed.ttft_s)) if s.speed else _NONE),
        ("time per token", "decode time of each token after the first (TPOT): median / 95th percentile",
         figures.percentiles(base.tpot_s),
         lambda s: _cell(figures.percentiles(s.speed.tpot_s)) if s.speed else _NONE),
        ("layers per token", "decoder layers run for a decoded token, on average",
         _full_depth(base, metrics.model.num_layers, bool(generated)),
         lambda s: _layers(s, metrics.model.num_layers)),
        ("tokens per full pass", "tokens emitted for each verifying pass", figures.NONE, _accepted_length),
        ("drafts accepted", "accepted ÷ drafted tokens", figures.NONE, _acceptance),
        ("best speedup possible", "with the measured costs and no overhead, and the share reached",
         figures.NONE, _ceiling),
        ("where the rest went", "of its time: looking whether to stop, filling keys and values left out, "
         "drawing drafts, and what is left: Python and what was not measured", figures.NONE, _remainder),
        ("of what memory allows", "weights that its steps read ÷ memory bandwidth ÷ the measured costs of "
         "these steps, so 100% is a step that takes no longer than reading its weights",
         figures.share(base.bandwidth_fraction), _of_memory),
        ("tokens generated", "in all timed samples",
         f"{base.generated_tokens:,}" if generated else figures.NONE,
         lambda s: _cell(f"{s.speed.generated_tokens:,}") if s.speed else _NONE),
    )  # fmt: skip


def _speedup(strategy: StrategyMetrics) -> Cell:
    if strategy.unavailable is not None:
        return _cell("cannot run here", "bad")
    if strategy.speed is None or strategy.speed.speedup is None:
        return _NONE
    speedup = strategy.speed.speedup
    said = speedup.verdict if speedup.ci95 is not None else "too few prompts to tell"
    return Cell((figures.ratio(speedup.value, speedup.ci95), said), speed_tone(strategy))


def _end_to_end(strategy: StrategyMetrics) -> Cell:
    speed = strategy.speed
    if speed is None or speed.end_to_end_speedup is None:
        return _NONE
    return _cell(figures.ratio(speed.end_to_end_speedup.value, speed.end_to_end_speedup.ci95))


def _full_depth(base: BaselineMetrics, layers: int, generated: bool) -> str:
    """Only our own loop is known to run every layer; an outside baseline cannot tell."""
    return str(layers) if generated and base.strategy == BASELINE else figures.NONE


def _layers(strategy: StrategyMetrics, layers: int) -> Cell:
    if strategy.depth is None:
        return _NONE
    mean = strategy.depth.mean_layers
    return _cell(f"{figures.significant(mean)} of {layers} ({figures.share(mean / layers)})")


def _accepted_length(strategy: StrategyMetrics) -> Cell:
    speculation = strategy.speculation
    return _cell(figures.significant(speculation.mean_accepted_length)) if speculation else _NONE


def _acceptance(strategy: StrategyMetrics) -> Cell:
    speculation = strategy.speculation
    if speculation is None or speculation.acceptance_rate is None:
        return _NONE
    rate = figures.share(speculation.acceptance_rate)
    return _cell(f"{rate} ({speculation.accepted:,} of {speculation.drafted:,})")


def _ceiling(strategy: StrategyMetrics) -> Cell:
    ceiling = strategy.ceiling
    if ceiling is None:
        return _NONE
    return _cell(f"{figures.ratio(ceiling.speedup)}, {figures.share(ceiling.achieved_fraction)} reached")


def _of_memory(strategy: StrategyMetrics) -> Cell:
    return _cell(figures.share(strategy.ceiling.bandwidth_fraction)) if strategy.ceiling else _NONE


def _remainder(strategy: StrategyMetrics) -> Cell:
    rest = strategy.ceiling.remainder if strategy.ceiling else None
    if rest is None:
        return _NONE
    parts = {"checks": rest.checks, "KV fill": rest.kv_fill, "sampling": rest.sampling}
    named = [f"{name} {figures.share(share)}" for name, share in parts.items() if share]
    return _cell(", ".join([*named, f"Python and other {figures.share(rest.other)}"]))


def _quality(metrics: Metrics) -> tuple[Row, ...]:
    rows = []
    tasks = [*metrics.baseline.tasks, *(task for strategy in metrics.strategies for task in strategy.tasks)]
    for task in dict.fromkeys(tasks):
        scored = [strategy.tasks[task] for strategy in metrics.strategies if task in strategy.tasks]
        reference = metrics.baseline.tasks.get(task, {})
        names = [*reference, *(name for scores in scored for name in scores.metrics)]
        counts = {scores.n for scores in scored}
        over = f"over {min(counts):,} samples" if len(counts) == 1 else "over the samples run"
        for name in dict.fromkeys(names):
            measured = reference.get(name)
            values = [scores.metrics[name].value for scores in scored if name in scores.metrics]
            decimals = figures.decimals_for(*([measured.value] if measured else []), *values)
            baseline = _cell(figures.score(measured.value, measured.stderr, decimals)) if measured else _NONE
            cells = tuple(_score(strategy, task, name, decimals) for strategy in metrics.strategies)
            title = f"{one_line(task)} {metric_name(one_line(name))}"
            rows.append(Row(title, f"the task's own score {over}", baseline, cells))
    return tuple(rows)


def _score(strategy: StrategyMetrics, task: str, metric: str, decimals: int) -> Cell:
    scores = strategy.tasks.get(task)
    if scores is None or metric not in scores.metrics:
        return Cell((f"{scores.failed} of {scores.n} failed",), "bad") if scores and scores.failed else _NONE
    measured, difference = scores.metrics[metric], scores.difference.get(metric)
    verdict = judge(metric, scores)
    lines = [figures.score(measured.value, measured.stderr, decimals)]
    if difference is not None and scores.affected_by_strategy and scores.tells_apart:
        lines.append(difference_text(difference, decimals))
    lines.append(verdict.word)
    if scores.failed:
        lines.append(f"{scores.failed} of {scores.n} failed")
    return Cell(tuple(lines), verdict.tone)


def _fidelity(metrics: Metrics) -> tuple[Row, ...]:
    return _rows(
        metrics,
        ("token agreement", "share of the baseline's tokens the strategy would have chosen too",
         figures.NONE, _agreement),
        ("identical outputs", "outputs equal to the baseline's, token by token", figures.NONE, _identical),
        ("shared beginning", "share of its output equal to the baseline's from the start", figures.NONE,
         lambda s: _cell(figures.share(s.fidelity.common_prefix_fraction)) if s.fidelity else _NONE),
        ("lossless", "whether its output is the full model's own", figures.NONE, _lossless),
    )  # fmt: skip


def _agreement(strategy: StrategyMetrics) -> Cell:
    if strategy.fidelity is None:
        return _NONE
    agreement = strategy.fidelity.token_agreement
    return _cell(figures.share(agreement.value, agreement.ci95))


def _identical(strategy: StrategyMetrics) -> Cell:
    if strategy.fidelity is None:
        return _NONE
    of = "" if strategy.fidelity.compared is None else f" of {strategy.fidelity.compared:,}"
    return _cell(f"{strategy.fidelity.identical_outputs:,}{of}")


def _lossless(strategy: StrategyMetrics) -> Cell:
    if strategy.unavailable is not None:
        return _NONE
    if not strategy.lossless:
        return _cell("not claimed")
    text = claim_text(strategy)
    if text is None:
        return _cell("claimed, not checked")
    return _cell(text, "bad" if claim_failed(strategy) else "good")


def _memory(metrics: Metrics) -> tuple[Row, ...]:
    base = metrics.baseline.memory
    return _rows(
        metrics,
        ("peak memory", "while a request ran: resident on CPU, allocated on CUDA",
         figures.size(base.peak_bytes if base else None),
         lambda s: _cell(figures.size(s.memory.peak_bytes)) if s.memory else _NONE),
        ("key-value cache", "at the end of the largest request",
         figures.size(base.kv_bytes if base else None),
         lambda s: _cell(figures.size(s.memory.kv_bytes)) if s.memory else _NONE),
    )  # fmt: skip
