"""``lsbench tune``: search a strategy's options, and prove what was found on prompts never seen."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer

from lsbench.cli import options

_GOAL = "Goal"
_SPACE = "Where to look"
_SEARCH = "Search"
_NOT_FIELDS = ("resume", "json_", "quiet")


def tune(
    context: typer.Context,
    strategies: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy", "-s", metavar="NAME[:key=value,...]", help="What to tune; options given are fixed."
        ),
    ] = None,
    tasks: options.Tasks = None,
    trials: Annotated[
        int | None, typer.Option("--trials", help="Settings to try, at most [50].", rich_help_panel=_SEARCH)
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(metavar="20m", help="Time for trying: 90s, 20m, 1h30m.", rich_help_panel=_SEARCH),
    ] = None,
    minimize: Annotated[
        str | None, typer.Option(metavar="tpot", help="Seconds per token.", rich_help_panel=_GOAL)
    ] = None,
    maximize: Annotated[
        str | None,
        typer.Option(
            metavar="speedup", help="Speed over the baseline's; the default.", rich_help_panel=_GOAL
        ),
    ] = None,
    min_quality: Annotated[
        float | None,
        typer.Option(
            metavar="0.98",
            help="Floor that the lower bound of --quality must hold.",
            rich_help_panel=_GOAL,
        ),
    ] = None,
    quality: Annotated[
        str | None,
        typer.Option(
            metavar="agreement|METRIC",
            help="Of what: the full model's tokens that it would choose too, or a task's score beside the "
            "baseline's \\[agreement].",
            rich_help_panel=_GOAL,
        ),
    ] = None,
    risk: Annotated[
        float | None,
        typer.Option(
            metavar="0.05",
            help="Calibrate dynamic_exit's threshold: mean loss of at most this, guaranteed.",
            rich_help_panel=_GOAL,
        ),
    ] = None,
    delta: Annotated[
        float | None,
        typer.Option(
            metavar="0.1",
            help="The chance that --risk's guarantee may be wrong [0.1].",
            rich_help_panel=_GOAL,
        ),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=LOW..HIGH|a,b,c",
            help="Where to look for one option, instead of where the strategy says; repeatable.",
            rich_help_panel=_SPACE,
        ),
    ] = None,
    fix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Do not search this option; repeatable.", rich_help_panel=_SPACE
        ),
    ] = None,
    space_file: Annotated[
        str | None,
        typer.Option(metavar="FILE.yaml", help="Both, as YAML; flags override it.", rich_help_panel=_SPACE),
    ] = None,
    skip_sets: Annotated[
        str | None,
        typer.Option(
            metavar="choices|ladder",
            help="Search skip sets, too: part by part, or as beginnings of a ranking \\[off].",
            rich_help_panel=_SPACE,
        ),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(
            metavar="hyperopt|random|grid",
            help="How to propose settings \\[hyperopt].",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    grid_points: Annotated[
        int | None, typer.Option(help="Values of each range in a grid [5].", rich_help_panel=_SEARCH)
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            help="Trials at once; more than one on a device falsify each other's clock \\[one a device].",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    timed: Annotated[
        int | None,
        typer.Option(
            help="Of the settings predicted to be best, how many are timed [5].", rich_help_panel=_SEARCH
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-L", help="Documents of each task that a trial runs.", rich_help_panel=_SEARCH
        ),
    ] = None,
    final_limit: Annotated[
        int | None,
        typer.Option(
            help="Documents of each task to judge on \\[all that the search does not see].",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    trial_timeout: Annotated[
        str | None,
        typer.Option(metavar="60s", help="After which a trial has failed.", rich_help_panel=_SEARCH),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Of the split, the searcher and all sampling [0].", rich_help_panel=_SEARCH),
    ] = None,
    model: options.Model = None,
    model_args: options.ModelArgs = None,
    revision: options.Revision = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    include_path: options.IncludePath = None,
    data: options.Data = None,
    data_prompt: options.DataPrompt = None,
    data_reference: options.DataReference = None,
    data_fewshot: options.DataFewshot = None,
    num_fewshot: options.NumFewshot = None,
    apply_chat_template: options.ApplyChatTemplate = None,
    max_new_tokens: options.MaxNewTokens = None,
    threads: options.Threads = None,
    tensor_parallel: options.TensorParallel = None,
    replicas: options.Replicas = None,
    backend: options.Backend = None,
    ray_address: options.RayAddress = None,
    output: options.Output = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Go on with a stopped search: its id, or latest.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    json_: Annotated[
        bool,
        typer.Option(
            "--json", help="A summary on stdout, all else on stderr.", rich_help_panel=options.OUTPUT
        ),
    ] = False,
    quiet: options.Quiet = False,
) -> int:
    """Search a strategy's options on some prompts, and judge what was found on others."""
    from lsbench.cli.tune_spec import build_tune_spec
    from lsbench.tuning.checks import check_space
    from lsbench.tuning.listing import find_tune
    from lsbench.tuning.trials import read_manifest

    given = {key: value for key, value in options.given(context.params).items() if key not in _NOT_FIELDS}
    folder = None if resume is None else find_tune(resume, output or "results")
    spec = build_tune_spec(given, None if folder is None else read_manifest(folder).spec)
    check_space(spec)
    from lsbench.cli.interruptible_tune_view import InterruptibleTuneView
    from lsbench.cli.show import show_tune
    from lsbench.report.tune_report import write_tune_reports
    from lsbench.tuning.folder import TuneFolder
    from lsbench.tuning.tune import tune as search_options

    held = None if folder is None else TuneFolder.resume(folder)
    with InterruptibleTuneView(quiet=quiet) as view, redirect_stdout(sys.stderr):
        if held is not None:
            held.update(spec=spec)
        outcome = search_options(spec, view, held)
    write_tune_reports(outcome.folder)
    show_tune(outcome.folder, as_json=json_, quiet=quiet)
    return outcome.exit_code
