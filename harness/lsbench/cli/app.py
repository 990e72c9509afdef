"""The commands, put together. Importing this imports nothing heavy: each command does that when it runs."""

from __future__ import annotations

import re
from typing import Annotated

import typer

import lsbench
from lsbench.cli.check_strategy import check_strategy
from lsbench.cli.compare import compare
from lsbench.cli.doctor import doctor
from lsbench.cli.generate import generate
from lsbench.cli.inspect import inspect
from lsbench.cli.listing import ls
from lsbench.cli.report import report
from lsbench.cli.run import run
from lsbench.cli.tune import tune
from lsbench.errors import nearest

app = typer.Typer(
    name="lsbench",
    help=(
        "Does running fewer layers per token make this model faster on this machine, "
        "and what does it cost in quality?"
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    if version:
        print(f"lsbench {lsbench.__version__}")
        raise typer.Exit


app.command()(run)
app.command()(tune)
app.command()(generate)
app.command()(compare)
app.command()(inspect)
app.command()(report)
app.command("check-strategy")(check_strategy)
app.command()(doctor)
app.add_typer(ls, name="ls")

_COMMANDS = (
    "run",
    "tune",
    "generate",
    "compare",
    "inspect",
    "report",
    "check-strategy",
    "doctor",
    "ls",
    "strategies",
    "tasks",
    "models",
    "runs",
)
_KNOWN = "Known: run, tune, generate, compare, inspect, report, check-strategy, doctor, ls"


def explain(error: Exception) -> str:
    """A usage error in one line, with the nearest command where one was misspelt."""
    message = str(getattr(error, "format_message", error.__str__)()).rstrip(".")
    found = re.match(r"No such command '([^']*)'", message)
    if found:
        close = nearest(found[1], _COMMANDS)
        return f"No such command {found[1]!r}. " + (f"Did you mean {close!r}?" if close else _KNOWN)
    return message


def usage_errors() -> tuple[type[Exception], ...]:
    """What typer raises for a command line it cannot read."""
    return _CLICK_ERRORS


def _click_exception() -> type[Exception]:
    """typer's base of usage errors, whether it brings click along or imports it."""
    return next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")


_CLICK_ERRORS = (_click_exception(),)
