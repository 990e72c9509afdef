"""Where the command line begins and ends: arguments in, an exit code out, and no traceback for a user's mistake."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType

from lsbench.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, LsbenchError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; those of the process when None.

    Returns:
        0 done; 2 bad input; 3 a claim failed; 4 some samples failed; 130 interrupted.
    """
    from lsbench.cli.app import app, explain, usage_errors

    given = [_with_hyphens(argument) for argument in (sys.argv[1:] if arguments is None else arguments)]
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = app(given, standalone_mode=False, prog_name="lsbench")
    except usage_errors() as error:
        _say(explain(error))
        return EXIT_BAD_INPUT
    except LsbenchError as error:
        _say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has had enough of it.
        sys.stderr.close()
        return 0
    return code if isinstance(code, int) else 0


def _say(message: str) -> None:
    print(f"lsbench: {message}", file=sys.stderr)


def _with_hyphens(argument: str) -> str:
    """``--max_new_tokens=5`` to ``--max-new-tokens=5``: lm-eval's users write either."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
