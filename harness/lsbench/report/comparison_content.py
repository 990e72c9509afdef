"""A comparison of runs as tables of text, made once for terminal, Markdown, HTML and LaTeX alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lsbench.comparison import ComparedRun, Comparison, PairDifference, Row, SpeedRatio
from lsbench.metrics import Difference
from lsbench.report import figures
from lsbench.report.content import Cell
from lsbench.report.plain import one_line
from lsbench.report.quality import Tone, difference_text, judge, metric_name

HOW_TO_READ = (
    "speedup is the time per token of a run's own baseline ÷ the strategy's, so above 1× is faster",
    "in brackets, the 95% interval",
    "±, the standard error",
    "↓, lower is better",
    "—, does not apply",
)
ON_FRONT = "as measured, no other is as good in both"
_MOST_SENTENCES = 10
_NONE = Cell((figures.NONE,))
_TONES: dict[str, Tone] = {"faster": "good", "slower": "bad", "no significant difference": "even"}


@dataclass(frozen=True)
class Grid:
    """One table.

    Attributes:
        name: a word for it, unique in a page.
        title: what it answers.
        meaning: how to read it, in a sentence.
        heads: of the columns.
        rows: a cell a column.
    """

    name: str
    title: str
    meaning: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def grids(comparison: Comparison) -> tuple[Grid, ...]:
    """Speed, quality, differences, runs: columns that apply to nobody and tables without rows left out."""
    built = (_speed(comparison), _quality(comparison), _differences(comparison), _runs(comparison))
    return tuple(grid for grid in map(_without_empty, built) if grid.rows)


def warning(comparison: Comparison) -> str | None:
    """That the runs are not comparable, and why; None where they are."""
    if not comparison.mismatches:
        return None
    said = "; ".join(one_line(mismatch.words) for mismatch in comparison.mismatches)
    return f"NOT COMPARABLE, compared all the same (--force): the runs differ in {said}."


def title(comparison: Comparison) -> str:
    """What is compared, in a few words."""
    models = dict.fromkeys(
        f"{one_line(run.model.id)}, {run.model.num_layers} layers, {run.model.dtype}"
        for run in comparison.runs
    )
    count = len(comparison.runs)
    what = "The strategies of one run" if count == 1 else f"{count} runs side by side"
    return f"{what}: {'; '.join(models)}"


def legend(comparison: Comparison) -> list[str]:
    """Which run each letter stands for."""
    return [
        f"{run.key}: {one_line(run.run_id)}, begun {run.created:%Y-%m-%d %H:%M} UTC, "
        f"{run.status.replace('_', ' ')}"
        for run in comparison.runs
    ]


def machines(comparison: Comparison) -> str:
    """What they ran on."""
    return "; ".join(dict.fromkeys(one_line(run.machine) for run in comparison.runs))


def sentences(comparison: Comparison) -> list[tuple[str, Tone]]:
    """One for each of the first pairs: which is faster, and whether its quality differs."""
    told: list[tuple[str, Tone]] = [
        (_sentence(pair, comparison), _tone(pair.speed)) for pair in comparison.pairs[:_MOST_SENTENCES]
    ]
    left = len(comparison.pairs) - len(told)
    if left:
        told.append((f"{left} more: see the table.", "plain"))
    return told


def row_name(row: Row) -> str:
    """A row's key and its label."""
    return f"{row.key} {one_line(row.label)}" + (" (baseline)" if row.is_baseline else "")


def _sentence(pair: PairDifference, comparison: Comparison) -> str:
    names = [row_name(comparison.row(key)) for key in (pair.row, pair.against)]
    clauses = [f"{_speed_words(pair.speed)}"]
    for task, metric, difference, word in task_differences(pair):
        if word in ("better", "worse"):
            decimals = figures.decimals_for(*_values(comparison, pair, task, metric))
            clauses.append(f"{one_line(task)} {metric} is {word}, {difference_text(difference, decimals)}")
    if len(clauses) == 1 and pair.tasks:
        clauses.append("no difference in quality is shown")
    return f"{names[0]} against {names[1]}: {'; '.join(clauses)}."


def _speed_words(speed: SpeedRatio | None) -> str:
    if speed is None:
        return "speed not comparable (no prompt was timed under both)"
    if speed.ci95 is None:
        return f"{figures.ratio(speed.value)}, too few prompts to say faster or slower"
    words = {"no significant difference": "no significant difference in speed"}
    return f"{words.get(speed.verdict, speed.verdict)}, {figures.ratio(speed.value, speed.ci95)}"


