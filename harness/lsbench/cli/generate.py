"""``lsbench generate``: one prompt, or a conversation, continued under one strategy and shown as it comes."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsbench.cli import options
from lsbench.errors import EXIT_DONE, EXIT_INTERRUPTED, BadInput

if TYPE_CHECKING:
    from lsbench.completion import Completer, CompletionSpec

_NOT_FIELDS = ("prompt", "strategy", "interactive", "json_", "quiet")
_STDIN = "-"


def generate(
    context: typer.Context,
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="[PROMPT]", help="What to continue; - (or nothing, in a pipe) reads it from stdin."
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy", "-s", metavar="NAME[:key=value,...]", help="How to decode \\[autoregressive]."
        ),
    ] = None,
    interactive: Annotated[
        bool,
        typer.Option(
            "--interactive", "-i", help="Talk: each line is a message, answered with the chat template."
        ),
    ] = False,
    model: options.Model = None,
    revision: options.Revision = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    threads: options.Threads = None,
    apply_chat_template: options.ApplyChatTemplate = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="At most \\[256].", rich_help_panel=options.SAMPLING)
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0 is greedy \\[0].", rich_help_panel=options.SAMPLING)
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Nucleus mass.", rich_help_panel=options.SAMPLING)
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Most likely tokens kept.", rich_help_panel=options.SAMPLING)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of all sampling [0].", rich_help_panel=options.SAMPLING)
    ] = None,
    json_: Annotated[
        bool,
        typer.Option(
            "--json",
            help="The record, as in samples.jsonl, on stdout; the text on stderr.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="The text alone.", rich_help_panel=options.OUTPUT)
    ] = False,
) -> int:
    """Continue a prompt under a strategy and watch: tokens coloured by how they were made, their speed."""
    from lsbench.cli.interruptible_view import InterruptibleView
    from lsbench.completion import ChatTurn, check, open_model

    if interactive and json_:
        raise BadInput("--json is one record and --interactive a conversation; leave one out")
    if interactive and prompt == _STDIN:
        raise BadInput("--interactive reads its messages from stdin; leave out the prompt -")
    spec = _spec(context.params)
    first = prompt if interactive else _prompt(prompt)
    if first is not None and not first.strip():
        raise BadInput("The prompt is empty; write some text")
    contender = check(spec)
    with InterruptibleView(quiet=quiet) as view, redirect_stdout(sys.stderr):
        completer = open_model(spec, contender, view)
        if first is not None:
            completer.request([ChatTurn("user", first)])  # one too long is told before the weights load
        completer.load(view)
    if interactive:
        from lsbench.cli.conversation import converse

        return converse(completer, first, quiet)
    assert first is not None  # asked for above
    return _answer(completer, first, json_, quiet)


def _spec(parameters: dict[str, Any]) -> CompletionSpec:
    from pydantic import ValidationError

    from lsbench.cli.flags import explained
    from lsbench.completion import CompletionSpec
    from lsbench.spec import parse_strategy

    given = options.given(parameters)
    fields = {key: value for key, value in given.items() if key not in _NOT_FIELDS}
    if parameters["strategy"] is not None:
        fields["strategy"] = parse_strategy(parameters["strategy"])
    if parameters["interactive"]:
        if fields.get("apply_chat_template") is False:
            raise BadInput("--interactive answers with the chat template; leave out --no-chat-template")
        fields["apply_chat_template"] = True
    try:
        return CompletionSpec.model_validate(fields)
    except ValidationError as error:
        raise explained(error) from error


def _prompt(given: str | None) -> str:
    """The prompt; from standard input without the line break that a shell's ``echo`` ends it with."""
    if given is not None and given != _STDIN:
        return given
    if given is None and sys.stdin.isatty():
        raise BadInput('No prompt given; write lsbench generate "TEXT", pipe it in, or add -i to talk')
    try:
        return sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise BadInput(f"The prompt on stdin is not text: {error}") from error


def _answer(completer: Completer, prompt: str, as_json: bool, quiet: bool) -> int:
    from lsbench.cli.answering import answer
    from lsbench.completion import ChatTurn

    # Without --quiet a record's text is shown, where a run's progress would be.
    stream = sys.stderr if as_json else sys.stdout
    given = answer(completer, [ChatTurn("user", prompt)], None if as_json and quiet else stream, quiet)
    if given.record is None:
        return EXIT_INTERRUPTED
    if as_json:
        print(given.record.model_dump_json(by_alias=True), flush=True)
    return EXIT_DONE
