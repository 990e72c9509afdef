"""The written reports of a results folder, made from what it holds and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsbench.errors import BadInput
from lsbench.report.facts import run_facts
from lsbench.report.html import html_report
from lsbench.report.markdown import markdown_report

if TYPE_CHECKING:
    from lsbench.store.run_folder import RunFolder

HTML = "report.html"
MARKDOWN = "report.md"


def write_reports(folder: RunFolder) -> tuple[str, str]:
    """Write ``report.html`` and ``report.md`` into ``folder``, in place of earlier ones.

    Returns:
        The names of the two files.

    Raises:
        BadInput: the run has no metrics yet, or the folder cannot be written to.
        DamagedResults: the folder's metrics or samples cannot be trusted.
    """
    metrics = folder.metrics()
    if metrics is None:
        raise BadInput(
            f"Run {folder.run_id} has no metrics.json yet: `lsbench run --resume {folder.reference}` "
            f"finishes it, `lsbench report {folder.reference} --rescore` scores what it has."
        )
    facts = run_facts(folder.manifest)
    folder.write_text(HTML, html_report(metrics, facts, folder.records()))
    folder.write_text(MARKDOWN, markdown_report(metrics, facts))
    return HTML, MARKDOWN
