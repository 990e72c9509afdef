"""Where the model runs, as a run sees it: one interface over this process and over a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from lsbench.records import Bandwidth, LoopTimes, Outlook, RecordKey, SampleRecord, StepCost
from lsbench.spec import GenerateRequest, Request

if TYPE_CHECKING:
    from types import TracebackType

    from lsbench.execution.plan import Placement
    from lsbench.execution.setup import Setup
    from lsbench.spec import RunSpec
    from lsbench.store.placement import PlacementFacts
    from lsbench.view import ReplicaProgress


class Backend(Protocol):
    """Runs requests somewhere; a context manager that ends everything it started.

    Its methods are called in the order they stand here.
    """

    def connect(self, device: str, model_bytes: int | None) -> Placement:
        """Find out what there is to run on; nothing of the model is loaded.

        Args:
            device: resolved.
            model_bytes: of the weights of one copy; None where that is not known.

        Returns:
            what each rank may use.

        Raises:
            BadInput: it cannot be reached, or more was asked for than there is.
        """
        ...

    def start(self, setup: Setup, warm_up: Sequence[GenerateRequest], folder: Path) -> None:
        """Load the model wherever it runs, let every strategy calibrate, and run and discard a few tokens.

        Args:
            setup: the model, and who decodes with it.
            warm_up: what a few tokens are run of under everyone.
            folder: of the run; what processes print goes to ``logs`` in it, where there is something.

        Raises:
            BadInput: the weights cannot be read, a strategy cannot calibrate, or the baseline cannot run.
            LsbenchError: a process died, again and again.
        """
        ...

    def unavailable(self) -> dict[str, str]:
        """Which strategies cannot run on this model or machine, by label, and why; they take no part."""
        ...

    def facts(self) -> tuple[PlacementFacts, ...]:
        """Which processes run the model, and where; nothing where this one does."""
        ...

    def costs(self, typical: GenerateRequest) -> tuple[StepCost, ...]:
        """What the parts of a step cost, on one copy of the model while any others wait."""
        ...

    def bandwidth(self) -> Bandwidth | None:
        """What memory gives one rank of that copy; None for a model that caches hold."""
        ...

    def loop_times(self, typical: GenerateRequest) -> tuple[LoopTimes, ...]:
        """What those who warmed up in loops of their own spend their time on, on that copy."""
        ...

    def outlooks(self) -> tuple[Outlook, ...]:
        """What that copy foresees of strategies that can be told beforehand."""
        ...

    def run(
        self,
        requests: Sequence[Request],
        finished: AbstractSet[RecordKey],
        attempts: Mapping[RecordKey, int],
        earlier: Sequence[SampleRecord],
    ) -> Iterator[SampleRecord]:
        """Run every request under everyone who has not finished it.

        Args:
            requests: in the order in which they are begun.
            finished: what need not be run again.
            attempts: the last failed attempt at a request, where there was one.
            earlier: records of earlier processes of the run, which outputs are compared with.

        Yields:
            records as ``Worker.run`` does, each as soon as it is finished. All of one request come from the
            same copy of the model unless that died in between.
        """
        ...

    def remarks(self) -> list[str]:
        """What a reader of the results should know of how it went, in words."""
        ...

    def close(self) -> None:
        """End everything that was started; may be called at any time, and again."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def backend_for(spec: RunSpec, view: ReplicaProgress) -> Backend:
    """The backend that a run asks for; ``auto`` needs no Ray for one process. Nothing is started.

    Args:
        spec: what was asked.
        view: is told of progress.

    Raises:
        BadInput: Ray is asked for and is missing, of another version than lsbench needs, or not where it was
            said to be.
    """
    from lsbench.execution.plan import place

    placement = place(spec)
    if placement.backend == "local":
        from lsbench.execution.local import LocalBackend

        return LocalBackend(placement, view)
    from lsbench.execution.cluster.backend import ClusterBackend

    return ClusterBackend(placement, view, address=spec.ray_address, max_retries=spec.max_retries)
