"""One sentence for each strategy: how fast, how true to the full model, at what cost in quality."""

from __future__ import annotations

from lsbench.metrics import BaselineMetrics, Metrics, StrategyMetrics, TaskScores
from lsbench.report import figures
from lsbench.report.plain import one_line
from lsbench.report.quality import (
    Tone,
    difference_text,
    judge,
    lower_is_better,
    main_metric,
    why_not_apart,
)

_TASKS_IN_SENTENCE = 3
NOISY = 0.05
"""The limit ``BaselineMetrics.noise`` names: above it the machine was too noisy for small differences."""


def verdict_sentences(metrics: Metrics) -> list[str]:
    """One sentence for each strategy, in the run's order; empty for a run of the baseline alone."""
    return [_sentence(strategy, metrics) for strategy in metrics.strategies]


def speed_tone(strategy: StrategyMetrics) -> Tone:
    """Good for faster, bad for slower, even for no difference, plain where speed was not compared."""
    if strategy.speed is None or strategy.speed.speedup is None:
        return "plain"
    tones: dict[str, Tone] = {"faster": "good", "slower": "bad"}
    return tones.get(strategy.speed.speedup.verdict, "even")


def parity_text(strategy: StrategyMetrics) -> str | None:
    """Whether a claim to be lossless held, in words; None where nothing was compared."""
    parity = strategy.parity
    if parity is None or parity.compared == 0:
        return None
    identical = f"{parity.identical} of {parity.compared} outputs identical to the baseline's"
    compared = parity.compared
    ties = f", {parity.numerical_ties} parted at a numerical tie" if parity.numerical_ties else ""
    if parity.violations:
        return f"its claim to be lossless FAILED: {parity.violations} of {compared} outputs differ{ties}"
    return f"lossless as claimed: {identical}{ties}"


def certificate_text(strategy: StrategyMetrics) -> str | None:
    """Whether sampled output had the full model's distribution, in words; None where nothing was tested."""
    certificate = strategy.certificate
    if certificate is None:
        return None
    tests = [test for test in (certificate.outputs, certificate.draws) if test is not None]
    tokens = _count(sum(test.tokens for test in tests), "sampled token")
    chance = f"chi-square p = {certificate.p_value:.2g}"
    if certificate.refuted:
        return (
            "its claim to be lossless FAILED: its samples are not distributed as the full model's "
            f"({chance}, over {tokens})"
        )
    shift = figures.share(min(test.detectable_shift for test in tests))
    return f"lossless as claimed, as far as {tokens} can tell ({chance}; a shift of {shift} would have shown)"


def claim_text(strategy: StrategyMetrics) -> str | None:
    """What became of a claim to be lossless, greedy and sampled; None where nothing was looked at."""
    texts = [text for text in (parity_text(strategy), certificate_text(strategy)) if text is not None]
    return "; ".join(texts) or None


def claim_failed(strategy: StrategyMetrics) -> bool:
    """Whether a claim to be lossless failed."""
    parity, certificate = strategy.parity, strategy.certificate
    return bool(parity and parity.violations) or bool(certificate and certificate.refuted)


def _sentence(strategy: StrategyMetrics, metrics: Metrics) -> str:
    if strategy.unavailable is not None:
        why = one_line(strategy.unavailable)
        return f"{one_line(strategy.label)}: cannot run here: {why.removesuffix('.')}."
    clauses = [_speed(strategy, metrics.baseline), _fidelity(strategy), *_quality(strategy, metrics.baseline)]
    text = "; ".join(clause for clause in clauses if clause)
    return f"{one_line(strategy.label)}: {text}."


def _speed(strategy: StrategyMetrics, baseline: BaselineMetrics) -> str:
    speed = strategy.speed
    if speed is None or (speed.speedup is None and speed.generated_tokens == 0):
        return "no speed to compare (nothing was generated)"
    if speed.speedup is None:
        return "speed not comparable (no prompt was timed under both in one process)"
    speedup = speed.speedup
    if speedup.ci95 is None:
        over = _count(speed.pairs, "prompt")
        if speed.batches is not None:
            over += f" in {speed.batches} batch{'es' if speed.batches != 1 else ''}"
        return f"{figures.ratio(speedup.value, None)} over {over}, too few to say faster or slower"
    words = {
        "faster": "faster here",
        "slower": "slower here",
        "no significant difference": "no significant difference in speed",
    }[speedup.verdict]
    text = f"{words}, {figures.ratio(speedup.value, speedup.ci95)}"
    if baseline.noise is not None and baseline.noise > NOISY and abs(speedup.value - 1) <= baseline.noise:
        text += ", which is within this noisy machine's own swing"
    return text


def _fidelity(strategy: StrategyMetrics) -> str:
    claim = claim_text(strategy)
    if claim is not None:
        return claim
    if strategy.fidelity is None:
        return ""
    agreement = strategy.fidelity.token_agreement
    return f"it keeps {figures.share(agreement.value, agreement.ci95)} of the baseline's tokens"


def _quality(strategy: StrategyMetrics, baseline: BaselineMetrics) -> list[str]:
    tasks = list(strategy.tasks.items())
    clauses = [_task(one_line(name), scores, baseline.tasks.get(name, {})) for name, scores in tasks]
    left = len(clauses) - _TASKS_IN_SENTENCE
    more = [f"{_count(left, 'more task')} in the table"] if left > 0 else []
    return [*clauses[:_TASKS_IN_SENTENCE], *more]


def _task(name: str, scores: TaskScores, baseline: dict) -> str:
    if scores.n > 0 and scores.failed >= scores.n:
        return f"{name} has no score because all {scores.n} samples failed"
    if not scores.affected_by_strategy:
        return f"{name} is not affected by it"
    if not scores.tells_apart:
        return f"{name} cannot tell them apart because {why_not_apart(scores, baseline)}"
    metric = main_metric(scores)
    if metric is None:
        return f"{name} has no score"
    value, reference, difference = scores.metrics[metric], baseline.get(metric), scores.difference.get(metric)
    if reference is None or difference is None:
        return f"{name} {one_line(metric)} is {figures.significant(value.value)}"
    decimals = figures.decimals_for(reference.value, value.value)
    before, after = (figures.score(number, None, decimals) for number in (reference.value, value.value))
    change = f"{one_line(metric)} {before} → {after}, {difference_text(difference, decimals)}"
    if lower_is_better(metric):
        change += ", lower is better"
    word = judge(metric, scores).word
    if word == "difference not tested":
        return f"{name} has no interval to judge by: {change}"
    verb = "shows" if word.startswith("no ") else "is"
    return f"{name} {verb} {word}: {change}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
