"""One answer, shown as it comes, which Ctrl-C stops."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from lsbench.cli.interruption import CtrlC, ctrl_c

if TYPE_CHECKING:
    from lsbench.completion import ChatTurn, Completer
    from lsbench.records import SampleRecord
    from lsbench.report.answer_pace import Written


@dataclass(frozen=True)
class Given:
    """An answer as far as it came.

    Attributes:
        text: what was written.
        record: of the whole; None where it was stopped.
    """

    text: str
    record: SampleRecord | None


def answer(completer: Completer, turns: Sequence[ChatTurn], stream: TextIO | None, quiet: bool) -> Given:
    """Continue a prompt or a conversation.

    A first Ctrl-C is heard when the next token is out, where nothing is left half done; a second one at once.

    Args:
        completer: its weights loaded.
        turns: as ``Completer.request`` takes them.
        stream: where it is shown; None for nowhere.
        quiet: the text alone.

    Raises:
        BadInput: there is no room for an answer.
        LsbenchError: the strategy broke its contract.
    """
    from lsbench.report.answer_view import answer_view

    request = completer.request(turns)
    view = answer_view(stream if stream is not None else io.StringIO(), completer.num_layers, quiet)
    pieces: list[str] = []
    remark = "failed"
    with ctrl_c(kept=1) as asked:

        def take(token: Written) -> None:
            pieces.append(token.text)
            view.take(token)
            if asked():
                raise CtrlC

        try:
            # A strategy may print what nobody asked for.
            with redirect_stdout(sys.stderr):
                record = completer.complete(request, take)
            stop = record.stop_reason or ""
            remark = f"ended by {stop.replace('_', ' ')}"
        except CtrlC:
            record, remark = None, "stopped by Ctrl-C"
        finally:
            view.end(remark)
    return Given("".join(pieces), record)
