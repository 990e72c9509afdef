"""Options that several commands take, each said once."""

from __future__ import annotations

from typing import Annotated

import typer

MODEL = "Model"
TASKS = "Tasks"
SAMPLING = "Generation"
MEASURE = "Measurement"
PLACE = "Shards and replicas"
OUTPUT = "Output"

Tasks = Annotated[
    list[str] | None,
    typer.Option("--tasks", "-t", metavar="NAME,...", help="lm-eval tasks.", rich_help_panel=TASKS),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Catalogue name, hub id, folder or GGUF file \\[smollm2-135m-instruct].",
        rich_help_panel=MODEL,
    ),
]
ModelArgs = Annotated[
    str | None,
    typer.Option("--model-args", "-a", help="As lm-eval: pretrained=...,dtype=...", rich_help_panel=MODEL),
]
Revision = Annotated[str | None, typer.Option(help="Hub revision.", rich_help_panel=MODEL)]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="auto, float32, bfloat16, float16, float64, or int8wo: int8 weights \\[auto].",
        rich_help_panel=MODEL,
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", "-d", help="auto, cpu, cuda, cuda:N \\[auto].", rich_help_panel=MODEL),
]
IncludePath = Annotated[
    str | None, typer.Option(help="Folder with task YAML of your own.", rich_help_panel=TASKS)
]
Data = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="JSON Lines: the prompts of the task jsonl.", rich_help_panel=TASKS),
]
DataPrompt = Annotated[
    str | None,
    typer.Option(metavar="FIELD", help="Of --data: the prompt \\[prompt].", rich_help_panel=TASKS),
]
DataReference = Annotated[
    str | None,
    typer.Option(
        metavar="FIELD",
        help="Of --data: the right text, or a list of such; none: do not score \\[reference].",
        rich_help_panel=TASKS,
    ),
]
DataFewshot = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Examples for --num-fewshot \\[the first lines of --data, set aside].",
        rich_help_panel=TASKS,
    ),
]
NumFewshot = Annotated[
    int | None, typer.Option("--num-fewshot", "-f", help="Examples in the prompt.", rich_help_panel=TASKS)
]
ApplyChatTemplate = Annotated[
    bool | None,
    typer.Option("--apply-chat-template/--no-chat-template", help="Prompt as a chat.", rich_help_panel=TASKS),
]
MaxNewTokens = Annotated[
    int | None, typer.Option(help="Instead of each task's own limit.", rich_help_panel=SAMPLING)
]
TensorParallel = Annotated[
    int | None,
    typer.Option(
        "--tensor-parallel",
        "--tp",
        help="Processes that share a copy of the model (DeepSpeed) [1].",
        rich_help_panel=PLACE,
    ),
]
Replicas = Annotated[
    int | None, typer.Option(help="Copies of the model, a prompt at a time each [1].", rich_help_panel=PLACE)
]
Backend = Annotated[
    str | None,
    typer.Option(
        help="local: this process alone; ray: processes that Ray places; auto: as needed \\[auto].",
        rich_help_panel=PLACE,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="Ray cluster to join; auto: this machine's.", rich_help_panel=PLACE
    ),
]
Threads = Annotated[
    int | None, typer.Option(help="Of torch on the CPU \\[torch's choice].", rich_help_panel=MEASURE)
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output", "--output-path", "-o", help="Where runs land \\[results].", rich_help_panel=OUTPUT
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.", rich_help_panel=OUTPUT)]


def given(parameters: dict[str, object]) -> dict[str, object]:
    """Those of a command's parameters that the user gave.

    What may be given several times is an empty list when it is not given.
    """
    return {key: value for key, value in parameters.items() if value not in (None, [], ())}
