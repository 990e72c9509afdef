"""Which products serve a model: the compiled ones or torch's, and why."""

from __future__ import annotations

from collections.abc import Callable

import torch

from lsbench.engine.native.crossover import compiled_for, most_rows
from lsbench.engine.native.library import graphs_wanted, prepare
from lsbench.records import Products

WHAT_TORCHS_COST = "with a few rows they read weights at about a third of memory's speed"
"""As ``docs/performance.md`` shows."""
WHAT_WIDENING_COSTS = (
    "they widen int8 weights for every product, which is slower than to keep them in float32"
)

GRAPHS_ON = "steps of few rows are replayed as CUDA graphs where they can be"
GRAPHS_OFF = "CUDA graphs are left out"


def products_for(
    dtype: torch.dtype, device: torch.device, tell: Callable[[str], None] = lambda message: None
) -> Products:
    """What serves weights of this precision there; builds, loads and measures what has not been yet.

    Args:
        dtype: of the weights.
        device: where they are.
        tell: hears what takes long.

    Raises:
        BadInput: the environment variable ``LSBENCH_PRODUCTS`` says neither ``native`` nor ``torch``, or
            ``LSBENCH_CUDA_GRAPHS`` neither ``0`` nor ``1``.
    """
    if device.type != "cpu":
        graphs = f"; {GRAPHS_ON if graphs_wanted() else GRAPHS_OFF}" if device.type == "cuda" else ""
        return Products(kind="torch", detail=f"none are compiled for {device.type}{graphs}")
    if not compiled_for(dtype, device):
        return Products(kind="torch", detail=f"none are compiled for {str(dtype).removeprefix('torch.')}")
    status = prepare(tell)
    if not status.available:
        return Products(kind="torch", detail=status.detail)
    rows = most_rows(dtype, device, tell)
    if rows == 0:
        return Products(kind="torch", detail="they win with any number of rows, as measured here")
    return Products(kind="native", detail=status.detail, most_rows=rows)
