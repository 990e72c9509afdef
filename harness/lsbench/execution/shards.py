"""One model over the ranks of a group: DeepSpeed's AutoTP cuts it, the engine's products multiply the parts.

The only place that knows DeepSpeed. ``init_inference`` is given a model without weights and replaces its
linear modules by tensor-parallel ones; the engine's then take their place, each reading its part from the
checkpoint, so that no rank ever holds a whole copy. Sums over ranks are DeepSpeed's own, through shared
memory, where all ranks are on one host and it can add up the precision; elsewhere gloo's, or NCCL's on CUDA.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lsbench.engine.families import family_for
from lsbench.engine.loading import model_facts
from lsbench.engine.sharding import GRAIN, Rank, check_ranks
from lsbench.errors import BadInput, LsbenchError, UnsupportedModel
from lsbench.spec import INT8_WEIGHTS
from lsbench.user_cache import cache_folder

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lsbench.engine.agreement import GroupAgreement
    from lsbench.engine.shard_loading import Source
    from lsbench.engine.stack import DecoderStack

_SHARED = Path("/dev/shm")
_SHARED_NAME = "deepspeed_allreduce_buffer"
_COLLECTIVE_S, _LOADING_S = 120, 3600
"""How long a rank waits for others within a sum; and for them to have read their weights."""
_LOOKED_AT = (11, 3, 7, 5, 13, 2, 17, 6)
"""Of these tokens each, as far as the vocabulary goes, the sharded model is compared with the whole one."""
_LAST = 2
"""The last of them run as a step of a few rows does."""
_TOLERANCE = 1e-3
"""How far logits may be off, relative to their spread, of what rounds as float32 does."""
_OWN_TOLERANCES = {"bfloat16": 0.5, "float16": 0.5}
"""The same of the engine's own where precisions are this far from themselves; wrong ones are off by 1.4."""


@dataclass(frozen=True)
class RankPlace:
    """Where one rank of a group stands.

    Attributes:
        rank: 0 to ``size - 1``.
        size: ranks that share the model.
        address: of the host of rank 0.
        port: a free one there, of this group alone.
        one_host: whether all ranks are on the same host.
    """

    rank: int
    size: int
    address: str
    port: int
    one_host: bool


@dataclass
class _Group:
    """What this process has joined, until it is closed."""

    place: RankPlace
    agreement: GroupAgreement


_JOINED: list[_Group] = []


def check_shardable(path: Path, size: int) -> None:
    """Raise for a checkpoint that cannot be shared by ``size`` ranks, by its configuration alone.

    Raises:
        BadInput: it has fewer key-value heads than ranks, or no readable configuration.
        UnsupportedModel: the engine does not run its architecture.
    """
    from lsbench.engine.loading import configuration

    model_facts(path)
    config = configuration(path)
    check_ranks(family_for(config), config, size)


def prepare_environment(place: RankPlace, device: str) -> None:
    """Set what DeepSpeed and torch.distributed read when they are imported or begin.

    Args:
        place: of this rank.
        device: ``cpu`` or ``cuda``; on CUDA each rank sees one device.
    """
    on_cuda = device.startswith("cuda")
    os.environ.update(
        RANK=str(place.rank),
        WORLD_SIZE=str(place.size),
        # On CUDA every rank sees its own device alone, which is the first.
        LOCAL_RANK="0" if on_cuda else str(place.rank),
        # Shared memory serves only where this is the number of ranks; without it the first sum would crash.
        LOCAL_SIZE=str(place.size if place.one_host else 0),
        MASTER_ADDR=place.address,
        MASTER_PORT=str(place.port),
        DS_ACCELERATOR="cuda" if on_cuda else "cpu",
        # transformers would take ranks for a reason to draw no progress, DeepSpeed to look for MPI.
        TORCH_EXTENSIONS_DIR=os.environ.get("TORCH_EXTENSIONS_DIR") or str(cache_folder() / "deepspeed"),
    )
    interface = "lo" if place.one_host else _interface_towards(place.address, place.port)
    if interface is not None:
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(name, interface)


