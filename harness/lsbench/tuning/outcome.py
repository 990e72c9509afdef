"""What a search concludes: from timings on documents that it never saw, and in words that claim no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from lsbench.measurement.statistics import verdict
from lsbench.metrics import Interval
from lsbench.spec import RunSpec
from lsbench.tuning.trials import Trial

NOTHING_BETTER = "no configuration beats the baseline here"
NOTHING_GUARANTEED = "no threshold holds the guarantee that was asked for"


@dataclass(frozen=True)
class Outcome:
    """The result of a search.

    Attributes:
        best: what ``best.yaml`` holds: the winner, or, where nothing beats the baseline, what came closest;
            None where no finalist could be timed.
        beats_baseline: whether it is faster for certain, and holds the quality floor for certain.
        words: the result in one sentence.
        reasons: one sentence on each finalist, in the order they were given.
    """

    best: Trial | None
    beats_baseline: bool
    words: str
    reasons: tuple[str, ...]


def decide(
    finalists: Sequence[Trial],
    min_quality: float | None = None,
    swing: float = 0.0,
    winner_over_default: Interval | None = None,
    guaranteed: str | None = None,
) -> Outcome:
    """Which finalist wins, if any does.

    It must be faster by its interval and hold the floor by its quality's lower bound. Of those that do, the
    fastest wins; of equally fast ones the first.

    Args:
        finalists: timed on the final documents: what the search found, the best first, and the default.
        min_quality: the floor; None asks for none.
        swing: how far the machine's own speed went up and down meanwhile, relative.
        winner_over_default: interval of the speed of the first finalist over the default's, measured in
            pairs; None where there is none.
        guaranteed: where a guarantee was asked for, the label of the one that it holds of: no other is named.

    Raises:
        ValueError: a finalist that was not timed on final documents.
    """
    for trial in finalists:
        if trial.kind != "timed" or trial.documents != "final":
            raise ValueError(f"{trial.label} was {trial.kind} on {trial.documents} documents: no finalist")
    reasons = tuple(_reason(trial, min_quality, swing) for trial in finalists)
    timed = [trial for trial in finalists if trial.status == "ok" and trial.speedup is not None]
    if guaranteed is not None:
        timed = [trial for trial in timed if trial.label == guaranteed]
    holding = [trial for trial in timed if holds_floor(trial, min_quality)]
    winners = [trial for trial in holding if verdict(trial.speedup_ci95, swing) == "faster"]
    if winners:
        best = max(winners, key=_speed)
        told = _beside_default(best, finalists, winner_over_default)
        return Outcome(best, True, f"{best.label} is {_speed_words(best)}{told}.", reasons)
    closest = max(holding, key=_speed) if holding else max(timed, key=_bound, default=None)
    return Outcome(closest, False, NOTHING_BETTER, reasons)


def holds_floor(trial: Trial, min_quality: float | None) -> bool:
    """Whether a trial's quality reaches the floor for certain: by its lower bound, not by its own value.

    Without a bound (too few prompts) nothing is certain.
    """
    return min_quality is None or (trial.quality_bound is not None and trial.quality_bound >= min_quality)


def best_yaml(spec: RunSpec, outcome: Outcome, tune_id: str, *more: str) -> str:
    """The configuration that ``lsbench run --config`` reads: the search's own run, with the best strategy.

    ``limit`` is left open, because the search's was what one trial ran; ``more`` are further comments.

    Raises:
        ValueError: there is no best one.
    """
    if outcome.best is None:
        raise ValueError("no finalist could be timed: there is nothing to write")
    found = spec.model_copy(update={"strategies": (outcome.best.choice,), "limit": None})
    comments = [f"Found by lsbench tune, {tune_id}.", outcome.words, *outcome.reasons, *more]
    header = "".join(f"# {line}\n" for comment in comments for line in comment.splitlines())
    return header + yaml.safe_dump(found.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _speed(trial: Trial) -> float:
    assert trial.speedup is not None
    return trial.speedup


def _bound(trial: Trial) -> float:
    """How far up its quality is certain to be, as far as it is known."""
    known = trial.quality_bound if trial.quality_bound is not None else trial.quality
    return -1.0 if known is None else known


def _reason(trial: Trial, min_quality: float | None, swing: float) -> str:
    if trial.status != "ok" or trial.speedup is None:
        return f"{trial.label} could not be timed: {trial.reason or trial.status}."
    claim = verdict(trial.speedup_ci95, swing)
    if trial.speedup_ci95 is None:
        claim = "too few prompts for an interval"
    floor = ""
    if min_quality is not None and not holds_floor(trial, min_quality):
        known = "is unknown" if trial.quality_bound is None else f"is {trial.quality_bound:.3f}"
        floor = f"; the lower bound of its quality {known}, below the floor of {min_quality:g}"
    return f"{trial.label}: {_speed_words(trial)} ({claim}){floor}."


def _speed_words(trial: Trial) -> str:
    interval = trial.speedup_ci95
    told = "" if interval is None else f" (95 % {interval[0]:.3f} to {interval[1]:.3f})"
    words = f"{trial.speedup:.3f} × as fast as the baseline{told}"
    if trial.prompts is not None:
        words += f" on {trial.prompts} prompts that the search never saw"
    if trial.quality is not None:
        name = (trial.quality_name or "quality").replace("_", " ")
        bound = "" if trial.quality_bound is None else f" (at least {trial.quality_bound:.3f})"
        words += f", {name} {trial.quality:.3f}{bound}"
    return words


def _beside_default(best: Trial, finalists: Sequence[Trial], over_default: Interval | None) -> str:
    """What the search added to what one has without it."""
    if best.origin == "default":
        return "; it is the default, and the search found nothing faster"
    if over_default is None or not any(trial.origin == "default" for trial in finalists):
        return ""
    low, high = over_default
    told = f"{low:.3f} to {high:.3f} × the default's speed"
    if verdict(over_default) == "faster":
        return f", and faster than the default ({told})"
    return f", but not for certain faster than the default ({told})"
