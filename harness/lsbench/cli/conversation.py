"""``lsbench generate --interactive``: messages in, answers out, until there are no more.

Every answer continues the whole conversation in a session of its own: a strategy begins with an empty cache,
as in a run, so that each answer's figures are those of one request, its prefill included.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from lsbench.cli.answering import answer
from lsbench.cli.interruption import CtrlC, ctrl_c
from lsbench.errors import EXIT_DONE, BadInput, LsbenchError, unknown

if TYPE_CHECKING:
    from lsbench.completion import ChatTurn, Completer

_ASKS = "> "
_HELP = "Write a message; /new forgets the conversation, /exit or Ctrl-D leaves, Ctrl-C stops an answer."
_AGAIN = "Ctrl-C once more leaves."
_COMMANDS = ("/new", "/exit")


def converse(completer: Completer, first: str | None, quiet: bool) -> int:
    """Talk until the input ends, ``/exit``, or two presses of Ctrl-C with no message between them.

    Args:
        completer: its weights loaded.
        first: message, if there is one already.
        quiet: the answers alone.

    Returns:
        the exit code, 0.
    """
    turns: list[ChatTurn] = []
    message = first
    pressed = False
    """Whether Ctrl-C was the last thing that came."""
    if not quiet and sys.stdin.isatty():
        _say(_HELP)
    while True:
        if message is None:
            try:
                with ctrl_c(kept=0):
                    message = _read(quiet)
            except CtrlC:
                _say("")
                if pressed:
                    return EXIT_DONE
                pressed = True
                _say(_AGAIN)
                continue
        if message is None or message.strip() == "/exit":
            return EXIT_DONE
        asked, message, pressed = message.strip(), None, False
        if asked == "/new":
            turns.clear()
        elif asked.startswith("/"):
            _say(str(unknown("command", asked, _COMMANDS)))
        elif asked:
            pressed = _exchange(completer, turns, asked, quiet)


def _exchange(completer: Completer, turns: list[ChatTurn], message: str, quiet: bool) -> bool:
    """One message and its answer, which join the conversation; whether the answer was stopped.

    What was written of an answer that was stopped stays in the conversation, as it does on the screen. A
    message that cannot be answered does not join.
    """
    from lsbench.completion import ChatTurn

    asked = ChatTurn("user", message)
    try:
        given = answer(completer, [*turns, asked], sys.stdout, quiet)
    except BadInput as error:
        _say(f"{error} /new begins a new conversation.")
        return False
    except LsbenchError as error:
        _say(str(error))
        return False
    turns.extend((asked, ChatTurn("assistant", given.text)))
    stopped = given.record is None
    if stopped and not quiet:
        _say(_AGAIN)
    return stopped


def _read(quiet: bool) -> str | None:
    """The next message; None when there are no more. A person is asked for it, with a line to edit."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        return line or None
    if not sys.stdout.isatty():
        # ``input`` would ask on standard output, which holds answers alone.
        print(_ASKS, end="", file=sys.stderr, flush=True)
        return sys.stdin.readline() or None
    with suppress(ImportError):  # ``input`` edits lines with it from then on
        import readline  # noqa: F401
    try:
        return input(_ASKS)
    except EOFError:
        _say("")
        return None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
