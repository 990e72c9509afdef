"""Ctrl-C, and being told to terminate, stop a run wherever it is.

Python raises the interruption in whatever runs at that moment, and that may be code of others which swallows
it: a module that is being loaded, a callback. It is therefore remembered, and raised again at the next word
about how far the run has come.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
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


def raise_again() -> None:
    """Raise ``KeyboardInterrupt`` if one was asked for: whoever goes on has not heard of it."""
    if _asked:
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    _asked.append(number)
    raise KeyboardInterrupt
