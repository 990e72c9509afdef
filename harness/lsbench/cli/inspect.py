"""``lsbench inspect``: what each layer predicts, and what strategies can hope for on a checkpoint."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsbench.cli import options
from lsbench.errors import BadInput

if TYPE_CHECKING:
    from lsbench.insight.spec import InspectSpec


def inspect(
    context: typer.Context,
    text: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]", help="A prompt to continue.", show_default=False)
    ] = None,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", "-p", help="Likewise; repeatable.")] = None,
    tasks: options.Tasks = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-L", help="Documents of each task [5].", rich_help_panel=options.TASKS),
    ] = None,
    include_path: options.IncludePath = None,
    data: options.Data = None,
    data_prompt: options.DataPrompt = None,
    data_reference: options.DataReference = None,
    data_fewshot: options.DataFewshot = None,
    num_fewshot: options.NumFewshot = None,
    apply_chat_template: options.ApplyChatTemplate = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens that the model writes after each [48].", rich_help_panel=options.SAMPLING),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of few-shot examples [0].", rich_help_panel=options.TASKS)
    ] = None,
    model: options.Model = None,
    model_args: options.ModelArgs = None,
    revision: options.Revision = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    threads: options.Threads = None,
    output: options.Output = None,
    json_: Annotated[
        bool,
        typer.Option(
            "--json", help="inspect.json on stdout, all else on stderr.", rich_help_panel=options.OUTPUT
        ),
    ] = False,
    quiet: options.Quiet = False,
) -> int:
    """Look inside a model: what each layer predicts, and what strategies can hope for.

    The model continues each prompt greedily and is run over its own text once more: which layer predicts the
    final token first, how much each sub-layer changes, and the best speed that follows for each strategy.

    lsbench inspect "def fibonacci(n):"

    lsbench inspect --tasks humaneval --limit 5
    """
    spec = _spec(options.given(context.params))
    from lsbench.evaluation.own_data import check_data
    from lsbench.insight.inspect import check

    check(spec)
    if spec.run.tasks:
        check_data(spec.run)
    from lsbench.cli.interruptible_view import InterruptibleView
    from lsbench.insight.inspect import inspect as look_inside
    from lsbench.report.inspect_page import write_page

    with InterruptibleView(quiet=quiet) as view, redirect_stdout(sys.stderr):
        inspection, folder = look_inside(spec, view)
        page = write_page(inspection, folder)
    if json_:
        sys.stdout.write(inspection.model_dump_json(indent=1, by_alias=True) + "\n")
        sys.stdout.flush()
    if quiet:
        if not json_:
            print(folder)
        return 0
    from rich.console import Console

    from lsbench.report.inspect_screen import InspectionScreen

    console = Console(stderr=json_)
    console.print(InspectionScreen(inspection))
    console.print(f"Page: {page}", highlight=False, soft_wrap=True)
    return 0


def _spec(given: dict[str, Any]) -> InspectSpec:
    """Raises ``BadInput`` for neither prompt nor task, for both, and for what a run would refuse."""
    from lsbench.cli.flags import build_spec
    from lsbench.evaluation.own_data import OF_DATA
    from lsbench.insight.spec import DEFAULT_LIMIT, DEFAULT_NEW_TOKENS, InspectSpec

    prompts = (*given.pop("text", ()), *given.pop("prompt", ()))
    for name in ("json_", "quiet"):
        given.pop(name, None)
    tasks = given.get("tasks")
    if prompts and tasks:
        raise BadInput("A prompt and --tasks exclude each other; leave one out")
    if not prompts and not tasks:
        raise BadInput(
            'Nothing to look at; give a prompt, lsbench inspect "TEXT", or --tasks NAME '
            "(`lsbench ls tasks` lists them)"
        )
    if prompts:
        of_tasks = ("limit", "num_fewshot", "include_path", *OF_DATA)
        given_only_for_tasks = next((name for name in of_tasks if name in given), None)
        if given_only_for_tasks is not None:
            flag = "--" + given_only_for_tasks.replace("_", "-")
            raise BadInput(f"{flag} is for --tasks, and has no effect on a prompt; leave it out")
        # The spec of a run names a task; that of a look at prompts does not.
        given["tasks"] = ["prompt"]
    else:
        given.setdefault("limit", DEFAULT_LIMIT)
    given.setdefault("max_new_tokens", DEFAULT_NEW_TOKENS)
    run = build_spec(given)
    return InspectSpec(run=run.model_copy(update={"tasks": ()}) if prompts else run, prompts=prompts)
