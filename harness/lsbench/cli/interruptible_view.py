"""The progress view of a run that can be stopped."""

from __future__ import annotations

from lsbench.cli.interruption import raise_again
from lsbench.report.live import LiveView


class InterruptibleView(LiveView):
    """A view that an interruption gets no further than."""

    def stage(self, text: str) -> None:
        """As ``LiveView``; raises ``KeyboardInterrupt`` if one was asked for and is still not heard."""
        raise_again()
        super().stage(text)

    def replica(
        self,
        index: int,
        state: str,
        task: str | None,
        doc_id: int | None,
        tokens_per_second: float | None,
        ranks: int,
    ) -> None:
        """As ``LiveView``; raises ``KeyboardInterrupt`` if one was asked for and is still not heard."""
        super().replica(index, state, task, doc_id, tokens_per_second, ranks)
        raise_again()

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
        """As ``LiveView``; raises ``KeyboardInterrupt`` if one was asked for and is still not heard."""
        super().request_done(task, doc_id, strategy, tokens_per_second, speedup, layers, failed)
        raise_again()
