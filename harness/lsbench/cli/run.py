"""``lsbench run``: strategies x tasks, paired with the baseline, scored and reported."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from lsbench.cli import options

_NOT_FIELDS = ("config", "print_config", "resume", "json_", "quiet")


def run(
    context: typer.Context,
    strategies: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy",
            "-s",
            metavar="NAME[:key=value,...]",
            help="What to run against the baseline; repeatable.",
        ),
    ] = None,
    tasks: options.Tasks = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What speed and quality are compared with \\[autoregressive]."),
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
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-L", help="Only the first N documents.", rich_help_panel=options.TASKS),
    ] = None,
    num_fewshot: options.NumFewshot = None,
    apply_chat_template: options.ApplyChatTemplate = None,
    max_new_tokens: options.MaxNewTokens = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="0 is greedy; instead of the task's.", rich_help_panel=options.SAMPLING),
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Nucleus mass.", rich_help_panel=options.SAMPLING)
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Most likely tokens kept.", rich_help_panel=options.SAMPLING)
    ] = None,
    gen_kwargs: Annotated[
        str | None,
        typer.Option("--gen-kwargs", help="As lm-eval: key=value,...", rich_help_panel=options.SAMPLING),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of all sampling [0].", rich_help_panel=options.SAMPLING)
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", "-b", help="Sequences decoded together [1].", rich_help_panel=options.MEASURE
        ),
    ] = None,
    tensor_parallel: options.TensorParallel = None,
    replicas: options.Replicas = None,
    backend: options.Backend = None,
    ray_address: options.RayAddress = None,
    max_retries: Annotated[
        int | None,
        typer.Option(
            help="Times a prompt is run again whose replica died [2].", rich_help_panel=options.PLACE
        ),
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(help="Generations of each prompt [1].", rich_help_panel=options.MEASURE)
    ] = None,
    warmup: Annotated[
        int | None, typer.Option(help="Prompts run and discarded first [1].", rich_help_panel=options.MEASURE)
    ] = None,
    threads: options.Threads = None,
    sandbox: Annotated[
        str | None,
        typer.Option(
            help="auto, or strict: refuse to run code under limits alone.", rich_help_panel=options.MEASURE
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-C", help="YAML of these options; flags override it.")
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Show the configuration and leave.")
    ] = False,
    output: options.Output = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Go on with a stopped run: its id, or latest.", rich_help_panel=options.OUTPUT
        ),
    ] = None,
    json_: Annotated[
        bool,
        typer.Option(
            "--json", help="metrics.json on stdout, all else on stderr.", rich_help_panel=options.OUTPUT
        ),
    ] = False,
    quiet: options.Quiet = False,
) -> int:
    """Run strategies on tasks, paired with the baseline; score and report."""
    from lsbench.cli.flags import as_yaml, build_spec
    from lsbench.cli.show import show_outcome

    given = options.given(context.params)
    given = {key: value for key, value in given.items() if key not in _NOT_FIELDS}
    folder = None
    if resume is not None:
        from lsbench.store.listing import find_run

        folder = find_run(resume, output or "results")
    # A resumed run's own options stand for those that are not given again; those that are must agree.
    spec = build_spec(given, config, folder.manifest.spec if folder is not None else None)
    if print_config:
        print(as_yaml(spec), end="")
        return 0
    from lsbench.cli.interruptible_view import InterruptibleView
    from lsbench.pipeline import run as run_pipeline

    with InterruptibleView(quiet=quiet) as view, redirect_stdout(sys.stderr):
        outcome = run_pipeline(spec, view, folder)
    show_outcome(outcome, as_json=json_, quiet=quiet)
    return outcome.exit_code