def load_shard(
    path: Path, dtype: str, device: str, place: RankPlace, log: Path | None = None
) -> DecoderStack:
    """Join the group and load this rank's part of the model.

    Every rank calls it at the same time, after ``prepare_environment``; again, too, for another model in the
    same group. What DeepSpeed prints goes to ``log``.

    Args:
        path: a transformers folder.
        dtype: as ``load_stack`` takes it.
        device: where to put it.
        place: of this rank.
        log: appended to; None lets it go.

    Raises:
        BadInput: the model cannot be cut for so many ranks, its weights cannot be read, or, cut, it does not
            predict what it does whole.
        UnsupportedModel: no family declares the architecture.
    """
    check_shardable(path, place.size)
    import torch

    from lsbench.engine.loading import blank_model
    from lsbench.engine.shard_loading import Blank, open_source

    is_int8 = dtype == INT8_WEIGHTS
    precision: torch.dtype = torch.float32 if is_int8 else getattr(torch, dtype)
    where = torch.device(device)
    with _printing_into(log):
        agreement = _join(place, where)
        source = open_source(path, precision, is_int8, where)
        blank, rank = Blank(source, blank_model(path, precision)), Rank(place.rank, place.size)
        blank.model = _cut_by_autotp(blank.model, place.size, precision)
    _check_alike(blank, rank)
    stack = blank.filled(rank, agreement)
    agreement.wait_for_all("read its weights", _LOADING_S)
    _compare_with_whole(stack, source, path, dtype)
    return stack


def close_shards() -> None:
    """Leave the group: its connections are closed, and nothing of it is left in shared memory."""
    if not _JOINED:
        return
    import torch.distributed as distributed
    from deepspeed.comm import comm
    from deepspeed.inference.engine import InferenceEngine

    group = _JOINED.pop()
    InferenceEngine.inference_mp_group = None
    comm.cdb = None
    distributed.destroy_process_group()
    _forget_shared_file(group.place)


def shared_files(port: int) -> list[Path]:
    """Files that DeepSpeed keeps in shared memory for the group of that port, of whichever rank."""
    mine = f"{_SHARED_NAME}_{os.getuid()}_*_{port}_*"
    return sorted(_SHARED.glob(mine)) if _SHARED.is_dir() else []


def foreseen_files(address: str, port: int, size: int) -> list[Path]:
    """What DeepSpeed makes there for ``size`` ranks that meet at ``address``, until all have it open.

    A process that is killed while they load leaves them, so they are written down before.
    """
    mine = f"{_SHARED_NAME}_{os.getuid()}_{address}_{port}"
    return [_SHARED / f"{mine}_{rank}" for rank in range(size)] if _SHARED.is_dir() else []


# -- joining ------------------------------------------------------------------------------------------


def _join(place: RankPlace, device: torch.device) -> GroupAgreement:
    import torch.distributed

    from lsbench.engine.agreement import GroupAgreement

    if _JOINED:
        if _JOINED[0].place != place:
            raise LsbenchError("this process is of another group; close_shards() first")
        return _JOINED[0].agreement
    _build_shared_memory_sum(place)
    wait = timedelta(seconds=_COLLECTIVE_S)
    distributed: Any = torch.distributed  # its stores are public, though it does not say so
    store = distributed.TCPStore(
        place.address, place.port, place.size, is_master=place.rank == 0, timeout=wait
    )
    distributed.init_process_group(
        "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl",
        store=distributed.PrefixStore("sums", store),
        rank=place.rank,
        world_size=place.size,
        timeout=wait,
    )
    import deepspeed

    deepspeed.init_distributed(verbose=False)
    if place.one_host:
        # Every rank has opened the others' files once it has begun; no name is needed after that.
        distributed.barrier()
        _forget_shared_file(place)
    words = distributed.PrefixStore("words", store)
    agreement = GroupAgreement(place.rank, place.size, _sum_over(place), words)
    _JOINED.append(_Group(place, agreement))
    return agreement


def _build_shared_memory_sum(place: RankPlace) -> None:
    """Compile DeepSpeed's sum unless that was done: a process at a time, whatever an earlier one left."""
    if not place.one_host or os.environ["DS_ACCELERATOR"] != "cpu":
        return
    from deepspeed.accelerator import get_accelerator
    from filelock import FileLock

    folder = Path(os.environ["TORCH_EXTENSIONS_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lsbench.lock"):
        for left in folder.glob("deepspeed_shm_comm/lock"):
            left.unlink(missing_ok=True)  # of a process that was killed: the next build would wait for ever
        accelerator: Any = get_accelerator()
        builder: Any = accelerator.create_op_builder("ShareMemCommBuilder")
        if builder is not None and builder.is_compatible():
            builder.load()


def _sum_over(place: RankPlace) -> Callable[[Tensor], Tensor]:
    """Adds up over ranks, in place."""
    import torch
    import torch.distributed as distributed
    from deepspeed.comm import comm

    through_memory: set[torch.dtype] = set()
    backend: Any = comm.cdb
    if place.one_host and getattr(backend, "shm_comm_op", None) is not None:
        level = getattr(backend, "shm_vector_kernel_level", 0)
        through_memory |= {torch.float32} if level >= 1 else set()
        through_memory |= {torch.bfloat16, torch.float16} if level >= 2 else set()
    elif backend is not None:
        # Its operator is there, and would read memory that was never shared.
        backend.shm_vector_kernel_level = 0
    shared: Any = torch.ops.deepspeed.inference_all_reduce_.default if through_memory else None

    def sum_over(tensor: Tensor) -> Tensor:
        whole = tensor.contiguous()
        if whole.dtype in through_memory and whole.device.type == "cpu":
            shared(whole)
        else:
            distributed.all_reduce(whole)
        return whole

    return sum_over


def _forget_shared_file(place: RankPlace) -> None:
    for file in shared_files(place.port):
        if file.name.endswith(f"_{place.rank}"):
            file.unlink(missing_ok=True)


def _interface_towards(address: str, port: int) -> str | None:
    """The network interface by which this host reaches another; None where that cannot be told."""
    import psutil

    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, port))
            own = probe.getsockname()[0]
    except OSError:
        return None
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address == own for each in addresses):
            return name
    return None


