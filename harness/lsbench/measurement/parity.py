"""Whether a strategy that claims to be lossless gave the baseline's own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lsbench.metrics import Parity
from lsbench.records import SampleRecord

Finding = Literal["identical", "numerical_tie", "violation"]
_TOLD = 3
"""Differences of each kind that are told one by one."""


def parity(records: Sequence[SampleRecord], label: str) -> Parity | None:
    """Count what comparing found; None when nothing was compared (no claim, or nothing greedy).

    Args:
        records: all records; those of kind ``parity`` under ``label`` are read.
        label: of the strategy.
    """
    found = [finding(record) for record in compared(records, label)]
    if not found:
        return None
    return Parity(
        compared=len(found),
        identical=found.count("identical"),
        numerical_ties=found.count("numerical_tie"),
        violations=found.count("violation"),
    )


def compared(records: Sequence[SampleRecord], label: str) -> list[SampleRecord]:
    """The comparisons of one strategy's outputs with the baseline's."""
    return [record for record in records if record.kind == "parity" and record.label == label]


def finding(record: SampleRecord) -> Finding:
    """What one comparison found.

    A difference is a numerical tie only when the precise logits of both tokens are closer to the largest
    one than the noise of the run's precision. A difference that could not be rechecked is a violation.
    """
    if record.error is not None:
        return "violation"
    if record.first_difference is None:
        return "identical"
    if record.margin is None or record.noise is None:
        return "violation"
    return "numerical_tie" if record.margin <= record.noise else "violation"


def about_parity(records: Sequence[SampleRecord], label: str) -> list[str]:
    """Each difference with its margin, violations first; of many, the first few."""
    by_finding: dict[Finding, list[SampleRecord]] = {"violation": [], "numerical_tie": [], "identical": []}
    for record in compared(records, label):
        by_finding[finding(record)].append(record)
    said: list[str] = []
    for kind in ("violation", "numerical_tie"):
        told = by_finding[kind]
        said += [f"{label}: {_difference(record, kind)}." for record in told[:_TOLD]]
        if len(told) > _TOLD:
            word = "violations" if kind == "violation" else "numerical ties"
            said.append(f"{label}: {len(told) - _TOLD} more {word}; samples.jsonl has their margins.")
    return said


def _difference(record: SampleRecord, kind: Finding) -> str:
    where = f"{record.task} document {record.doc_id}"
    if record.repeat:
        where += f", repeat {record.repeat}"
    if record.error is not None:
        return f"its output for {where} could not be compared with the baseline's ({record.error})"
    assert record.first_difference is not None  # an identical output is not told
    parts = f"its output for {where} parts from the baseline's at token {record.first_difference + 1}"
    if record.margin is None or record.noise is None:
        return f"{parts}, where one of the two ends: a violation"
    apart = f"the two tokens' logits are {record.margin:.3g} apart"
    if kind == "violation":
        return f"{parts}, a violation: {apart}, and rounding explains {record.noise:.3g} at most"
    return f"{parts}, a numerical tie: {apart}, within the {record.noise:.3g} that rounding explains"
