"""What a command prints in the end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lsbench.pipeline import RunOutcome


def show_outcome(outcome: RunOutcome, as_json: bool, quiet: bool) -> None:
    """The final table, or ``metrics.json`` on standard output and the table on standard error."""
    from rich.console import Console

    from lsbench.report.facts import run_facts
    from lsbench.report.table import run_table

    if as_json:
        sys.stdout.write((outcome.folder.path / "metrics.json").read_text())
        sys.stdout.flush()
    if quiet:
        if not as_json:
            print(outcome.folder.path)
        return
    console = Console(stderr=as_json)
    console.print(run_table(outcome.metrics, run_facts(outcome.folder.manifest)))
    console.print(f"Results: {outcome.folder.path}", highlight=False, soft_wrap=True)
