"""Ctrl-C, and being told to terminate, stop a run wherever it is.

Python raises the interruption in whatever runs at that moment, and that may be code of others which swallows
it: a module that is being loaded, a callback. It is therefore remembered, and raised again at the next word
about how far the run has come.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_asked: list[int] = []
"""The signals that came since ``interruptible`` began."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it both signals raise ``KeyboardInterrupt``; Ctrl-C does not where it is to be ignored."""
    _asked.clear()
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, _interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class CtrlC(KeyboardInterrupt):
    """Ctrl-C where it does not mean the program; whoever offers ``ctrl_c`` catches it."""


@contextmanager
def ctrl_c(kept: int) -> Iterator[Callable[[], bool]]:
    """Within it the first presses of Ctrl-C are kept for whoever asks; one more raises ``CtrlC`` at once.

    Where Ctrl-C is to be ignored it still is. Being told to terminate is not kept.

    Args:
        kept: how many presses.

    Yields:
        whether any was kept.
    """
    if signal.getsignal(signal.SIGINT) is not _interrupt:
        yield lambda: False
        return
    presses: list[int] = []

    def press(number: int, frame: FrameType | None) -> None:
        if len(presses) == kept:
            raise CtrlC
        presses.append(number)

    signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(presses)
    finally:
        signal.signal(signal.SIGINT, _interrupt)


def raise_again() -> None:
    """Raise ``KeyboardInterrupt`` if one was asked for: whoever goes on has not heard of it."""
    if _asked:
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    _asked.append(number)
    raise KeyboardInterrupt