# -- cutting ------------------------------------------------------------------------------------------


def _cut_by_autotp(model: Any, size: int, precision: torch.dtype) -> Any:
    """The model with DeepSpeed's tensor-parallel modules in place of its linear ones."""
    import deepspeed
    import torch

    # What has no weights yet has no precision to speak of, and DeepSpeed knows of no float64.
    known = torch.float32 if precision == torch.float64 else precision
    engine: Any = deepspeed.init_inference(
        model,
        tensor_parallel={"tp_size": size, "tp_grain_size": GRAIN},
        dtype=known,
        replace_with_kernel_inject=False,
    )
    return engine.module


def _check_alike(blank: Any, rank: Rank) -> None:
    """Whether AutoTP cut every module as wide as the engine's part of it will be."""
    for name in blank.linear:
        made = tuple(blank.model.get_submodule(name).weight.shape)
        if made != blank.shape_of(name, rank):
            kind = blank.model.config.model_type
            raise UnsupportedModel(
                f"--tensor-parallel {rank.size}: DeepSpeed's AutoTP cuts {name} of this {kind} model to "
                f"{made}, and the engine expects {blank.shape_of(name, rank)}; run it in one process"
            )


def _compare_with_whole(stack: DecoderStack, source: Source, path: Path, dtype: str) -> None:
    """Refuse a model that, cut, does not predict what it does whole."""
    import torch

    from lsbench.engine.loading import blank_model
    from lsbench.engine.plan import DepthPlan
    from lsbench.engine.session import Session
    from lsbench.engine.shard_loading import cut_logits, whole_logits

    tokens = [token % stack.vocabulary_size for token in _LOOKED_AT]
    ids = torch.tensor([tokens], dtype=torch.int64, device=stack.device)
    agreement = stack.agreement
    whole: Tensor | None = None
    if agreement.rank == 0:
        whole = whole_logits(source, blank_model(path, source.precision), tokens)
    agreement.wait_for_all("seen what the whole model predicts", _LOADING_S)
    session = Session(stack, capacity=len(tokens))
    plan = DepthPlan.full(stack.num_layers)
    outside = cut_logits(stack, tokens)
    session.forward(ids[:, :-_LAST], plan)
    own = session.forward(ids[:, -_LAST:], plan).logits[0]
    checks = (
        ("transformers' forward", outside, slice(None), _TOLERANCE),
        ("the engine", own, slice(-_LAST, None), _OWN_TOLERANCES.get(dtype, _TOLERANCE)),
    )
    for what, made, rows, allowed in checks:
        off = agreement.number(0.0 if whole is None else _off(made, whole[rows]))
        if not off <= allowed:
            kind = cast(Any, stack.model).config.model_type
            raise BadInput(
                f"--tensor-parallel {agreement.size}: this {kind} model, cut for {agreement.size} ranks, "
                f"predicts otherwise than whole ({what} is off by {off:.2g} of its logits' spread, where "
                f"{dtype} explains {allowed:g}); run it in one process"
            )


def _off(made: Tensor, wanted: Tensor) -> float:
    """How far logits are from others, relative to the spread of these."""
    expected = wanted.double()
    spread = float((expected - expected.mean()).norm())
    return float((made.double() - expected).norm()) / max(spread, 1e-30)


@contextmanager
def _printing_into(log: Path | None) -> Iterator[None]:
    """What this process prints goes to a file, whoever prints it: DeepSpeed does from C++ too."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    into = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        for stream in (1, 2):
            os.dup2(into, stream)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, before in zip((1, 2), kept, strict=True):
            os.dup2(before, stream)
            os.close(before)
        os.close(into)
