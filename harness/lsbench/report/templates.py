"""The templates of the written reports, and what both of them show."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from lsbench.metrics import Metrics
from lsbench.report.belief import NOTHING_AGAINST, belief_notes
from lsbench.report.content import HOW_TO_READ, model_line, sections, strategy_heading
from lsbench.report.facts import RunFacts
from lsbench.report.plain import markdown, one_line, printable
from lsbench.report.verdict import speed_tone, verdict_sentences

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def render(template: str, metrics: Metrics, facts: RunFacts | None, **more: Any) -> str:
    """Fill in ``template`` with a run's verdict, figures, notes and facts, and ``more`` of its own."""
    strategies = metrics.strategies
    notes = belief_notes(metrics, facts)
    return (
        environment()
        .get_template(template)
        .render(
            metrics=metrics,
            facts=facts or RunFacts(),
            model=model_line(metrics),
            verdicts=list(
                zip(strategies, verdict_sentences(metrics), map(speed_tone, strategies), strict=True)
            ),
            headings=[strategy_heading(strategy) for strategy in strategies],
            sections=sections(metrics),
            notes=notes or [NOTHING_AGAINST],
            doubted=bool(notes),
            how_to_read=HOW_TO_READ,
            **more,
        )
    )


@functools.cache
def environment() -> Environment:
    """Where templates are found, and how what strangers wrote is made harmless in them."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("lsbench.report", "."),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = markdown
    environment.filters["one_line"] = one_line
    environment.filters["breakable"] = _breakable
    environment.filters["printable"] = printable
    return environment


def _breakable(text: str) -> Markup:
    """Text that a narrow page may break between the options of a label, rather than within a name."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"(?<=[,:])(?=\w)", "<wbr>", str(escape(text))))
