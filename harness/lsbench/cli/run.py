"""``lsbench run``: strategies x tasks, paired with the baseline, scored and reported."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

_MODEL = "Model"
_TASKS = "Tasks"
_SAMPLING = "Generation"
_MEASURE = "Measurement"
_PLACE = "Shards and replicas"
_OUTPUT = "Output"
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
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", "-t", metavar="NAME,...", help="lm-eval tasks.", rich_help_panel=_TASKS),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What speed and quality are compared with [autoregressive]."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Catalogue name, hub id, folder or GGUF file [smollm2-135m-instruct].",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    model_args: Annotated[
        str | None,
        typer.Option(
            "--model-args", "-a", help="As lm-eval: pretrained=...,dtype=...", rich_help_panel=_MODEL
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Hub revision.", rich_help_panel=_MODEL)] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="auto, float32, bfloat16, float16, float64, or int8wo: int8 weights [auto].",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", "-d", help="auto, cpu, cuda, cuda:N [auto].", rich_help_panel=_MODEL),
    ] = None,
    include_path: Annotated[
        str | None, typer.Option(help="Folder with task YAML of your own.", rich_help_panel=_TASKS)
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-L", help="Only the first N documents.", rich_help_panel=_TASKS)
    ] = None,
    num_fewshot: Annotated[
        int | None,
        typer.Option("--num-fewshot", "-f", help="Examples in the prompt.", rich_help_panel=_TASKS),
    ] = None,
    apply_chat_template: Annotated[
        bool | None,
        typer.Option(
            "--apply-chat-template/--no-chat-template", help="Prompt as a chat.", rich_help_panel=_TASKS
        ),
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Instead of each task's own limit.", rich_help_panel=_SAMPLING)
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0 is greedy; instead of the task's.", rich_help_panel=_SAMPLING)
    ] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus mass.", rich_help_panel=_SAMPLING)] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Most likely tokens kept.", rich_help_panel=_SAMPLING)
    ] = None,
    gen_kwargs: Annotated[
        str | None, typer.Option("--gen-kwargs", help="As lm-eval: key=value,...", rich_help_panel=_SAMPLING)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of all sampling [0].", rich_help_panel=_SAMPLING)] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", "-b", help="Sequences decoded together [1].", rich_help_panel=_MEASURE),
    ] = None,
    tensor_parallel: Annotated[
        int | None,
        typer.Option(
            "--tensor-parallel",
            "--tp",
            help="Processes that share a copy of the model (DeepSpeed) [1].",
            rich_help_panel=_PLACE,
        ),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(help="Copies of the model, a prompt at a time each [1].", rich_help_panel=_PLACE),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="local: this process alone; ray: processes that Ray places; auto: as needed [auto].",
            rich_help_panel=_PLACE,
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Ray cluster to join; auto: this machine's.", rich_help_panel=_PLACE
        ),
    ] = None,
    max_retries: Annotated[
        int | None,
        typer.Option(help="Times a prompt is run again whose replica died [2].", rich_help_panel=_PLACE),
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(help="Generations of each prompt [1].", rich_help_panel=_MEASURE)
    ] = None,
    warmup: Annotated[
        int | None, typer.Option(help="Prompts run and discarded first [1].", rich_help_panel=_MEASURE)
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Of torch on the CPU [torch's choice].", rich_help_panel=_MEASURE)
    ] = None,
    sandbox: Annotated[
        str | None,
        typer.Option(
            help="auto, or strict: refuse to run code under limits alone.", rich_help_panel=_MEASURE
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-C", help="YAML of these options; flags override it.")
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Show the configuration and leave.")
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "--output-path", "-o", help="Where runs land [results].", rich_help_panel=_OUTPUT
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Go on with a stopped run: its id, or latest.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    json_: Annotated[
        bool,
        typer.Option("--json", help="metrics.json on stdout, all else on stderr.", rich_help_panel=_OUTPUT),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress, no table.", rich_help_panel=_OUTPUT)
    ] = False,
) -> int:
    """Run strategies on tasks, paired with the baseline; score and report."""
    from lsbench.cli.flags import as_yaml, build_spec
    from lsbench.cli.show import show_outcome

    # What may be given several times is an empty list when it is not given.
    given = {key: value for key, value in context.params.items() if value not in (None, [], ())}
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
