"""How long work tells what it has done, without knowing who draws it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tqdm.asyncio import tqdm_asyncio


class Progress(Protocol):
    """Whoever wants to know how far a preparation has come; the command line draws a bar."""

    def update(self, stage: str, done: int, total: int | None) -> None:
        """Take note of progress.

        Args:
            stage: what is being done, in words fit for a person, such as ``"Downloading ..."``.
            done: how much of it is done: bytes, tensors or files, whichever the stage counts.
            total: how much there is in the same unit, or None when that is not known.
        """
        ...


class Silent:
    """The progress of someone who does not want to know."""

    def update(self, stage: str, done: int, total: int | None) -> None:
        """Do nothing."""


SILENT = Silent()


def reporting_bar(report: Callable[[int, int | None], None]) -> type[tqdm_asyncio]:
    """A tqdm class for byte counts that calls ``report(done, total)`` where tqdm would draw.

    Bars that count anything else than bytes are silent.

    Args:
        report: called at tqdm's own pace, a few times a second, and once at the end.
    """
    from tqdm.asyncio import tqdm_asyncio

    class ReportingBar(tqdm_asyncio):
        def __init__(self, *args: object, **kwargs: object) -> None:
            kwargs.pop("name", None)  # the hub gives its bars a group name that plain tqdm refuses
            kwargs.update(file=io.StringIO(), disable=False)
            super().__init__(*args, **kwargs)  # pyright: ignore[reportArgumentType, reportCallIssue]

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            if self.unit == "B":
                report(int(self.n), None if not self.total else int(self.total))

    return ReportingBar
