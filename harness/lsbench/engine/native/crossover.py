"""Up to how many rows the compiled product is taken: measured once for a machine, not guessed.

Both products multiply the same matrices, more of them than caches hold, in turns. Of several times of each
matrix the shortest counts: other work on the machine makes single ones slow, and nothing makes them fast. The
outcome is kept in the user's cache beside the library. On a machine so busy that threads wait for one
another, where even a single row can seem to lose, nothing is kept, and a few rows are taken meanwhile.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor
from torch.nn import functional

from lsbench.engine.native.dequantized import dequantized_product
from lsbench.engine.native.library import library_folder, prepare

_Product = Callable[[Tensor, Tensor, None], Tensor]

_ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_SERVED = (torch.float32, torch.bfloat16, torch.int8)
_MATRIX = (2048, 1024)
_BYTES = 96 << 20
_WHILE_BUSY = 8
_ROUNDS = (3, 15)
"""How often both are timed: at least, and at most where ours has not won yet."""


class _Crossover(BaseModel):
    """What the file beside the library says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    most_rows: dict[str, int]
    """Precision and number of threads, as ``float32/2``, to rows."""


_FOUND: dict[str, int] = {}
"""As this process goes by: it does not change while a model is loaded."""


def most_rows(
    dtype: torch.dtype, device: torch.device, tell: Callable[[str], None] = lambda message: None
) -> int:
    """Rows up to which products of weights of this type go through the compiled library; 0 for none.

    Args:
        dtype: of weights, and of rows unless that is int8.
        device: where they are.
        tell: hears that it is being measured, which takes seconds, or that the library is being built.
    """
    if not compiled_for(dtype, device) or not prepare(tell).available:
        return 0
    key = _key(dtype)
    if key not in _FOUND:
        _FOUND[key] = _find(dtype, key, tell)
    return _FOUND[key]


def compiled_for(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether there are compiled products at all for weights of this type there."""
    return device.type == "cpu" and dtype in _SERVED


def known_rows(dtype: torch.dtype) -> int | None:
    """``most_rows`` on this machine, with as many threads as torch uses now; None if it was not measured."""
    key = _key(dtype)
    return _FOUND.get(key, _read(_place()).get(key))


def _find(dtype: torch.dtype, key: str, tell: Callable[[str], None]) -> int:
    from filelock import FileLock

    place = _place()
    known = _read(place)
    if key in known:
        return known[key]
    tell("Measuring up to how many rows the few-row products win (once)")
    try:
        # Two processes that measured at once would measure each other.
        with FileLock(f"{place}.lock"):
            known = _read(place)
            if key not in known:
                rows = measure_crossover(dtype)
                if rows < _WHILE_BUSY and _busy():
                    return _WHILE_BUSY
                known = {**known, key: rows}
                beside = place.with_suffix(".new")
                beside.write_text(_Crossover(most_rows=known).model_dump_json(indent=2), encoding="utf-8")
                beside.replace(place)
    except OSError:  # a cache that cannot be written: every process measures for itself
        return known.get(key) or measure_crossover(dtype)
    return known[key]


def _busy() -> bool:
    try:
        return os.getloadavg()[0] > (os.cpu_count() or 1)
    except (AttributeError, OSError):  # the system does not tell
        return False


def _place() -> Path:
    return library_folder() / "crossover.json"


def _key(dtype: torch.dtype) -> str:
    return f"{str(dtype).removeprefix('torch.')}/{torch.get_num_threads()}"


def _read(place: Path) -> dict[str, int]:
    try:
        return _Crossover.model_validate_json(place.read_bytes()).most_rows
    except (OSError, ValidationError):
        return {}


@torch.inference_mode()
def measure_crossover(dtype: torch.dtype) -> int:
    """The most rows with which, and with all fewer of those tried, the compiled product is the faster one."""
    generator = torch.Generator().manual_seed(0)
    count = _BYTES // (_MATRIX[0] * _MATRIX[1] * dtype.itemsize)
    # Weights of 0 to 99: what they are does not count.
    matrices = [torch.randint(100, _MATRIX, generator=generator).to(dtype) for _ in range(count)]
    precision = torch.float32 if dtype == torch.int8 else dtype
    native, plain = _both(dtype)
    best = 0
    for rows in _ROWS:
        x = torch.randn((rows, _MATRIX[1]), generator=generator).to(precision)
        ours, theirs = [sys.maxsize] * count, [sys.maxsize] * count
        for done in range(1, _ROUNDS[1] + 1):
            _shorten(ours, native, x, matrices)
            _shorten(theirs, plain, x, matrices)
            if done >= _ROUNDS[0] and sum(ours) <= sum(theirs):
                break
        if sum(ours) > sum(theirs):
            break
        best = rows
    return best


def _both(dtype: torch.dtype) -> tuple[_Product, _Product]:
    """The compiled product and torch's own."""
    if dtype != torch.int8:
        return torch.ops.lsbench.product.default, functional.linear
    scale, compiled = torch.ones(_MATRIX[0]), torch.ops.lsbench.product_int8.default
    return (
        lambda x, weight, bias: compiled(x, weight, scale, bias),
        lambda x, weight, bias: dequantized_product(x, weight, scale, bias),
    )


def _shorten(
    shortest: list[int],
    product: _Product,
    x: Tensor,
    matrices: Sequence[Tensor],
) -> None:
    """Take each matrix's nanoseconds where they are fewer than before."""
    for index, matrix in enumerate(matrices):
        begin = time.perf_counter_ns()
        product(x, matrix, None)
        shortest[index] = min(shortest[index], time.perf_counter_ns() - begin)