def task_differences(pair: PairDifference) -> Iterator[tuple[str, str, Difference, str]]:
    """Task, metric, difference and the word for it, of every metric that both rows have."""
    for task, scores in pair.tasks.items():
        for metric, difference in scores.difference.items():
            yield task, metric, difference, judge(metric, scores).word


def _values(comparison: Comparison, pair: PairDifference, task: str, metric: str) -> list[float]:
    rows = (comparison.row(pair.row), comparison.row(pair.against))
    return [row.scores[task][metric].value for row in rows if metric in row.scores.get(task, {})]


def _tone(speed: SpeedRatio | None) -> Tone:
    return _TONES[speed.verdict] if speed is not None and speed.ci95 is not None else "plain"


def _without_empty(grid: Grid) -> Grid:
    kept = [
        place
        for place in range(len(grid.heads))
        if place == 0 or any(row[place] != _NONE for row in grid.rows)
    ]
    heads = tuple(grid.heads[place] for place in kept)
    rows = tuple(tuple(row[place] for place in kept) for row in grid.rows)
    return Grid(grid.name, grid.title, grid.meaning, heads, rows)


_Column = tuple[str, Callable[[Row], Cell]]


def _speed(comparison: Comparison) -> Grid:
    layers = {run.key: run.model.num_layers for run in comparison.runs}
    columns: Sequence[_Column] = (
        ("speedup", _speedup),
        ("layers/token", lambda row: _text(_depth(row, layers[row.run]))),
        ("drafts accepted", lambda row: _text(figures.share(row.acceptance_rate))),
        ("tokens/pass", lambda row: _text(figures.significant(row.mean_accepted_length))),
        ("best possible", _ceiling),
        ("peak memory", lambda row: _text(figures.size(row.peak_bytes))),
    )
    meaning = (
        "Each strategy against the baseline of its own run, in one process, over the same prompts. Best "
        "possible: with the measured costs and no overhead, and the share reached."
    )
    return _grid("speed", "How fast", meaning, comparison.rows, columns)


def _quality(comparison: Comparison) -> Grid:
    columns: list[_Column] = [("token agreement", _agreement), ("lossless", _lossless)]
    for task, metric in _metrics(comparison):
        values = [row.scores[task][metric].value for row in comparison.rows if _has(row, task, metric)]
        decimals = figures.decimals_for(*values)
        head = f"{one_line(task)} {metric_name(one_line(metric))}"
        columns.append((head, _score_of(task, metric, decimals)))
    meaning = (
        "The tasks' own scores, and the share of its baseline's tokens that a strategy would have chosen."
    )
    return _grid("quality", "What it costs in quality", meaning, comparison.rows, columns)


def _grid(name: str, title: str, meaning: str, rows: Sequence[Row], columns: Sequence[_Column]) -> Grid:
    filled = [(_text(row_name(row)), *(tell(row) for _, tell in columns)) for row in rows]
    return Grid(name, title, meaning, ("strategy", *(head for head, _ in columns)), tuple(filled))


def _differences(comparison: Comparison) -> Grid:
    metrics = _metrics(comparison)
    rows: list[tuple[Cell, ...]] = []
    for pair in comparison.pairs:
        cells = [
            _text(f"{pair.row} against {pair.against}"),
            _ratio(pair),
            _agreement_change(pair.token_agreement),
        ]
        cells += [_change(comparison, pair, task, metric) for task, metric in metrics]
        rows.append(tuple(cells))
    heads = [f"{one_line(task)} {metric_name(one_line(metric))}" for task, metric in metrics]
    across = any(pair.across_processes for pair in comparison.pairs)
    meaning = "The first against the second, over the prompts and documents of both. " + (
        "Speed between runs is a ratio of speedups, each against its own run's baseline."
        if across
        else "Speed is time per token ÷ time per token, in one process."
    )
    return Grid(
        "differences",
        "One against the other",
        meaning,
        ("pair", "speed", "token agreement", *heads),
        tuple(rows),
    )


