"""Whether to believe a run: everything a reader must know before using one of its figures."""

from __future__ import annotations

from lsbench.metrics import Metrics
from lsbench.report.facts import RunFacts
from lsbench.report.plain import one_line

NOTHING_AGAINST = "Nothing was seen that speaks against these figures."

_STATUS = {
    "running": "This run is not finished: every figure is provisional.",
    "interrupted": "This run was interrupted: the figures cover only what finished, and it can be resumed.",
    "failed_samples": "Some samples failed: figures leave them out.",
}


def belief_notes(metrics: Metrics, facts: RunFacts | None = None) -> list[str]:
    """What limits belief in this run, most serious first, each a plain sentence; no note twice.

    Noise, failures, few prompts and tasks that cannot tell are noted by who measured them, in
    ``Metrics.notes``; here they are joined with the run's state, claims that failed, and the manifest's.
    """
    notes = [_STATUS.get(metrics.status, ""), *_failed_claims(metrics), *metrics.notes]
    notes += facts.notes if facts is not None else ()
    return list(dict.fromkeys(one_line(note) for note in notes if one_line(note)))


def _failed_claims(metrics: Metrics) -> list[str]:
    said: list[str] = []
    for strategy in metrics.strategies:
        failed = f"{strategy.label} claims to be lossless and is not:"
        if strategy.parity is not None and strategy.parity.violations:
            parity = strategy.parity
            said.append(
                f"{failed} {parity.violations} of {parity.compared} outputs differ from the baseline's."
            )
        if strategy.certificate is not None and strategy.certificate.refuted:
            said.append(
                f"{failed} what it samples does not have the full model's distribution "
                f"(p = {strategy.certificate.p_value:.2g})."
            )
    return said
