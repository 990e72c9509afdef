"""A search in words: its verdict, what it found beside what there was, what it cost, what to know first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from lsbench.report import figures
from lsbench.report.plain import one_line
from lsbench.report.quality import Tone, difference_text, judge, metric_name
from lsbench.report.tune_folder import StoredTune, best_first, option_text, speed_front, speed_of
from lsbench.tuning.result import FinalScores
from lsbench.tuning.trials import Trial

LOOSE = 0.5
"""A rank correlation below which predictions say little of what is timed."""
_NOISY = 0.05
_OTHER_DEPTH = 0.05
"""Relative; with less, speeds predicted for the one depth are about those of the other."""


@dataclass(frozen=True)
class Beside:
    """One figure of the best setting and of the strategy as it is."""

    name: str
    best: str
    default: str | None
    """None where it cannot be run without a search, or is what was found."""


def verdict(tune: StoredTune) -> tuple[str, Tone]:
    """The result in one sentence, and its tone."""
    result, name = tune.result, one_line(tune.manifest.spec.strategy.name)
    if result is None:
        best = best_first([trial for trial in tune.trials if trial.documents == "tuning"])
        so_far = f"; so far the best of {len(tune.tuning)} trials is {_told(best[0])}" if best else ""
        return f"{name}: the search has not ended{so_far}; {going_on(tune)}.", "even"
    words = one_line(result.words)
    words = words if words.startswith(name) else f"{name}: {words}"
    return words if words.endswith(".") else f"{words}.", "good" if result.beats_baseline else "even"


def going_on(tune: StoredTune) -> str:
    """The command that finishes it."""
    return f"go on with: lsbench tune --resume {tune.reference}"


def beside_default(tune: StoredTune) -> list[Beside]:
    """What was timed on the final documents, the best setting beside the strategy as it is."""
    result = tune.result
    if result is None or result.best is None:
        return []
    best, default = result.best, result.default
    default = None if default is not None and default.label == best.label else default
    layers = tune.manifest.model.num_layers if tune.manifest.model else None
    figures_of: dict[str, Callable[[Trial], str]] = {
        "options": option_text,
        "speedup": speed_text,
        _quality_name(best): quality_text,
        "drafts accepted": lambda trial: figures.share(trial.acceptance),
        "layers per token": lambda trial: _layers(trial, layers),
        "prompts": lambda trial: figures.NONE if trial.prompts is None else str(trial.prompts),
    }
    figures_of.update(_of_tasks(tune, best))
    rows = [
        Beside(name, of(best), None if default is None else of(default)) for name, of in figures_of.items()
    ]
    return [row for row in rows if row.best != figures.NONE or row.default not in (figures.NONE, None)]


def _of_tasks(tune: StoredTune, best: Trial) -> dict[str, Callable[[Trial], str]]:
    """What the tasks themselves say of the texts that were timed, by task and metric."""
    scores = tune.result.scores if tune.result is not None else None
    own = scores.strategies.get(best.label, {}) if scores is not None else {}
    return {
        f"{one_line(task)} {metric_name(one_line(metric))}": partial(_score_text, scores, task, metric)
        for task, found in own.items()
        for metric in found.metrics
        if scores is not None and metric in scores.baseline.get(task, {})
    }


def _score_text(scores: FinalScores | None, task: str, metric: str, trial: Trial) -> str:
    """Beside the baseline's, with the difference."""
    found = scores.strategies.get(trial.label, {}).get(task) if scores is not None else None
    if scores is None or found is None or metric not in found.metrics:
        return figures.NONE
    own, baseline = found.metrics[metric].value, scores.baseline[task][metric].value
    decimals = figures.decimals_for(own, baseline)
    text = f"{own:.{decimals}f}, the baseline {baseline:.{decimals}f}"
    difference = found.difference.get(metric)
    if difference is not None:
        text += f"; {difference_text(difference, decimals)}"
    return f"{text}: {judge(metric, found).word}"


def found_heading(tune: StoredTune) -> str:
    """What the best setting is called: one that does not beat the baseline is no find."""
    return "best" if tune.result is not None and tune.result.beats_baseline else "what came closest"


def speed_text(trial: Trial) -> str:
    """Measured with its interval, or predicted."""
    if trial.speedup is not None:
        return figures.ratio(trial.speedup, trial.speedup_ci95)
    if trial.predicted_speedup is not None:
        return f"{figures.ratio(trial.predicted_speedup)} predicted"
    return figures.NONE


def quality_text(trial: Trial) -> str:
    """With the lower end of its interval, which is what a floor is held against."""
    if trial.quality is None:
        return figures.NONE
    text = f"{trial.quality:.3f}"
    return text if trial.quality_bound is None else f"{text} (at least {trial.quality_bound:.3f})"


