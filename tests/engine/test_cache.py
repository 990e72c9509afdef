from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from lsbench.engine import DepthPlan, Session
from lsbench.engine.cache import KVCache


@pytest.fixture
def poisoned_memory() -> Iterator[None]:
    """Memory that nobody has written holds NaN, as it may at any time by chance."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def _cache(capacity: int = 4, batch: int = 1) -> KVCache:
    return KVCache(2, batch, 1, 2, torch.float64, torch.device("cpu"), capacity)


@pytest.mark.parametrize("capacity", [4, 64])
@pytest.mark.usefixtures("poisoned_memory")
def test_a_masked_position_never_leaks_what_memory_held(tiny, capacity):
    # A weight of 0 times NaN is NaN: memory behind a masked position must hold numbers.
    model = tiny()
    session = Session(model.stack, capacity=capacity)
    session.prefill(torch.tensor([[1, 2, 3]]))
    session.forward(torch.tensor([[4, 5]]), DepthPlan.exit_at(model.num_layers, 2, "mask"))
    logits = session.forward(torch.tensor([[6]]), DepthPlan.full(model.num_layers)).logits
    assert torch.isfinite(logits).all()
