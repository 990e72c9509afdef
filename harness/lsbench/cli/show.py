"""What a command prints in the end."""

from __future__ import annotations

import json
import sys
from pathlib import Path
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


def show_tune(folder: Path, as_json: bool, quiet: bool) -> None:
    """The outcome of a search; or a summary as JSON on standard output, and the rest on standard error."""
    from rich.console import Console

    from lsbench.report.tune_folder import StoredTune
    from lsbench.report.tune_summary import tune_summary
    from lsbench.report.tune_table import TuneTable
    from lsbench.tuning.result import BEST

    tune = StoredTune.open(folder)
    if as_json:
        sys.stdout.write(json.dumps(tune_summary(tune), indent=2) + "\n")
        sys.stdout.flush()
    if quiet:
        if not as_json:
            print(folder)
        return
    console = Console(stderr=as_json)
    console.print(TuneTable(tune))
    if (folder / BEST).exists():
        console.print(f"Run it: lsbench run --config {folder / BEST}", highlight=False, soft_wrap=True)
    console.print(f"Results: {folder}", highlight=False, soft_wrap=True)
