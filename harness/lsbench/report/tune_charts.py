"""The charts of a search: speed against quality, how it came to its best, what decided, what was left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lsbench.report import figures
from lsbench.report.charts import Dot, Guide, Line, Series, bars, plot
from lsbench.report.plain import one_line
from lsbench.report.tune_folder import StoredTune, best_first, option_text, speed_front, speed_of
from lsbench.report.tune_grid import grid_of
from lsbench.report.tune_maps import grid_map, skip_map
from lsbench.report.tune_words import quality_text, speed_text
from lsbench.tuning.trials import Trial

if TYPE_CHECKING:
    from markupsafe import Markup

_MOST_COLUMNS = 120
_SKIP_OPTION = "skip_set"


@dataclass(frozen=True)
class Chart:
    """One figure.

    Attributes:
        name: identifies it in the page.
        title: its heading.
        summary: what it shows, in a sentence.
        legend: series and what they stand for, where there are several.
        drawing: SVG.
    """

    name: str
    title: str
    summary: str
    legend: tuple[tuple[str, str], ...]
    drawing: Markup


def tune_charts(tune: StoredTune) -> list[Chart]:
    """Those that there is something to draw of."""
    found = (_front(tune), _grid(tune), _importance(tune), _skip_sets(tune), _convergence(tune))
    return [chart for chart in found if chart is not None]


def _front(tune: StoredTune) -> Chart | None:
    dots, names = [], []
    for trial in tune.trials:
        speed = speed_of(trial)
        if speed is None or trial.quality is None:
            continue
        series: Series = "final" if trial.documents == "final" else trial.kind
        words = f"{option_text(trial)}: {speed_text(trial)}, quality {quality_text(trial)}"
        dots.append(Dot(speed, trial.quality, series, words, trial.speedup_ci95))
        names.append(trial.quality_name)
    if not dots:
        return None
    front, measured = speed_front(tune.tuning)
    line = [(cast(float, speed_of(trial)), cast(float, trial.quality)) for trial in front]
    guides = [Guide("x", 1.0, "the baseline's speed")]
    floor = tune.manifest.spec.min_quality
    if floor is not None:
        guides.append(Guide("y", floor, f"floor {floor:g}"))
    kind = "timed" if measured else "predicted"
    summary = (
        f"Of what was {kind} while searching, no other beats one of the {len(front)} on the line in both."
    )
    if len(front) == 1:
        summary = f"Of what was {kind} while searching, one is the best in both: {option_text(front[0])}."
    elif not front:
        summary = "Nothing that was tried while searching has both."
    quality = one_line(next((name for name in names if name), "quality")).replace("_", " ")
    drawing = plot(
        dots,
        [Line(line, kind)] if len(line) > 1 else [],
        guides,
        x="speedup over the baseline",
        y=quality,
        words=f"Speed against quality. {summary}",
        y_most=1.0,
    )
    return Chart("front", "Speed against quality", summary, _legend(dots), drawing)


def _convergence(tune: StoredTune) -> Chart | None:
    dots: list[Dot] = []
    lines: list[Line] = []
    tuning = tune.tuning
    placed = [(place, trial) for place, trial in enumerate(tuning, start=1)]
    speeds = [speed for trial in tuning if (speed := speed_of(trial)) is not None]
    if len(speeds) < 2:
        return None
    told = []
    for kind in ("predicted", "timed"):
        own = [(place, trial) for place, trial in placed if trial.kind == kind]
        ranks = {trial.key: rank for rank, trial in enumerate(best_first([trial for _, trial in own]))}
        best: Trial | None = None
        line: list[tuple[float, float]] = []
        for place, trial in own:
            speed = speed_of(trial)
            if speed is None:
                words = f"trial {place}, {trial.status.replace('_', ' ')}: {trial.reason or trial.label}"
                dots.append(Dot(place, min(speeds), "failed", words))
                continue
            dots.append(
                Dot(place, speed, trial.kind, f"trial {place}, {option_text(trial)}: {speed_text(trial)}")
            )
            if best is None or ranks[trial.key] < ranks[best.key]:
                best, found = trial, place
                told = [*[each for each in told if each[0] != kind], (kind, found, speed)]
            line.append((place, cast(float, speed_of(best))))
        if len(line) > 1:
            lines.append(Line(line, "timed" if kind == "timed" else "predicted", steps=True))
    summary = "; ".join(
        f"the best {kind} one ({figures.ratio(speed)}) was trial {place} of {len(tuning)}"
        for kind, place, speed in told
    )
    floor = "" if tune.manifest.spec.min_quality is None else ", as far as the quality floor allows"
    summary = f"{summary[:1].upper()}{summary[1:]}{floor}."
    drawing = plot(
        dots,
        lines,
        [Guide("y", 1.0, "the baseline's speed")],
        x="trial",
        y="speedup, and the best so far",
        words=f"The best so far by trial. {summary}",
    )
    return Chart("convergence", "How it came to its best", summary, _legend(dots), drawing)


def _importance(tune: StoredTune) -> Chart | None:
    importance = tune.result.importance if tune.result is not None else None
    if importance is None or not importance.shares:
        return None
    items = [(name, share, figures.share(share)) for name, share in importance.shares.items()]
    unseen = figures.share(max(0.0, importance.explained))
    summary = (
        f"Shares of what {importance.trials} trials differ in that follow from one option alone; what is "
        f"missing is interplay. From their options, {unseen} of unseen trials' differences are foretold"
        + ("." if importance.explained >= 0.3 else ", so that the shares say little.")
    )
    return Chart(
        "importance", "Which option decided", summary, (), bars(items, f"Which option decided. {summary}")
    )


def _skip_sets(tune: StoredTune) -> Chart | None:
    model = tune.manifest.model
    if model is None:
        return None
    kinds = [best_first([t for t in tune.tuning if t.kind == kind]) for kind in ("timed", "predicted")]
    ranked = max(([t for t in own if _skipped(t) is not None] for own in kinds), key=len)[:_MOST_COLUMNS]
    sets = [skipped for trial in ranked if (skipped := _skipped(trial)) is not None]
    if len(sets) < 2:
        return None
    best = sets[: max(1, len(sets) // 4)]
    counts = Counter(item for items in best for item in items)
    often = ", ".join(
        f"{item.replace('.', ' ')} {figures.share(count / len(best))}"
        for item, count in counts.most_common(6)
    )
    summary = f"What the best quarter of {len(sets)} trials left out most often: {often or 'nothing'}."
    legend = (("attention", "attention left out"), ("mlp", "MLP left out"))
    drawing = skip_map(sets, model.num_layers, f"Layers left out by trials. {summary}")
    return Chart("skips", "Which layers were left out", summary, legend, drawing)


def _grid(tune: StoredTune) -> Chart | None:
    grid = grid_of(tune)
    if grid is None or grid.best is None:
        return None
    row, column = grid.best
    value = cast(float, grid.values[row][column])
    kind = "measured" if grid.measured else "predicted"
    summary = (
        f"The best {kind} speedup is {figures.ratio(value)}, at {one_line(grid.x)}={grid.columns[column]} "
        f"and {one_line(grid.y)}={grid.rows[row]}."
    )
    known = [each for values in grid.values for each in values if each is not None]
    if grid.numbers and min(known) < 1 <= max(known):
        summary += " The thick line is where it is as fast as the baseline."
    title = f"Speedup over {one_line(grid.x)} and {one_line(grid.y)}"
    return Chart("grid", title, summary, (), grid_map(grid, f"{title}. {summary}"))


def _skipped(trial: Trial) -> frozenset[str] | None:
    """Sub-layers that a trial names to be left out, at whatever depth of its options; None for none named."""
    for name, value in trial.options.items():
        if name.split(".")[-1] == _SKIP_OPTION and isinstance(value, list):
            items = [str(item) for item in value]
            halves = [(item,) if "." in item else (f"{item}.attention", f"{item}.mlp") for item in items]
            return frozenset(half for pair in halves for half in pair)
    return None


def _legend(dots: list[Dot]) -> tuple[tuple[str, str], ...]:
    meanings = {
        "timed": "timed while searching",
        "predicted": "predicted",
        "final": "timed on prompts that the search never saw",
        "failed": "failed",
    }
    there = {dot.series for dot in dots}
    return tuple((series, words) for series, words in meanings.items() if series in there)
