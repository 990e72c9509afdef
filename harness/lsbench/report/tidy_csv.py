"""Figures as CSV, one a line: what spreadsheets and data frames read without being told more."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields

from lsbench.comparison import Comparison, PairDifference, Row
from lsbench.metrics import Difference, Interval, Measured, Metrics, StrategyMetrics
from lsbench.report.comparison_content import warning
from lsbench.report.plain import one_line
from lsbench.report.quality import judge


@dataclass(frozen=True)
class Line:
    """One figure; what does not apply is empty."""

    kind: str
    """``figure`` of a strategy, ``difference`` of one from another, or ``note``."""
    run: str = ""
    strategy: str = ""
    against_run: str = ""
    against: str = ""
    task: str = ""
    figure: str = ""
    value: float | int | None = None
    low: float | None = None
    """Of the 95 % interval, as is ``high``."""
    high: float | None = None
    stderr: float | None = None
    p_value: float | None = None
    prompts: int | None = None
    """Or documents, where a task's score is told."""
    verdict: str = ""
    note: str = ""


def run_csv(metrics: Metrics) -> str:
    """All figures of a run."""
    base = metrics.baseline
    run = metrics.run_id
    lines = [
        Line("figure", run, base.strategy, figure="tokens_per_second", value=base.tokens_per_second),
        Line("figure", run, base.strategy, figure="noise", value=base.noise),
        Line("figure", run, base.strategy, figure="peak_bytes", value=base.memory and base.memory.peak_bytes),
    ]
    for task, scores in base.tasks.items():
        lines += [_score(run, base.strategy, task, name, measured) for name, measured in scores.items()]
    for strategy in metrics.strategies:
        lines += _of_strategy(run, base.strategy, strategy)
    return _written([*lines, *(Line("note", run, note=one_line(note)) for note in metrics.notes)])


def comparison_csv(comparison: Comparison) -> str:
    """All figures of all rows, then how each pair differs, then the notes; a warning comes first."""
    loud = warning(comparison)
    ids = {run.key: run.run_id for run in comparison.runs}
    lines = [Line("warning", note=loud)] if loud is not None else []
    for run in comparison.runs:
        lines.append(
            Line("figure", run.run_id, run.baseline, figure="tokens_per_second", value=run.tokens_per_second)
        )
        lines.append(Line("figure", run.run_id, run.baseline, figure="noise", value=run.noise))
        speed = run.baseline_speed
        if speed is not None:
            low, high = _ends(speed.ci95)
            first = comparison.runs[0]
            lines.append(
                Line(
                    "difference", run.run_id, run.baseline, first.run_id, first.baseline,
                    figure="speed_ratio", value=speed.value, low=low, high=high, prompts=speed.prompts,
                    verdict=speed.verdict, note="across processes",
                )
            )  # fmt: skip
    for row in comparison.rows:
        lines += _of_row(ids[row.run], row)
    for pair in comparison.pairs:
        lines += _of_pair(ids, comparison.row(pair.row), comparison.row(pair.against), pair)
    return _written([*lines, *(Line("note", note=one_line(note)) for note in comparison.notes)])


def _of_strategy(run: str, baseline: str, strategy: StrategyMetrics) -> Iterator[Line]:
    label, speed = strategy.label, strategy.speed
    if strategy.unavailable is not None:
        yield _unavailable(run, label, strategy.unavailable)
        return
    if speed is not None and speed.speedup is not None:
        low, high = _ends(speed.speedup.ci95)
        yield Line(
            "figure", run, label, figure="speedup", value=speed.speedup.value, low=low, high=high,
            prompts=speed.pairs, verdict=speed.speedup.verdict,
        )  # fmt: skip
    if speed is not None and speed.end_to_end_speedup is not None:
        low, high = _ends(speed.end_to_end_speedup.ci95)
        value = speed.end_to_end_speedup.value
        yield Line("figure", run, label, figure="end_to_end_speedup", value=value, low=low, high=high)
    if speed is not None:
        yield Line("figure", run, label, figure="tokens_per_second", value=speed.tokens_per_second)
    if strategy.fidelity is not None:
        agreement = strategy.fidelity.token_agreement
        low, high = _ends(agreement.ci95)
        yield Line("figure", run, label, figure="token_agreement", value=agreement.value, low=low, high=high)
    speculation = strategy.speculation
    named = {
        "mean_layers": strategy.depth and strategy.depth.mean_layers,
        "acceptance_rate": speculation and speculation.acceptance_rate,
        "mean_accepted_length": speculation and speculation.mean_accepted_length,
        "ceiling": strategy.ceiling and strategy.ceiling.speedup,
        "achieved_fraction": strategy.ceiling and strategy.ceiling.achieved_fraction,
        "peak_bytes": strategy.memory and strategy.memory.peak_bytes,
    }
    yield from (Line("figure", run, label, figure=name, value=value) for name, value in named.items())
    for task, scores in strategy.tasks.items():
        yield from (_score(run, label, task, name, one, scores.n) for name, one in scores.metrics.items())
        for name, difference in scores.difference.items():
            verdict = judge(name, scores).word
            yield _difference(Line("difference", run, label, run, baseline, task, name), difference, verdict)


