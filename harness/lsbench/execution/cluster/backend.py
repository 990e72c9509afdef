"""The backend of a cluster: Ray places the processes, this one hands out requests and takes records."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lsbench.errors import BadInput
from lsbench.execution.cluster.bench import Bench
from lsbench.execution.cluster.dispatch import Dispatch
from lsbench.execution.cluster.group import Group
from lsbench.execution.cluster.patience import Patience
from lsbench.execution.cluster.requirement import check_ray
from lsbench.execution.cluster.session import RaySession, check_listens
from lsbench.execution.leftovers import Ledger
from lsbench.execution.plan import Placement, Resources, fit
from lsbench.execution.turns import turns
from lsbench.records import Bandwidth, LoopTimes, Outlook, RecordKey, SampleRecord, StepCost
from lsbench.spec import GenerateRequest, Request
from lsbench.store.placement import HostFacts, PlacementFacts, RankFacts

if TYPE_CHECKING:
    from lsbench.execution.setup import Setup
    from lsbench.view import ReplicaProgress

_ROOM_S = 60.0
"""How long a cluster that others use too may take to make room."""


class ClusterBackend:
    """Runs requests on replicas of the model; ``Backend`` says what each method does.

    Args:
        placement: from ``place``.
        view: is told of progress.
        address: of a Ray cluster to join; None starts Ray on this host.
        max_retries: how often what a lost replica had in hand is run again.
        patience: how long a replica may be silent before it counts as lost.

    Raises:
        BadInput: Ray is missing, of another version, or nothing listens at the address.
    """

    def __init__(
        self,
        placement: Placement,
        view: ReplicaProgress,
        address: str | None = None,
        max_retries: int = 2,
        patience: Patience | None = None,
    ) -> None:
        check_ray()
        if address is not None:
            check_listens(address)
        self._placement, self._view, self._address = placement, view, address
        self._max_retries, self._patience = max_retries, patience or Patience()
        self._session: RaySession | None = None
        self._ledger: Ledger | None = None
        self._resources = Resources(())
        self._rooms: list[Any] = []
        self._groups: list[Group] = []
        self._setup: Setup | None = None
        self._logs: Path | None = None
        self._made: Dispatch | None = None

    def connect(self, device: str, model_bytes: int | None) -> Placement:
        """Start Ray, or join a cluster."""
        self._view.stage("Starting Ray" if self._address is None else f"Joining Ray at {self._address}")
        with contextlib.suppress(OSError):  # without a cache folder a killed run is not cleaned up after
            self._ledger = Ledger.open(time.strftime("begun %Y-%m-%d %H:%M"))
        self._session = RaySession(self._address, self._ledger)
        self._resources = self._session.resources()
        self._placement = fit(self._placement, self._resources, device, model_bytes)
        return self._placement

    def start(self, setup: Setup, warm_up: Sequence[GenerateRequest], folder: Path) -> None:
        """Make room, start every replica, and wait until all are ready."""
        assert self._session is not None  # connected before
        self._setup, self._logs = setup, (folder / "logs").absolute()
        self._logs.mkdir(exist_ok=True)
        size = self._placement.tensor_parallel
        self._rooms = [self._room() for _ in range(self._placement.replicas)]
        until = time.monotonic() + _ROOM_S
        for room in self._rooms:
            if not room.wait(max(1.0, until - time.monotonic())):
                raise BadInput(
                    f"The Ray cluster has no room for {self._placement.ranks} processes now: others use it; "
                    "wait, or ask for fewer"
                )
        self._groups = [
            Group(index, size, room, self._session, self._ledger, self._logs)
            for index, room in enumerate(self._rooms)
        ]
        self._made = Dispatch(
            self._groups, setup, warm_up, self._max_retries, self._patience, self._view, self._logs
        )
        self._made.start()

    def unavailable(self) -> dict[str, str]:
        """On any of the replicas."""
        return self._dispatch.unavailable

    def facts(self) -> tuple[PlacementFacts, ...]:
        """Which processes run the model, and where."""
        assert self._setup is not None  # started before
        placement = self._placement
        hosts = tuple(
            HostFacts(name=host.name, cores=host.cores, gpus=host.gpus, memory_bytes=host.memory_bytes)
            for host in self._resources.hosts
        )
        ranks = tuple(
            RankFacts(
                replica=group.index,
                rank=rank,
                host=group.wheres[rank].host,
                threads=loaded.threads,
                gpu=loaded.gpu,
            )
            for group in self._groups
            for rank, loaded in sorted(group.loaded.items())
        )
        return (
            PlacementFacts(
                segment=self._setup.segment,
                backend="ray",
                tensor_parallel=placement.tensor_parallel,
                replicas=placement.replicas,
                threads_per_rank=placement.threads_per_rank,
                shared_cores=placement.shared_cores,
                hosts=hosts,
                ranks=ranks,
            ),
        )

    def costs(self, typical: GenerateRequest) -> tuple[StepCost, ...]:
        """On the first replica that is there."""
        costs: tuple[StepCost, ...] = self._dispatch.first("costs", typical)
        layers = next(loaded.num_layers for group in self._groups for loaded in group.loaded.values())
        self._patience.measured(costs, layers)
        return costs

    def bandwidth(self) -> Bandwidth | None:
        """On the first replica that is there, its ranks all at once."""
        return self._dispatch.first("bandwidth")

    def loop_times(self, typical: GenerateRequest) -> tuple[LoopTimes, ...]:
        """On the first replica that is there, its ranks all at once."""
        return self._dispatch.first("loop_times", typical)

    def outlooks(self) -> tuple[Outlook, ...]:
        """On the first replica that is there, its ranks all at once."""
        return self._dispatch.first("outlooks")

    def run(
        self,
        requests: Sequence[Request],
        finished: AbstractSet[RecordKey],
        attempts: Mapping[RecordKey, int],
        earlier: Sequence[SampleRecord],
    ) -> Iterator[SampleRecord]:
        """Every turn on the replica that is free first."""
        assert self._setup is not None  # started before
        whole = turns(requests, self._setup.batch_size)
        return self._dispatch.run(whole, finished, attempts, earlier)

    def benches(self) -> tuple[Bench, ...]:
        """Each replica, started, by itself: for one strategy after the other, in place of ``run``."""
        assert self._setup is not None  # started before
        assert self._logs is not None
        alone = self._setup.model_copy(update={"others": ()})
        return tuple(
            Bench(group, alone, self._patience, self._view, self._logs / "lost.log") for group in self._groups
        )

    def remarks(self) -> list[str]:
        """As a worker makes them, and what was lost on the way."""
        lost = [
            f"{reason}{f' ({times} times)' if times > 1 else ''}: what it had in hand was run again."
            for reason, times in self._dispatch.losses.items()
        ]
        if not any(group.state == "idle" for group in self._groups):
            return lost
        return [*self._dispatch.first("remarks"), *self._giving_way(), *lost]

    def _giving_way(self) -> list[str]:
        ranks = [(group, rank, loaded) for group in self._groups for rank, loaded in group.loaded.items()]
        hosts = {
            group.wheres[rank].host for group, rank, loaded in ranks if loaded.niceness > max(0, os.nice(0))
        }
        return [
            f"On {host} Ray lets other work go before its processes, so times rise with the load: start it "
            "with the environment variable RAY_worker_niceness=0."
            for host in sorted(hosts)
        ]

    def close(self) -> None:
        """End every process, leave Ray, and delete what is left of both."""
        groups, rooms, session, ledger = self._groups, self._rooms, self._session, self._ledger
        self._groups, self._rooms, self._session, self._ledger, self._made = [], [], None, None, None
        try:
            for group in groups:
                group.end()
            for room in rooms:
                _give_back(room)
        finally:
            try:
                if session is not None:
                    session.close(self._logs)
            finally:
                if ledger is not None:
                    ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _dispatch(self) -> Dispatch:
        assert self._made is not None  # started before
        return self._made

    def _room(self) -> Any:
        """A bundle for each rank of a replica; on one host where any has room for all of them."""
        from ray.util import placement_group

        size, cores, gpus = self._placement.tensor_parallel, self._cores(), self._placement.gpus_per_rank
        bundle = {"CPU": cores, **({"GPU": gpus} if gpus else {})}
        whole = sum(
            min(int(host.cores / (cores * size)), host.gpus // (gpus * size) if gpus else host.cores)
            for host in self._resources.hosts
        )
        strategy = "STRICT_PACK" if whole >= self._placement.replicas else "PACK"
        return placement_group([bundle] * size, strategy=strategy)

    def _cores(self) -> float:
        """Of Ray's, that a rank reserves: as many as its threads, or the share it gets where that is less."""
        ranks, threads = self._placement.ranks, self._placement.threads_per_rank or 1
        if sum(host.cores // threads for host in self._resources.hosts) >= ranks:
            return float(threads)
        return next(
            int(1e4 / part) / 1e4
            for part in count(1)
            if sum(host.cores * part for host in self._resources.hosts) >= ranks
        )


def _give_back(room: Any) -> None:
    from ray.util import remove_placement_group

    with contextlib.suppress(Exception):  # Ray is gone, and the room with it
        remove_placement_group(room)
