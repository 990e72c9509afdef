"""Where a run takes place: pure, from what was asked and from what the machines have.

``place`` says what can be said of the command alone; ``fit`` looks at the machines that were found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from lsbench.errors import BadInput
from lsbench.spec import RunSpec

SHARED_BUFFER_BYTES = 72 << 20
"""What DeepSpeed's all-reduce on a CPU takes of ``/dev/shm`` for one rank, and some (0.19.8: 69 MB)."""


@dataclass(frozen=True)
class Host:
    """One machine, as far as it may be used.

    Attributes:
        name: what people call it.
        cores: logical cores.
        gpus: CUDA devices.
        memory_bytes: that ranks may fill.
        shared_memory_bytes: free in ``/dev/shm``; None where that is not known.
    """

    name: str
    cores: int
    gpus: int
    memory_bytes: int
    shared_memory_bytes: int | None = None


@dataclass(frozen=True)
class Resources:
    """Every machine that ranks may be placed on."""

    hosts: tuple[Host, ...]

    @property
    def cores(self) -> int:
        """Of all hosts."""
        return sum(host.cores for host in self.hosts)

    @property
    def gpus(self) -> int:
        """Of all hosts."""
        return sum(host.gpus for host in self.hosts)


@dataclass(frozen=True)
class Placement:
    """How many processes run the model, where, and what each may use.

    Attributes:
        backend: this process alone, or processes that Ray places.
        tensor_parallel: ranks that share one copy of the model.
        replicas: copies of the model.
        batch_size: sequences decoded together.
        threads_per_rank: threads of torch's CPU operators in each rank; None leaves torch's own choice.
        gpus_per_rank: CUDA devices of each rank.
        shared_cores: ranks get in each other's way: there are more of them than cores, or several copies of
            the model are read through one host's memory. Seconds then say little, ratios hold.
    """

    backend: Literal["local", "ray"] = "local"
    tensor_parallel: int = 1
    replicas: int = 1
    batch_size: int = 1
    threads_per_rank: int | None = None
    gpus_per_rank: Literal[0, 1] = 0
    shared_cores: bool = False

    @property
    def ranks(self) -> int:
        """Processes in all."""
        return self.tensor_parallel * self.replicas


def place(spec: RunSpec) -> Placement:
    """The placement that a run asks for, as far as it is known before any machine has been looked at.

    Raises:
        BadInput: options that contradict each other; nothing asked for is silently ignored.
    """
    ranks = spec.tensor_parallel * spec.replicas
    if spec.backend == "local" and ranks > 1:
        raise BadInput(
            f"--backend local is one process, and {_asked(spec.tensor_parallel, spec.replicas)} needs "
            f"{ranks}; leave out --backend, or leave both at 1"
        )
    if spec.ray_address is not None:
        if spec.backend == "local":
            raise BadInput(
                f"--ray-address {spec.ray_address} joins a Ray cluster, and --backend local uses none; "
                "leave one of them out"
            )
        _check_address(spec.ray_address)
    by_ray = spec.backend == "ray" or spec.ray_address is not None or ranks > 1
    if by_ray and spec.device.startswith("cuda:"):
        raise BadInput(
            f"--device {spec.device} names one device of this process, and Ray gives each of its processes "
            "one; write --device cuda"
        )
    return Placement(
        backend="ray" if by_ray else "local",
        tensor_parallel=spec.tensor_parallel,
        replicas=spec.replicas,
        batch_size=spec.batch_size,
        threads_per_rank=spec.threads,
    )


