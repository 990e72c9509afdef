"""``report.md``: the outcome of a run as text that reads well raw and rendered."""

from __future__ import annotations

from lsbench.metrics import Metrics
from lsbench.report.facts import RunFacts
from lsbench.report.templates import render


def markdown_report(metrics: Metrics, facts: RunFacts | None = None) -> str:
    """The verdict, every figure, the notes and what was run, as GitHub-flavoured Markdown."""
    return render("report.md.j2", metrics, facts)
