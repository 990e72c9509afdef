"""``lsbench report``: the reports of a stored run or search, made again; one of them onto standard output."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsbench.errors import EXIT_DONE, BadInput

if TYPE_CHECKING:
    from lsbench.pipeline import RunOutcome

_FORMATS = ("markdown", "csv", "html", "latex")


def report(
    run: Annotated[str, typer.Argument(help="Its id, the beginning of it, its folder, or latest.")],
    rescore: Annotated[
        bool, typer.Option("--rescore", help="Score the stored records again first; no model is loaded.")
    ] = False,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format", help="markdown, csv, html or latex: on stdout, in place of the table; runs only."
        ),
    ] = None,
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--output-file", metavar="FILE", help="Write that format there; its ending tells which."
        ),
    ] = None,
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
    from lsbench.cli.formats import put, written_form
    from lsbench.cli.show import show_outcome, show_tune
    from lsbench.pipeline import reread
    from lsbench.pipeline import rescore as rescore_run
    from lsbench.report.live import LiveView
    from lsbench.store.listing import find_run
    from lsbench.tuning.listing import named_tune

    form = written_form(format_, output_file, _FORMATS, json_)
    search = named_tune(run, output)
    if search is not None:
        from lsbench.report.tune_report import write_tune_reports

        if rescore:
            raise BadInput("--rescore is for runs: a search is not scored by its tasks; leave it out")
        if form is not None:
            raise BadInput("--format is for runs; a search has report.html and report.md in its folder")
        write_tune_reports(search)
        show_tune(search, as_json=json_, quiet=quiet)
        return EXIT_DONE
    folder = find_run(run, output)
    with LiveView(quiet=quiet) as view, redirect_stdout(sys.stderr):
        outcome = rescore_run(folder, view) if rescore else reread(folder)
    if form is not None:
        put(_written(outcome, form), output_file)
    if form is None or output_file is not None:
        show_outcome(outcome, as_json=json_, quiet=quiet)
    return outcome.exit_code


def _written(outcome: RunOutcome, form: str) -> str:
    from lsbench.report.facts import run_facts

    if form == "latex":
        from lsbench.report.latex import run_latex

        return run_latex(outcome.metrics, run_facts(outcome.folder.manifest))
    if form == "csv":
        from lsbench.report.tidy_csv import run_csv

        return run_csv(outcome.metrics)
    from lsbench.report.folder import HTML, MARKDOWN

    # Just written, from the same metrics.
    return (outcome.folder.path / (HTML if form == "html" else MARKDOWN)).read_text(encoding="utf-8")
