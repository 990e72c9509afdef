"""``report.html``: the outcome of a run as one page that loads nothing and can be mailed."""

from __future__ import annotations

from collections.abc import Iterable

from lsbench.metrics import Metrics
from lsbench.records import SampleRecord
from lsbench.report.chart import Chart
from lsbench.report.cost_chart import cost_chart
from lsbench.report.depth_charts import acceptance_chart, depth_charts
from lsbench.report.facts import RunFacts
from lsbench.report.plotly_page import packed, page_script, plotly_script, script_policy
from lsbench.report.run_charts import agreement_chart, quality_charts, speed_chart
from lsbench.report.samples import sample_view
from lsbench.report.templates import render
from lsbench.report.time_charts import distribution_charts


def html_report(metrics: Metrics, facts: RunFacts | None = None, records: Iterable[SampleRecord] = ()) -> str:
    """The page as text, about 2 MB of it the chart library.

    Args:
        metrics: what ``metrics.json`` holds.
        facts: what the manifest adds.
        records: the run's records, which the page shows token by token, as many as it can hold.
    """
    from markupsafe import Markup

    records = tuple(records)
    labels = tuple(strategy.label for strategy in metrics.strategies)
    samples = sample_view(records, metrics.baseline.strategy, labels, metrics.model.num_layers)
    script = page_script("samples.js")
    return render(
        "report.html.j2",
        metrics,
        facts,
        beside=_beside_tables(metrics),
        charted=_charted(metrics, records),
        samples=samples,
        sample_data=packed("sample-data", samples.data) if samples is not None else "",
        library=plotly_script(),
        script=Markup(script),
        policy=script_policy(script),
    )


def _beside_tables(metrics: Metrics) -> dict[str, list[Chart]]:
    """Charts that stand above a table, by its title."""
    return {
        "How fast": _there(speed_chart(metrics)),
        "What it costs in quality": quality_charts(metrics),
        "How true to the full model": _there(agreement_chart(metrics)),
    }


def _charted(metrics: Metrics, records: tuple[SampleRecord, ...]) -> list[tuple[str, str, list[Chart]]]:
    """Sections of charts alone: id, title and charts."""
    found = [
        ("depth", "How deep tokens ran", depth_charts(metrics)),
        ("drafts", "How far drafts were right", _there(acceptance_chart(metrics))),
        ("where", "Where the time went", _there(cost_chart(metrics))),
        ("times", "How times spread", distribution_charts(metrics, records)),
    ]
    return [section for section in found if section[2]]


def _there(*charts: Chart | None) -> list[Chart]:
    return [chart for chart in charts if chart is not None]
