"""``report.html``: the outcome of a run as one page that loads nothing and can be mailed."""

from __future__ import annotations

from collections.abc import Iterable

from lsbench.metrics import Metrics
from lsbench.records import SampleRecord
from lsbench.report.depths import depth_charts
from lsbench.report.facts import RunFacts
from lsbench.report.samples import preview
from lsbench.report.templates import render

_SAMPLES_PER_TASK = 3


def html_report(metrics: Metrics, facts: RunFacts | None = None, records: Iterable[SampleRecord] = ()) -> str:
    """The page as text.

    Args:
        metrics: what ``metrics.json`` holds.
        facts: what the manifest adds.
        records: the run's records, of which the first few are shown in full.
    """
    labels = tuple(strategy.label for strategy in metrics.strategies)
    samples = preview(records, metrics.baseline.strategy, labels, _SAMPLES_PER_TASK)
    return render("report.html.j2", metrics, facts, charts=depth_charts(metrics), samples=samples)
