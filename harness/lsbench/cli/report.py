"""``lsbench report``: the reports of a stored run or search, made again."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer

from lsbench.errors import EXIT_DONE, BadInput


def report(
    run: Annotated[str, typer.Argument(help="Its id, the beginning of it, its folder, or latest.")],
    rescore: Annotated[
        bool, typer.Option("--rescore", help="Score the stored records again first; no model is loaded.")
    ] = False,
    output: Annotated[
        str, typer.Option("--output", "--output-path", "-o", help="Where runs are.")
    ] = "results",
    json_: Annotated[
        bool,
        typer.Option("--json", help="metrics.json, or a search's summary, on stdout; all else on stderr."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.")] = False,
) -> int:
    """Make report.html and report.md again from the folder of a run or a search."""
    from lsbench.cli.show import show_outcome, show_tune
    from lsbench.pipeline import reread
    from lsbench.pipeline import rescore as rescore_run
    from lsbench.report.live import LiveView
    from lsbench.store.listing import find_run
    from lsbench.tuning.listing import named_tune

    search = named_tune(run, output)
    if search is not None:
        from lsbench.report.tune_report import write_tune_reports

        if rescore:
            raise BadInput("--rescore is for runs: a search is not scored by its tasks; leave it out")
        write_tune_reports(search)
        show_tune(search, as_json=json_, quiet=quiet)
        return EXIT_DONE
    folder = find_run(run, output)
    with LiveView(quiet=quiet) as view, redirect_stdout(sys.stderr):
        outcome = rescore_run(folder, view) if rescore else reread(folder)
    show_outcome(outcome, as_json=json_, quiet=quiet)
    return outcome.exit_code