def _runs(comparison: Comparison) -> Grid:
    machines = {run.machine for run in comparison.runs}
    rows = [
        (
            _text(run.key),
            _text(f"{run.documents:,}"),
            _text(figures.significant(run.tokens_per_second)),
            _baseline_speed(run),
            _text(figures.share(run.noise)),
            _text(one_line(run.machine)) if len(machines) > 1 else _NONE,
        )
        for run in comparison.runs
    ]
    heads = ("run", "documents", "baseline tokens/s", "baseline against A's", "noise", "machine")
    meaning = (
        "The same baseline in different processes tells how far the machine's own state was alike, and "
        "nothing of strategies. Noise: how far two halves of a baseline's requests differ in time per token."
    )
    return Grid("runs", "The runs", meaning, heads, tuple(rows))


def _baseline_speed(run: ComparedRun) -> Cell:
    if run.baseline_speed is None:
        return _NONE
    return Cell((figures.ratio(run.baseline_speed.value, run.baseline_speed.ci95), "across processes"))


def _metrics(comparison: Comparison) -> list[tuple[str, str]]:
    """Every task with every metric, in the order of the rows."""
    found = (
        (task, metric) for row in comparison.rows for task, scores in row.scores.items() for metric in scores
    )
    return list(dict.fromkeys(found))


def _has(row: Row, task: str, metric: str) -> bool:
    return metric in row.scores.get(task, {})


def _text(text: str, tone: Tone = "plain") -> Cell:
    return Cell((text,), tone)


def _speedup(row: Row) -> Cell:
    if row.is_baseline:
        return _text("1×")
    if row.unavailable is not None:
        return _text(f"cannot run here: {one_line(row.unavailable)}")
    if row.speedup is None:
        return _NONE
    told = row.speedup.ci95 is not None
    said = row.speedup.verdict if told else "too few prompts to tell"
    lines = (figures.ratio(row.speedup.value, row.speedup.ci95), said)
    return Cell(lines, _TONES[row.speedup.verdict] if told else "plain")


def _depth(row: Row, layers: int) -> str:
    if row.mean_layers is None:
        return figures.NONE
    return f"{figures.significant(row.mean_layers)} of {layers}"


def _ceiling(row: Row) -> Cell:
    if row.ceiling is None:
        return _NONE
    reached = f"{figures.share(row.ceiling.achieved_fraction)} reached"
    return Cell((figures.ratio(row.ceiling.speedup), reached))


def _agreement(row: Row) -> Cell:
    agreement = row.token_agreement
    return _text(figures.share(agreement.value, agreement.ci95)) if agreement else _NONE


def _lossless(row: Row) -> Cell:
    if row.is_baseline or not row.lossless:
        return _NONE
    return _text("its claim FAILED", "bad") if row.claim_failed else _text("claimed")


def _score_of(task: str, metric: str, decimals: int) -> Callable[[Row], Cell]:
    def tell(row: Row) -> Cell:
        if not _has(row, task, metric):
            return _NONE
        measured = row.scores[task][metric]
        return _text(figures.score(measured.value, measured.stderr, decimals))

    return tell


def _ratio(pair: PairDifference) -> Cell:
    if pair.speed is None:
        return _text("not comparable")
    told = pair.speed.ci95 is not None
    said = pair.speed.verdict if told else "too few prompts to tell"
    return Cell((figures.ratio(pair.speed.value, pair.speed.ci95), said), _tone(pair.speed))


def _agreement_change(difference: Difference | None) -> Cell:
    if difference is None:
        return _NONE
    if difference.ci95 is None:
        return Cell((_points(difference.value), "difference not tested"))
    low, high = difference.ci95
    if low == high == 0:
        return Cell(("the same",), "even")
    lines = (f"{_points(difference.value)} ({_points(low)} to {_points(high)})",)
    if low <= 0 <= high:
        return Cell((*lines, "no significant difference"), "even")
    return Cell((*lines, "closer" if low > 0 else "less close"), "good" if low > 0 else "bad")


def _points(value: float) -> str:
    return f"{figures.signed(100 * value, 1)}%"


def _change(comparison: Comparison, pair: PairDifference, task: str, metric: str) -> Cell:
    scores = pair.tasks.get(task)
    difference = scores.difference.get(metric) if scores else None
    if scores is None or difference is None:
        return _NONE
    judged = judge(metric, scores)
    if not scores.affected_by_strategy or not scores.tells_apart:
        return Cell((judged.word,), judged.tone)
    decimals = figures.decimals_for(*_values(comparison, pair, task, metric))
    return Cell((difference_text(difference, decimals), judged.word), judged.tone)
