"""Where a run took place, if in more than one process: part of ``manifest.json``."""

from __future__ import annotations

from typing import Literal

from lsbench.spec import Frozen


class HostFacts(Frozen):
    """One machine as it was found."""

    name: str
    cores: int
    gpus: int
    memory_bytes: int


class RankFacts(Frozen):
    """One process that ran the model, or its share of it."""

    replica: int
    rank: int
    """Within its replica."""
    host: str
    threads: int | None = None
    """Threads of torch's CPU operators as they were."""
    gpu: str | None = None
    """Name of its device; None on a CPU."""


class PlacementFacts(Frozen):
    """The processes of one segment of a run."""

    segment: int
    backend: Literal["local", "ray"]
    tensor_parallel: int
    replicas: int
    threads_per_rank: int | None
    shared_cores: bool
    """Whether ranks were known to be more than the cores, or copies than the memories, before they began."""
    hosts: tuple[HostFacts, ...]
    ranks: tuple[RankFacts, ...]

    @property
    def shared(self) -> bool:
        """Whether processes got in each other's way: that was known, or replicas came to lie on one host's
        memory (a CUDA device has its own)."""
        if self.shared_cores:
            return True
        places = {(rank.replica, rank.host) for rank in self.ranks if rank.gpu is None}
        return len(places) > len({host for _, host in places})

    @property
    def words(self) -> str:
        """How many processes, and what each had, in a few words."""
        copies = "1 replica" if self.replicas == 1 else f"{self.replicas} replicas"
        ranks = "1 rank" if self.tensor_parallel == 1 else f"{self.tensor_parallel} ranks"
        threads = self.threads_per_rank
        parts = [f"{copies} of {ranks}", "placed by Ray" if self.backend == "ray" else "in one process"]
        if threads is not None:
            parts.append(f"{threads} thread{'s' if threads != 1 else ''} a rank")
        if self.shared:
            parts.append("sharing cores or memory")
        return ", ".join(parts)

    @property
    def hosts_in_words(self) -> str:
        """Which machines, and which replicas on each."""
        said: list[str] = []
        for host in self.hosts:
            own = sorted({rank.replica for rank in self.ranks if rank.host == host.name})
            gpus = f", {host.gpus} GPU{'s' if host.gpus != 1 else ''}" if host.gpus else ""
            cores = f"{host.cores} core{'s' if host.cores != 1 else ''}"
            which = f": replica {', '.join(map(str, own))}" if own else ": no replica"
            said.append(f"{host.name} ({cores}{gpus}){which}")
        return "; ".join(said)
