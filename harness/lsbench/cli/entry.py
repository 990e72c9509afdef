"""Where the command line begins and ends: arguments in, an exit code out, no traceback for a mistake."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from lsbench.cli.interruption import interruptible
from lsbench.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_INTERRUPTED, LsbenchError

_EXIT_UNREAD = 1
"""As click and rich leave when nobody reads on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; those of the process when None.

    Returns:
        0 done; 2 bad input; 3 a claim failed; 4 some samples failed; 130 interrupted;
        1 when nobody read the output to its end.
    """
    given = [_with_hyphens(argument) for argument in (sys.argv[1:] if arguments is None else arguments)]
    try:
        with interruptible():
            code = _run(given)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has had enough of it; Python would complain once more on leaving.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_UNREAD


def _run(arguments: list[str]) -> int:
    from lsbench.cli.app import app, explain, usage_errors

    try:
        code = app(arguments, standalone_mode=False, prog_name="lsbench")
    except usage_errors() as error:
        _say(explain(error))
        return EXIT_BAD_INPUT
    except LsbenchError as error:
        _say(str(error))
        return error.exit_code
    if code == EXIT_INTERRUPTED:  # what typer makes of a KeyboardInterrupt
        _say("interrupted")
    return code if isinstance(code, int) else EXIT_DONE


def _say(message: str) -> None:
    """One line, whatever a library's own message held."""
    print("lsbench:", " ".join(message.split()), file=sys.stderr)


def _with_hyphens(argument: str) -> str:
    """``--max_new_tokens=5`` to ``--max-new-tokens=5``: lm-eval's users write either."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value