def cost_sentences(tune: StoredTune) -> list[str]:
    """What the search took, and whether it pays."""
    result, seconds = tune.result, tune.manifest.search_s
    if result is not None:
        seconds = max(seconds, result.search_s)
    parts = []
    for kind in ("predicted", "timed"):
        own = [trial for trial in tune.tuning if trial.kind == kind]
        if own:
            mean = sum(trial.seconds for trial in own) / len(own)
            noun = "trial" if len(own) == 1 else "trials"
            parts.append(f"{len(own)} {kind} {noun} of {figures.significant(mean)} s each")
    sentences = [f"The search took {figures.duration(seconds)}: {' and '.join(parts) or 'no trial'}."]
    if result is not None and result.payback is not None:
        sentences.append(one_line(result.payback.words))
        payback = result.payback
        if payback.fewest is not None and payback.fewest != payback.most:
            most = "never" if payback.most is None else f"{payback.most:,}"
            sentences.append(
                f"At the ends of the speedup's interval that is after {payback.fewest:,} tokens, and {most}."
            )
    if result is not None and result.calibration:
        sentences.append(one_line(result.calibration))
    return sentences


def prediction_sentence(tune: StoredTune) -> str | None:
    """How well predictions foretold what was timed."""
    agreement = tune.result.agreement if tune.result is not None else None
    if agreement is None:
        return None
    rank = agreement.rank_correlation
    how = "their order cannot be compared" if rank is None else f"rank correlation {rank:.2f}"
    return (
        f"Predicted against measured speedups of the {agreement.pairs} settings that were both: {how}, "
        f"median error {figures.share(agreement.median_error)}."
    )


def tune_notes(tune: StoredTune) -> list[str]:
    """What a reader must know before believing the figures."""
    notes = [one_line(note) for note in tune.manifest.notes]
    result, split = tune.result, tune.manifest.split
    if split is not None:
        how = "other tasks" if split.method == "tasks" else f"drawn with seed {split.seed}"
        notes.append(
            f"The search saw {split.tuning_documents} documents; the result is timed on "
            f"{split.final_documents} others, {how}."
        )
    failed = [trial for trial in tune.tuning if trial.status != "ok"]
    if failed:
        reason = one_line(failed[0].reason or failed[0].status)
        notes.append(f"{len(failed)} of {len(tune.tuning)} trials failed; the first: {reason}")
    if result is None:
        return notes
    if tune.manifest.spec.risk is not None and result.calibration is None:
        notes.append("No threshold was calibrated: nothing here holds what --risk asked for.")
    if result.swing is not None and result.swing > _NOISY:
        notes.append(
            f"The machine's own speed went up and down by {figures.share(result.swing)} meanwhile; faster is "
            "said only of an interval that lies further from 1× than that."
        )
    rank = result.agreement.rank_correlation if result.agreement is not None else None
    if rank is not None and rank < LOOSE:
        notes.append(
            f"Predictions hardly foretold what was timed (rank correlation {rank:.2f}): settings that were "
            "only predicted may be better or worse than they look."
        )
    return [*notes, *_about_depth(tune)]


def _about_depth(tune: StoredTune) -> list[str]:
    """Where settings went to other depths over what they wrote themselves: why predictions are off."""
    predicted = {trial.label: trial.mean_layers for trial in tune.tuning if trial.kind == "predicted"}
    pairs = [
        (before, trial.mean_layers)
        for trial in tune.tuning
        if trial.kind == "timed" and trial.mean_layers and (before := predicted.get(trial.label))
    ]
    if not pairs:
        return []
    foretold, ran = (sum(side) / len(pairs) for side in zip(*pairs, strict=True))
    if abs(ran / foretold - 1) < _OTHER_DEPTH:
        return []
    return [
        f"Over what they wrote themselves the timed settings ran {ran:.1f} layers a token; over the full "
        f"model's own text, which predictions rest on, {foretold:.1f}."
    ]


def front_rows(tune: StoredTune) -> tuple[list[tuple[str, str, str]], bool]:
    """Speed, quality and options along the front, fastest first, and whether the speeds were measured."""
    front, measured = speed_front(tune.tuning)
    return [(speed_text(trial), quality_text(trial), option_text(trial)) for trial in front], measured


def _told(trial: Trial) -> str:
    quality = "" if trial.quality is None else f", {_quality_name(trial)} {trial.quality:.3f}"
    speed = figures.ratio(speed_of(trial))
    guessed = " predicted" if trial.speedup is None else ""
    return f"{one_line(option_text(trial))} ({speed}{guessed}{quality})"


def _quality_name(trial: Trial) -> str:
    return one_line(trial.quality_name or "quality").replace("_", " ")


def _layers(trial: Trial, layers: int | None) -> str:
    if trial.mean_layers is None:
        return figures.NONE
    mean = figures.significant(trial.mean_layers)
    return mean if layers is None else f"{mean} of {layers}"
