"""What a task's scores say in words: better, worse, no difference seen, or nothing to see here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lsbench.metrics import Difference, Measured, TaskScores
from lsbench.report import figures

Tone = Literal["good", "bad", "even", "plain"]
"""How a figure is coloured; the words beside it say the same."""

_LOWER_IS_BETTER = frozenset(
    {
        "bits_per_byte", "bits_per_token", "byte_perplexity", "word_perplexity", "token_perplexity",
        "perplexity", "ppl", "brier_score", "ter", "wer", "cer", "loss", "nll",
    }
)  # fmt: skip
_SIGNIFICANT = 0.05
LOWER = "↓"


@dataclass(frozen=True)
class Judgement:
    """A word for a difference, and its tone."""

    word: str
    tone: Tone


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value of this lm-eval metric is the better one."""
    return metric.split(",")[0].strip().lower() in _LOWER_IS_BETTER


def metric_name(metric: str) -> str:
    """The metric's name, with ↓ where lower is better."""
    return f"{metric} {LOWER}" if lower_is_better(metric) else metric


def judge(metric: str, scores: TaskScores) -> Judgement:
    """Whether a strategy scores better or worse than the baseline on one metric of a task.

    McNemar's p-value decides where there is one (pass/fail metrics), the 95 % interval elsewhere;
    without either nothing is claimed.
    """
    difference = scores.difference.get(metric)
    if not scores.affected_by_strategy:
        return Judgement("not affected by the strategy", "plain")
    if not scores.tells_apart:
        return Judgement("cannot tell them apart", "plain")
    if difference is None:
        return Judgement("not compared", "plain")
    significant = _is_significant(difference)
    if significant is None:
        return Judgement("difference not tested", "plain")
    if not significant or difference.value == 0:
        return Judgement("no significant difference", "even")
    better = (difference.value < 0) == lower_is_better(metric)
    return Judgement("better", "good") if better else Judgement("worse", "bad")


def difference_text(difference: Difference, decimals: int) -> str:
    """Strategy minus baseline with its interval, such as ``+0.089 (+0.070 to +0.108)``."""
    text = figures.signed(difference.value, decimals)
    if difference.ci95 is not None:
        low, high = (figures.signed(bound, decimals) for bound in difference.ci95)
        text += f" ({low} to {high})"
    if difference.p_value is not None:
        p = "p < 0.001" if difference.p_value < 0.001 else f"p = {difference.p_value:.2g}"
        text += f", {p}"
    return text


def why_not_apart(scores: TaskScores, baseline: dict[str, Measured]) -> str:
    """Why a task cannot tell a strategy from the baseline, as the rest of "because ..."."""
    if not baseline:
        return "the baseline has no score for it"
    metric = main_metric(scores)
    if metric not in scores.difference:
        return "both have no scored sample in common"
    reference = baseline.get(metric)
    if reference is not None:
        if reference.value == 0:
            solves = (
                f"solves 0 of {scores.n}" if is_pass_fail(metric) else f"scores 0 on all {scores.n} samples"
            )
            return f"the baseline {solves}"
        if reference.value == 1 and is_pass_fail(metric):
            return f"{'both solve' if _same(metric, scores) else 'the baseline solves'} all {scores.n}"
    return f"its score is the same for both on these {scores.n} samples"


def main_metric(scores: TaskScores) -> str | None:
    """The metric a sentence speaks of: the first that is compared, else the first."""
    compared = (name for name in scores.metrics if name in scores.difference)
    return next(compared, next(iter(scores.metrics), None))


def is_pass_fail(metric: str) -> bool:
    """Whether the metric counts solved problems."""
    return metric.split(",")[0].startswith("pass@") or metric.split(",")[0] in {"exact_match", "acc"}


def _same(metric: str, scores: TaskScores) -> bool:
    difference = scores.difference.get(metric)
    return difference is not None and difference.value == 0


def _is_significant(difference: Difference) -> bool | None:
    if difference.p_value is not None:
        return difference.p_value < _SIGNIFICANT
    if difference.ci95 is None:
        return None
    low, high = difference.ci95
    return low > 0 or high < 0
