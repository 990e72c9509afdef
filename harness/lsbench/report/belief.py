"""Whether to believe a run: everything a reader must know before using one of its figures."""

from __future__ import annotations

from lsbench.metrics import Metrics, StrategyMetrics
from lsbench.report import figures
from lsbench.report.facts import RunFacts
from lsbench.report.plain import one_line
from lsbench.report.quality import why_not_apart
from lsbench.report.verdict import NOISY

FEW_PROMPTS = 20
"""Below this many paired prompts a bootstrap interval is rough."""

NOTHING_AGAINST = "Nothing was seen that speaks against these figures."

_STATUS = {
    "running": "This run is not finished: every figure is provisional.",
    "interrupted": "This run was interrupted: the figures cover only what finished, and it can be resumed.",
    "failed_samples": "Some samples failed: figures leave them out.",
}


def belief_notes(metrics: Metrics, facts: RunFacts | None = None) -> list[str]:
    """What limits belief in this run, most serious first, each a plain sentence; no note twice.

    What ``Metrics.notes`` already says about noise is not said again.
    """
    notes = [_STATUS.get(metrics.status, ""), *_failed_claims(metrics)]
    given = [one_line(note) for note in (*metrics.notes, *(facts.notes if facts else ()))]
    if not any("nois" in note.lower() for note in given):
        notes.append(_noise(metrics.baseline.noise))
    notes += given
    notes += [_few_prompts(metrics), *_failed_samples(metrics), *_blind_tasks(metrics)]
    return list(dict.fromkeys(note for note in notes if note))


def _failed_claims(metrics: Metrics) -> list[str]:
    return [
        f"{one_line(strategy.label)} claims to be lossless and is not: {strategy.parity.violations} of "
        f"{strategy.parity.compared} outputs differ from the baseline's."
        for strategy in metrics.strategies
        if strategy.parity is not None and strategy.parity.violations
    ]


def _noise(noise: float | None) -> str:
    if noise is None or noise <= NOISY:
        return ""
    return (
        f"The machine was noisy: two halves of the baseline's own requests differ by {figures.share(noise)}. "
        "Do not believe a speed difference smaller than that; close other programs and run again."
    )


def _few_prompts(metrics: Metrics) -> str:
    pairs = [s.speed.pairs for s in metrics.strategies if s.speed is not None and s.speed.speedup is not None]
    if not pairs or min(pairs) >= FEW_PROMPTS:
        return ""
    prompts = "1 prompt was" if min(pairs) == 1 else f"{min(pairs)} prompts were"
    return f"Only {prompts} timed in pairs: intervals are rough; raise --limit for firm figures."


def _failed_samples(metrics: Metrics) -> list[str]:
    return [
        f"{one_line(strategy.label)} failed {scores.failed} of {scores.n} samples of {one_line(task)}."
        for strategy in metrics.strategies
        for task, scores in strategy.tasks.items()
        if scores.failed
    ]


def _blind_tasks(metrics: Metrics) -> list[str]:
    notes = []
    for task in dict.fromkeys(task for strategy in metrics.strategies for task in strategy.tasks):
        blind = [strategy for strategy in metrics.strategies if _is_blind(strategy, task)]
        if blind:
            reason = why_not_apart(blind[0].tasks[task], metrics.baseline.tasks.get(task, {}))
            everyone = len(blind) == len(metrics.strategies) > 1
            names = "any strategy" if everyone else ", ".join(one_line(strategy.label) for strategy in blind)
            instead = ": look at token agreement instead" if any(s.fidelity for s in blind) else ""
            notes.append(f"{one_line(task)} cannot tell {names} from the baseline because {reason}{instead}.")
    return notes


def _is_blind(strategy: StrategyMetrics, task: str) -> bool:
    scores = strategy.tasks.get(task)
    return scores is not None and scores.affected_by_strategy and not scores.tells_apart
