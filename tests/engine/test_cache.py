from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from lsbench.engine import DepthPlan, Session
from lsbench.engine.cache import APPROXIMATE, EXACT, MASKED, PENDING, KVCache


@pytest.fixture
def poisoned_memory() -> Iterator[None]:
    """Memory that nobody has written holds NaN, as it may at any time by chance."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def _cache(capacity: int = 4, batch: int = 2) -> KVCache:
    return KVCache(3, batch, 2, 5, torch.float64, torch.device("cpu"), capacity)


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


def test_growing_doubles_and_keeps_everything():
    cache = _cache()
    cache.append(0, 3)
    cache.append(1, 2)
    for layer in range(3):
        cache.keys[layer].normal_()
        cache.values[layer].normal_()
    cache.state[0, :3, 1], cache.frontier[0, 1] = MASKED, 4
    before = [tensor[:, :, :3].clone() for tensor in (*cache.keys, *cache.values)]
    cache.append(0, 14)
    assert cache.capacity == 32
    assert cache.num_bytes == 3 * 2 * (2 * 2 * 32 * 5) * 8
    for old, new in zip(before, (*cache.keys, *cache.values), strict=True):
        assert torch.equal(old, new[:, :, :3])
    assert cache.state[0, :, 1].tolist() == [MASKED] * 3 + [PENDING] * 14 + [0] * 15
    assert cache.frontier[0, 1] == 4


def test_tokens_within_the_capacity_copy_nothing(tiny):
    model = tiny()
    session = Session(model.stack, capacity=16)
    session.prefill(torch.tensor([[1, 2, 3]]))
    held = [tensor.data_ptr() for tensor in (*session.cache.keys, *session.cache.values)]
    size = session.cache.num_bytes
    plan = DepthPlan.exit_at(model.num_layers, 2)
    for token in range(10):
        session.forward(torch.tensor([[token]]), plan)
    session.verify(torch.tensor([[*range(10), 11, 12, 13]]))
    assert session.lengths == (16,)
    assert [tensor.data_ptr() for tensor in (*session.cache.keys, *session.cache.values)] == held
    assert session.cache.num_bytes == size


def test_growth_allocates_as_often_as_capacity_doubles(tiny, monkeypatch):
    model = tiny()
    session = Session(model.stack, capacity=2)
    capacities = set()
    session.prefill(torch.tensor([[1]]))
    for token in range(29):
        session.forward(torch.tensor([[token % 7]]), DepthPlan.full(model.num_layers))
        capacities.add(session.cache.capacity)
    assert capacities == {2, 4, 8, 16, 32}


def test_drafting_holds_no_second_copy_of_keys_and_values(tiny):
    """Peak memory of draft and verify: beyond keys and values, one hidden state for each drafted token."""
    model = tiny()
    session = Session(model.stack, capacity=32)
    session.prefill(torch.tensor([[1, 2, 3]]))
    for token in range(8):
        session.forward(torch.tensor([[token]]), DepthPlan.exit_at(model.num_layers, 1))
    kept = {
        hidden.untyped_storage().data_ptr(): hidden.untyped_storage().nbytes()
        for hidden in session.cache.resume.values()
    }
    assert sum(kept.values()) == 8 * 16 * 8
    session.verify(torch.tensor([[*range(8), 9]]))
    assert not session.cache.resume


def test_reading_and_writing_are_views_of_one_place():
    cache = _cache()
    cache.append(1, 4)
    keys, values = torch.randn(2, 2, 5, dtype=torch.float64), torch.randn(2, 2, 5, dtype=torch.float64)
    cache.write(2, 1, 1, keys, values)
    read_keys, read_values = cache.read(2, 1, 3)
    assert read_keys.shape == (1, 2, 3, 5)
    assert torch.equal(read_keys[0, :, 1:].transpose(0, 1), keys)
    assert torch.equal(read_values[0, :, 1:].transpose(0, 1), values)
    assert not cache.keys[2][0].any()
    cache.scatter(2, 1, torch.tensor([3, 0]).numpy(), keys, values)
    assert torch.equal(cache.read(2, 1, 4)[0][0, :, [3, 0]].transpose(0, 1), keys)
    assert torch.equal(cache.read(2, 1, 4)[1][0, :, [3, 0]].transpose(0, 1), values)


def test_exactness_is_summed_up_from_where_it_ends():
    cache = _cache()
    cache.append(0, 4)
    cache.state[0, :4] = EXACT
    cache.complete(0, torch.arange(4).numpy(), torch.zeros(4, 1), torch.arange(4).numpy())
    cache.settle(0)
    assert cache.exact_lengths == [4, 0]
    cache.append(0, 2)
    cache.state[0, 4] = [EXACT, MASKED, APPROXIMATE]
    cache.keep(0, 4, 2, torch.zeros(1))
    cache.keep(0, 5, 0, torch.zeros(1))
    cache.settle(0, since=4)
    assert cache.exact_lengths == [4, 0]
    assert cache.states_before(0, 4).tolist() == [0, 0, 0]
    assert cache.states_before(0, 6).tolist() == [EXACT | PENDING, MASKED | PENDING, APPROXIMATE | PENDING]
    cache.truncate(0, 5)
    assert list(cache.resume) == [(0, 4)]
    assert cache.states_before(0, 5).tolist() == [EXACT, MASKED, APPROXIMATE]
    cache.truncate(0, 2)
    assert not cache.resume
    assert cache.exact_lengths == [2, 0]
    assert cache.states_before(0, 2).tolist() == [0, 0, 0]


def test_what_enters_the_head_is_kept_from_where_a_draft_began_until_the_next():
    cache, hidden = _cache(), torch.arange(12.0)[:, None]

    def complete(*positions: int) -> None:
        cache.append(0, len(positions))
        cache.state[0, list(positions)] = EXACT
        cache.complete(0, np.array(positions), hidden, np.array(positions) + 1)
        cache.settle(0)

    def kept() -> dict[int, int]:
        return {position: int(value) for (_, position), value in sorted(cache.resume.items())}

    complete(0, 1)
    assert kept() == {}
    cache.begin_draft(0)
    complete(2, 3, 4)
    assert kept() == {2: 3, 3: 4, 4: 5}
    cache.truncate(0, 3)
    assert kept() == {2: 3}
    cache.begin_draft(0)
    assert kept() == {}
    cache.truncate(0, 1)
    complete(1, 2, 3)
    assert kept() == {3: 4}, "the draft's first position is 3"
