"""Who is told how far something has come; ``report`` has those that show it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told of what cannot be counted, of preparations, and of what must be known."""

    def stage(self, text: str) -> None:
        """What is being done where nothing is counted: loading, caching references, measuring costs."""
        ...

    def update(self, stage: str, done: int, total: int | None) -> None:
        """How far a download or conversion has come."""
        ...

    def note(self, text: str) -> None:
        """Something the reader of the results must know."""
        ...


class ReplicaProgress(Progress, Protocol):
    """Told besides of every copy of the model."""

    def replica(
        self,
        index: int,
        state: str,
        task: str | None,
        doc_id: int | None,
        tokens_per_second: float | None,
        ranks: int,
    ) -> None:
        """What one copy of the model is doing: starting, running, idle, restarting or lost.

        Task and document are those in hand, tokens per second its latest; ``ranks`` share the copy.
        """
        ...


class View(ReplicaProgress, Protocol):
    """Told how far a run has come; ``report.live.LiveView`` is one."""

    def start(self, total_requests: int, done_already: int = 0) -> None:
        """The counting of requests begins."""
        ...

    def request_done(
        self,
        task: str,
        doc_id: int,
        strategy: str,
        tokens_per_second: float | None = None,
        speedup: float | None = None,
        layers: float | None = None,
        failed: bool = False,
    ) -> None:
        """One request is finished under one strategy."""
        ...