def _of_row(run: str, row: Row) -> Iterator[Line]:
    if row.unavailable is not None:
        yield _unavailable(run, row.label, row.unavailable)
        return
    if row.speedup is not None:
        low, high = _ends(row.speedup.ci95)
        yield Line(
            "figure", run, row.label, figure="speedup", value=row.speedup.value, low=low, high=high,
            verdict=row.speedup.verdict,
        )  # fmt: skip
    if row.token_agreement is not None:
        low, high = _ends(row.token_agreement.ci95)
        value = row.token_agreement.value
        yield Line("figure", run, row.label, figure="token_agreement", value=value, low=low, high=high)
    named = {
        "mean_layers": row.mean_layers,
        "acceptance_rate": row.acceptance_rate,
        "mean_accepted_length": row.mean_accepted_length,
        "ceiling": row.ceiling and row.ceiling.speedup,
        "achieved_fraction": row.ceiling and row.ceiling.achieved_fraction,
        "peak_bytes": row.peak_bytes,
    }
    yield from (Line("figure", run, row.label, figure=name, value=value) for name, value in named.items())
    for task, scores in row.scores.items():
        yield from (_score(run, row.label, task, name, measured) for name, measured in scores.items())


def _unavailable(run: str, label: str, why: str) -> Line:
    """Its figures are not merely missing."""
    return Line("figure", run, label, figure="speedup", note=f"cannot run here: {one_line(why)}")


def _of_pair(ids: dict[str, str], row: Row, against: Row, pair: PairDifference) -> Iterator[Line]:
    names = (ids[row.run], row.label, ids[against.run], against.label)
    note = "across processes" if pair.across_processes else ""
    if pair.speed is not None:
        low, high = _ends(pair.speed.ci95)
        yield Line(
            "difference", *names, figure="speed_ratio", value=pair.speed.value, low=low, high=high,
            prompts=pair.speed.prompts, verdict=pair.speed.verdict, note=note,
        )  # fmt: skip
    if pair.token_agreement is not None:
        line = Line("difference", *names, figure="token_agreement", note=note)
        yield _difference(line, pair.token_agreement, "")
    for task, scores in pair.tasks.items():
        for name, difference in scores.difference.items():
            line = Line("difference", *names, task, name, note=note)
            yield _difference(line, difference, judge(name, scores).word)


def _score(
    run: str, label: str, task: str, name: str, measured: Measured, documents: int | None = None
) -> Line:
    return Line(
        "figure", run, label, task=task, figure=name, value=measured.value, stderr=measured.stderr,
        prompts=documents,
    )  # fmt: skip


def _difference(line: Line, difference: Difference, verdict: str) -> Line:
    low, high = _ends(difference.ci95)
    found = {"value": difference.value, "low": low, "high": high, "p_value": difference.p_value}
    return Line(**{**asdict(line), **found, "verdict": verdict})


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return interval or (None, None)


def _written(lines: Iterable[Line]) -> str:
    """With a header; a figure that does not apply has no line."""
    text = io.StringIO()
    names = [field.name for field in fields(Line)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for line in lines:
        if line.value is not None or line.note:
            writer.writerow({name: _spelt(value) for name, value in asdict(line).items()})
    return text.getvalue()


def _spelt(value: object) -> object:
    return one_line(value) if isinstance(value, str) else value
