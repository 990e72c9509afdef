"""``lsbench ls``: what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lsbench.strategy.registry import StrategyEntry

ls = typer.Typer(help="List strategies, tasks, models or runs.", no_args_is_help=True)


@ls.command()
def strategies() -> None:
    """Every registered strategy with its options; a plugin that fails to load is named with its error."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from lsbench.strategy.registry import list_strategies

    console = Console()
    for entry in list_strategies():
        console.print(
            f"[bold]{escape(entry.name)}[/] [dim]({escape(entry.distribution)})[/] {_summary(entry)}"
        )
        if entry.strategy is None:
            continue
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
        for name, field in entry.strategy.Options.model_fields.items():
            default = "required" if field.is_required() else str(field.default)
            table.add_row(
                escape(name), escape("" if default == "None" else default), escape(field.description or "")
            )
        if table.row_count:
            console.print(table)


@ls.command()
def tasks(
    everything: Annotated[
        bool, typer.Option("--all", help="lm-eval's own too; reading its index takes seconds.")
    ] = False,
    include_path: Annotated[str | None, typer.Option(help="Folder with task YAML of your own.")] = None,
) -> None:
    """Tasks by name, and where their documents come from. lm-eval's own fetch theirs from the hub."""
    from lsbench.evaluation.tasks import list_tasks

    for listing in list_tasks(include_path, builtin=everything):
        print("\t".join(filter(None, (listing.name, listing.kind, listing.source, listing.data))))
    if not everything:
        print("and every task of lm-eval by name: lsbench ls tasks --all")


@ls.command()
def models() -> None:
    """The catalogue, and the model types that run. Any hub id, folder or GGUF file is a model too."""
    from rich.console import Console
    from rich.table import Table

    from lsbench.catalog import list_models
    from lsbench.engine.families import supported_model_types

    table = Table(box=None, pad_edge=False)
    for title in ("model", "from", "exit layer", "K", "login"):
        table.add_column(title, no_wrap=True)
    for entry in list_models():
        table.add_row(
            entry.name,
            entry.origin,
            _number(entry.exit_layer),
            _number(entry.num_speculations),
            "needed" if entry.gated else "—",
        )
    console = Console()
    console.print(table)
    console.print("Exit layer and K (drafted tokens a cycle) are those its authors recommend.", style="dim")
    console.print(f"Model types that run: {', '.join(supported_model_types())}.", style="dim")


@ls.command()
def runs(
    output: Annotated[
        str, typer.Option("--output", "--output-path", "-o", help="Where runs are.")
    ] = "results",
    json_: Annotated[
        bool, typer.Option("--json", help="An array of objects; sizes in bytes, times in UTC.")
    ] = False,
) -> None:
    """Runs and searches with what came of them, the newest last."""
    from lsbench.cli.run_list import as_json, listed, show

    found = listed(output)
    if json_:
        print(as_json(found))
    elif not found:
        print(f"no runs in {output}")
    else:
        from rich.console import Console

        show(Console(highlight=False), found)


def _summary(entry: StrategyEntry) -> str:
    from rich.markup import escape

    if entry.strategy is None:
        return f"[red]cannot be used:[/] {escape(entry.error or '')}"
    text = (entry.strategy.__doc__ or "").strip().splitlines()
    lossless = " [lossless]" if entry.strategy.lossless else ""
    return escape((text[0] if text else "") + lossless)


def _number(value: int | None) -> str:
    return "—" if value is None else str(value)