def fit(placement: Placement, resources: Resources, device: str, model_bytes: int | None = None) -> Placement:
    """The same placement with what each rank may use of the machines that were found.

    On a CPU cores are dealt out evenly: threads of a rank are as many as still leave every rank as many, so
    that on one host they are cores ÷ ranks, at least 1. On CUDA each rank has one device. Threads that the
    user gave are kept. One process of its own keeps what it has.

    Args:
        placement: from ``place``.
        resources: what was found.
        device: resolved, such as ``cpu`` or ``cuda``.
        model_bytes: of the weights of one copy; None where that is not known.

    Raises:
        BadInput: more is asked for than there is; with what is lacking and the nearest that fits.
    """
    if placement.backend == "local":
        return placement
    cuda = device.startswith("cuda")
    # A head that only keeps the books of its cluster says that it has no cores.
    resources = Resources(tuple(host for host in resources.hosts if host.cores > 0))
    if not resources.hosts:
        raise BadInput("No machine of the Ray cluster has a core to give; add one with `ray start --address`")
    if cuda:
        _check_devices(placement, resources)
        threads = max(1, resources.cores // placement.ranks)
        shared = placement.ranks > resources.cores
    else:
        _check_memory(placement, resources, model_bytes)
        _check_shared_memory(placement, resources)
        threads = _threads(placement, resources, model_bytes)
        used = placement.threads_per_rank or threads
        too_many = placement.ranks * used > resources.cores
        shared = too_many or placement.replicas > _whole_groups(placement, resources)
    return replace(
        placement,
        threads_per_rank=placement.threads_per_rank or threads,
        gpus_per_rank=1 if cuda else 0,
        shared_cores=shared,
    )


def _check_address(address: str) -> None:
    """Raise ``BadInput`` for what cannot be where a Ray cluster listens."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "//" in address:
        raise BadInput(
            f"--ray-address {address}: Ray's client protocol is not supported; give HOST:PORT of the head "
            "(ray start prints it, port 6379 if not told otherwise), from a machine of the cluster"
        )
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise BadInput(
            f"--ray-address {address!r} is not HOST:PORT, such as 10.0.0.1:6379; `auto` joins the cluster "
            "on this machine"
        )


def _check_devices(placement: Placement, resources: Resources) -> None:
    if placement.ranks <= resources.gpus:
        return
    raise BadInput(
        f"{_asked(placement.tensor_parallel, placement.replicas)} needs {placement.ranks} CUDA devices, one "
        f"a rank, and there {_are(resources.gpus)} ({_per_host(resources, lambda host: host.gpus)}); "
        f"{_nearest(placement, resources.gpus // placement.tensor_parallel, resources.gpus)}"
    )


def _check_memory(placement: Placement, resources: Resources, model_bytes: int | None) -> None:
    """A rank holds its share of the weights at the least."""
    if model_bytes is None:
        return
    share = _share(placement, model_bytes)
    ranks = sum(host.memory_bytes // share for host in resources.hosts)
    if placement.ranks <= ranks:
        return
    raise BadInput(
        f"{_asked(placement.tensor_parallel, placement.replicas)} needs at least "
        f"{_gib(share * placement.ranks)} of memory for weights, and there is "
        f"{_gib(sum(host.memory_bytes for host in resources.hosts))} "
        f"({_per_host(resources, lambda host: _gib(host.memory_bytes))}); "
        f"{_nearest(placement, ranks // placement.tensor_parallel, None)}"
    )


def _check_shared_memory(placement: Placement, resources: Resources) -> None:
    """Ranks of one copy on one host exchange their sums through files in ``/dev/shm``."""
    known = [host.shared_memory_bytes for host in resources.hosts]
    if placement.tensor_parallel == 1 or any(room is None for room in known):
        return
    free = sum(room or 0 for room in known)
    needed = placement.ranks * SHARED_BUFFER_BYTES
    if needed > free:
        raise BadInput(
            f"--tensor-parallel {placement.tensor_parallel} needs {_mib(needed)} in /dev/shm, and "
            f"{_mib(free)} are free; make it larger (docker run --shm-size, or mount -o remount,size=)"
        )


def _threads(placement: Placement, resources: Resources, model_bytes: int | None) -> int:
    """The most threads of a rank with which all groups still fit, none divided between hosts; if some must
    be, with which all ranks do; 1 if not even that."""
    share = _share(placement, model_bytes) if model_bytes else None
    for whole in (placement.tensor_parallel, 1):
        for threads in range(max((host.cores for host in resources.hosts), default=1), 0, -1):
            groups = sum(
                min(host.cores // threads, host.memory_bytes // share if share else host.cores) // whole
                for host in resources.hosts
            )
            if groups * whole >= placement.ranks:
                return threads
    return 1


def _whole_groups(placement: Placement, resources: Resources) -> int:
    """How many copies can have a host, or hosts, of their own."""
    alone = sum(host.cores >= placement.tensor_parallel for host in resources.hosts)
    return alone or 1


def _share(placement: Placement, model_bytes: int) -> int:
    return max(1, -(-model_bytes // placement.tensor_parallel))


def _asked(tensor_parallel: int, replicas: int) -> str:
    flags = (("--tensor-parallel", tensor_parallel), ("--replicas", replicas))
    return " ".join(f"{flag} {value}" for flag, value in flags if value > 1) or "one process"


def _nearest(placement: Placement, replicas: int, ranks: int | None) -> str:
    """What to ask for instead.

    Args:
        placement: what was asked.
        replicas: how many copies of so many ranks there is room for.
        ranks: how many ranks there is room for, where fewer to a copy would help.
    """
    if replicas > 0:
        return f"--replicas {replicas} fits"
    if ranks:
        return f"--tensor-parallel {ranks} --replicas 1 fits"
    if ranks == 0:
        return "write --device cpu"
    return "more ranks a copy on more machines, or a smaller model, would fit"


def _per_host(resources: Resources, what: Callable[[Host], object]) -> str:
    return ", ".join(f"{host.name}: {what(host)}" for host in resources.hosts)


def _are(count: int) -> str:
    return f"is {count}" if count == 1 else f"are {count}" if count else "are none"


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.3g} GiB"


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.3g} MiB"
