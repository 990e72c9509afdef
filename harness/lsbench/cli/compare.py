"""``lsbench compare``: stored runs side by side, refused where they cannot be compared."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsbench.errors import EXIT_DONE, BadInput

if TYPE_CHECKING:
    from lsbench.comparison import Comparison
    from lsbench.store.stored_run import StoredRun

_FORMATS = ("rich", "markdown", "csv", "html", "latex")


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Ids, their beginnings, folders, or latest; the first is A."),
    ],
    against: Annotated[
        str | None,
        typer.Option(metavar="ROW", help="Compare all with this row alone, such as A1 \\[each with each]."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compare what is not comparable, and say so everywhere.")
    ] = False,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format", help="rich, markdown, csv, html or latex \\[rich, or by the file's ending]."
        ),
    ] = None,
    output_file: Annotated[
        Path | None, typer.Option("--output-file", metavar="FILE", help="Write it there, not on stdout.")
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "--output-path", "-o", help="Where runs are.")
    ] = "results",
    json_: Annotated[
        bool, typer.Option("--json", help="The comparison as JSON on stdout; all else on stderr.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table.")] = False,
) -> int:
    """Put runs side by side, with intervals on their differences; of one run, its strategies."""
    from lsbench.cli.formats import put, written_form
    from lsbench.measurement.comparison import compare as compare_runs

    form = written_form(format_, output_file, _FORMATS, json_)
    comparison = compare_runs([_read(name, output) for name in runs], force, against)
    if json_:
        sys.stdout.write(comparison.model_dump_json(by_alias=True, indent=2) + "\n")
        sys.stdout.flush()
    if form is not None and (form != "rich" or output_file is not None):
        put(_written(comparison, form), output_file)
    elif not quiet:
        from rich.console import Console

        from lsbench.report.comparison_table import ComparisonTable

        Console(stderr=json_, highlight=False).print(ComparisonTable(comparison))
    return EXIT_DONE


def _read(name: str, output: str) -> StoredRun:
    from lsbench.store.listing import find_run
    from lsbench.store.stored_run import read_run
    from lsbench.tuning.listing import is_tune_folder

    for path in (Path(output) / name, Path(name)):
        if name and is_tune_folder(path):
            raise BadInput(
                f"{name} is a search, and runs are compared: `lsbench run --config {path}/best.yaml` makes "
                f"one of its best, `lsbench report {name}` shows the search."
            )
    return read_run(find_run(name, output))


def _written(comparison: Comparison, form: str) -> str:
    if form == "markdown":
        from lsbench.report.comparison_pages import comparison_markdown

        return comparison_markdown(comparison)
    if form == "html":
        from lsbench.report.comparison_pages import comparison_html

        return comparison_html(comparison)
    if form == "csv":
        from lsbench.report.tidy_csv import comparison_csv

        return comparison_csv(comparison)
    if form == "latex":
        from lsbench.report.latex import comparison_latex

        return comparison_latex(comparison)
    from rich.console import Console

    from lsbench.report.comparison_table import ComparisonTable

    text = io.StringIO()
    Console(file=text, width=120, highlight=False).print(ComparisonTable(comparison))
    return text.getvalue()
