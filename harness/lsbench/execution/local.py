"""The backend of one process: this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lsbench.execution import collector
from lsbench.execution.plan import Placement
from lsbench.records import Bandwidth, LoopTimes, Outlook, RecordKey, SampleRecord, StepCost
from lsbench.spec import GenerateRequest, Request

if TYPE_CHECKING:
    from lsbench.execution.setup import Setup
    from lsbench.execution.worker import Worker
    from lsbench.store.placement import PlacementFacts
    from lsbench.view import ReplicaProgress


class LocalBackend:
    """Runs requests here; ``Backend`` says what each method does.

    Args:
        placement: of one rank.
        view: is told of progress.
    """

    def __init__(self, placement: Placement, view: ReplicaProgress) -> None:
        self._placement = placement
        self._view = view
        self._made: Worker | None = None

    def connect(self, device: str, model_bytes: int | None) -> Placement:
        """One process needs nothing but itself."""
        return self._placement

    def start(self, setup: Setup, warm_up: Sequence[GenerateRequest], folder: Path) -> None:
        """Load the model here; what is printed stays where it is."""
        from lsbench.engine.loading import load_stack, load_tokenizer

        stack = load_stack(setup.folder, setup.dtype, setup.device)
        self._made = setup.worker(stack, load_tokenizer(setup.folder), setup.contenders())
        self._view.stage("Calibrating strategies")
        self._made.prepare()
        self._view.stage("Warming up")
        self._made.warm_up(warm_up)
        collector.settle()

    def unavailable(self) -> dict[str, str]:
        """As the one worker found out."""
        return self._worker.unavailable

    def facts(self) -> tuple[PlacementFacts, ...]:
        """Nothing: the manifest tells of this process as it is."""
        return ()

    def costs(self, typical: GenerateRequest) -> tuple[StepCost, ...]:
        """As the one worker measures it."""
        return self._worker.costs(typical)

    def bandwidth(self) -> Bandwidth | None:
        """As the one worker measures it."""
        return self._worker.bandwidth()

    def loop_times(self, typical: GenerateRequest) -> tuple[LoopTimes, ...]:
        """As the one worker watches them."""
        return self._worker.loop_times(typical)

    def outlooks(self) -> tuple[Outlook, ...]:
        """As the one worker foresees."""
        return self._worker.outlooks()

    def run(
        self,
        requests: Sequence[Request],
        finished: AbstractSet[RecordKey],
        attempts: Mapping[RecordKey, int],
        earlier: Sequence[SampleRecord],
    ) -> Iterator[SampleRecord]:
        """One turn after the other."""
        for record in earlier:
            self._worker.remember(record)
        for turn in self._worker.turns(requests):
            yield from self._worker.run(turn, finished, attempts)

    def remarks(self) -> list[str]:
        """As the one worker makes them."""
        return self._worker.remarks()

    def close(self) -> None:
        """Let go of the model."""
        self._made = None
        collector.unsettle()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _worker(self) -> Worker:
        assert self._made is not None  # started before anything is asked of it
        return self._made
