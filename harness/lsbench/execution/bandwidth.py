"""How fast this machine reads memory: what bounds a step, which reads every weight once and does little else.

No single reader reaches all that memory gives: torch's leave prefetching to the hardware, which the compiled
product does not, so several move the same bytes in turns, and the best of them counts. The buffer lies in
pages as large as those that weights lie in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lsbench.engine.clock import Clock
from lsbench.engine.huge_pages import huge_pages
from lsbench.engine.native import prepare
from lsbench.execution.rounds import shortest
from lsbench.records import Bandwidth

if TYPE_CHECKING:
    from lsbench.engine.stack import DecoderStack

_ROW = 4096
"""Columns of the matrix whose product with a vector is one of the readers."""
_CACHES_FULL = 4
"""The buffer is at least this many times as large as all last-level caches: nothing is read from them."""
_LEAST_BYTES = {"cpu": 256 << 20, "cuda": 1 << 30}
"""A CUDA device reads so fast that less would be over before it has begun."""
_USUAL_CACHE_BYTES = 32 << 20
"""Where the system does not tell."""
_BUDGET_S = 0.3
_PROCESSORS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Reader:
    """A way to move all bytes of a buffer.

    Attributes:
        name: as results name it.
        over: given a float32 buffer [n], n a multiple of ``2 * 4096``, gives what moves all its bytes once.
        works_on: whether there is such a reader for a device.
    """

    name: str
    over: Callable[[Tensor], Callable[[], object]]
    works_on: Callable[[torch.device], bool] = lambda device: True


def _sum(buffer: Tensor) -> Callable[[], object]:
    return buffer.sum


def _copy(buffer: Tensor) -> Callable[[], object]:
    source, target = buffer.view(2, -1)  # what is written is moved as well
    return lambda: target.copy_(source)


def _matrix_vector(buffer: Tensor) -> Callable[[], object]:
    matrix, vector = buffer.view(-1, _ROW), buffer[:_ROW].clone()
    return lambda: torch.mv(matrix, vector)


def _few_rows(buffer: Tensor) -> Callable[[], object]:
    matrix, row = buffer.view(-1, _ROW), buffer[:_ROW].clone()[None]
    return lambda: torch.ops.lsbench.product.default(row, matrix, None)


def _is_compiled(device: torch.device) -> bool:
    return device.type == "cpu" and prepare().available


READERS = (
    Reader("sum", _sum),
    Reader("copy", _copy),
    Reader("matrix-vector product", _matrix_vector),
    Reader("few-row product", _few_rows, _is_compiled),
)


def measure_bandwidth(device: torch.device, num_bytes: int | None = None) -> Bandwidth | None:
    """The fastest that any reader moves memory, with as many threads as torch uses now; under a second.

    Args:
        device: whose memory.
        num_bytes: how large a buffer to read; None for one that no cache holds.

    Returns:
        None where the clock did not move or there is no room for the buffer.
    """
    wanted = num_bytes or max(
        _LEAST_BYTES.get(device.type, _LEAST_BYTES["cpu"]), _CACHES_FULL * last_level_cache_bytes(device)
    )
    count = max(1, wanted // (4 * 2 * _ROW)) * 2 * _ROW
    try:
        buffer = _buffer(count, device)
    except (RuntimeError, MemoryError):
        return None
    with torch.inference_mode():
        runs = {reader.name: reader.over(buffer) for reader in READERS if reader.works_on(device)}
        seconds = shortest(runs, Clock(device), _BUDGET_S)
    best = min(seconds, key=lambda name: seconds[name])
    if seconds[best] <= 0:
        return None
    threads = torch.get_num_threads() if device.type == "cpu" else None
    return Bandwidth(bytes_per_second=4 * count / seconds[best], reader=best, threads=threads)


def _buffer(count: int, device: torch.device) -> Tensor:
    """Float32 [count], as the engine places weights."""
    memory = huge_pages(4 * count) if device.type == "cpu" else None
    if memory is None:
        return torch.ones(count, dtype=torch.float32, device=device)
    return memory.view(torch.float32).fill_(1)


def bandwidth_behind(stack: DecoderStack) -> Bandwidth | None:
    """What bounds a model's steps; None for one so small that caches hold it.

    Ranks that share the model read at the same time: what they reach together counts.
    """
    agreement = stack.agreement
    if agreement.flag(step_bytes(stack) <= last_level_cache_bytes(stack.device)):
        return None
    measured = measure_bandwidth(stack.device)
    if agreement.size == 1:
        return measured
    together = agreement.total(0 if measured is None else int(measured.bytes_per_second))
    threads = agreement.total(0 if measured is None else measured.threads or 0)
    if measured is None or not together:
        return None
    return measured.model_copy(update={"bytes_per_second": float(together), "threads": threads or None})


def step_bytes(stack: DecoderStack) -> int:
    """Bytes of weights that a token reads on its way through all layers and the head."""
    return sum(stack.sublayer_bytes) + stack.head_product.weight_bytes


def last_level_cache_bytes(device: torch.device, processors: Path = _PROCESSORS) -> int:
    """Size of all last-level caches together.

    Args:
        device: whose.
        processors: where the system describes the processors.
    """
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).L2_cache_size)
    sizes: dict[tuple[int, str], int] = {}
    for folder in processors.glob("cpu[0-9]*/cache/index[0-9]*"):
        try:
            level, shared, size = (
                (folder / name).read_text().strip() for name in ("level", "shared_cpu_list", "size")
            )
            sizes[int(level), shared] = int(size.removesuffix("K")) << 10
        except (OSError, ValueError):
            continue
    if not sizes:
        return _USUAL_CACHE_BYTES
    last = max(level for level, _ in sizes)
    return sum(size for (level, _), size in sizes.items() if level == last)
