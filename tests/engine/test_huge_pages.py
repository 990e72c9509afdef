"""Weights move to other memory, and nothing else changes."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import nn

from lsbench.engine import huge_pages
from lsbench.engine.huge_pages import place_in_huge_pages
from lsbench.engine.linear import Linear, fuse

PAGE = 2 << 20
there = pytest.mark.skipif(huge_pages.huge_pages(1) is None, reason="no huge pages on this system")


def frozen(*shape: int, dtype: torch.dtype = torch.float32) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape).to(dtype), requires_grad=False)


@there
@pytest.mark.parametrize("num_bytes", [1, PAGE, 3 * PAGE + 5])
def test_memory_begins_with_a_page_and_is_all_there(num_bytes):
    memory = huge_pages.huge_pages(num_bytes)
    assert memory is not None
    assert memory.data_ptr() % PAGE == 0
    assert (memory.dtype, memory.shape) == (torch.uint8, (num_bytes,))
    memory.fill_(7)
    assert memory.sum().item() == 7 * num_bytes


@there
def test_weights_keep_their_values_ties_and_views():
    parts = [Linear(frozen(rows, 7), frozen(rows)) for rows in (3, 5)]
    fused, single, half = fuse(parts), Linear(frozen(4, 9)), Linear(frozen(5, 3, dtype=torch.bfloat16))
    tied, turned = Linear(single.weight), Linear(nn.Parameter(single.weight.t(), requires_grad=False))
    modules = [fused, *parts, single, tied, turned, half, single]
    old = [(module.weight, module.weight.clone()) for module in modules]
    moved = place_in_huge_pages(iter(modules))
    assert moved >= 4 * (8 * 7 + 8 + 4 * 9) + 2 * 15
    for module, (weight, values) in zip(modules, old, strict=True):
        assert torch.equal(module.weight, values)
        assert module.weight.stride() == weight.stride()
        assert not module.weight.requires_grad
        assert module.weight.data_ptr() != weight.data_ptr()
    assert tied.weight is single.weight
    fused.weight.fill_(2)
    single.weight.fill_(3)
    assert all((part.weight == 2).all() for part in parts)
    assert (turned.weight == 3).all()
    assert not (half.weight == 3).any()
    for weight, values in old:  # whoever holds an old one may go on
        assert torch.equal(weight, values)


@there
def test_each_begins_where_torch_would_let_it():
    modules = [Linear(frozen(1, size)) for size in (1, 3, 17, 5)]
    place_in_huge_pages(modules)
    assert [module.weight.data_ptr() % 64 for module in modules] == [0, 0, 0, 0]


@there
def test_no_second_copy_is_left():
    module = Linear(frozen(30, 30))
    old = weakref.ref(module.weight)
    place_in_huge_pages([module])
    assert old() is None


@there
def test_memory_lasts_as_long_as_one_weight_uses_it():
    modules = [Linear(frozen(100, 10)) for _ in range(3)]
    values = modules[2].weight.clone()
    place_in_huge_pages(modules)
    last = modules[2].weight
    del modules
    assert torch.equal(last, values)


def test_where_the_system_has_none_nothing_moves(monkeypatch, tmp_path):
    (tmp_path / "enabled").write_text("always madvise [never]\n")
    assert huge_pages.huge_pages(5, tmp_path / "enabled") is None
    assert huge_pages.huge_pages(5, tmp_path / "absent") is None
    monkeypatch.setattr(huge_pages, "huge_pages", lambda num_bytes: None)
    module = Linear(frozen(6, 6))
    weight = module.weight
    assert place_in_huge_pages([module]) == 0
    assert module.weight is weight


def test_another_system_has_none(monkeypatch):
    monkeypatch.delattr(huge_pages.mmap, "MADV_HUGEPAGE", raising=False)
    assert huge_pages.huge_pages(5) is None


def test_no_weights_are_no_error():
    assert place_in_huge_pages([]) == 0


@there
def test_all_that_a_step_reads_is_there(tiny_stack):
    weights = [weight for module in tiny_stack._holders() for weight in module.parameters(recurse=False)]
    addresses = [weight.data_ptr() for weight in weights]
    assert {
        id(tensor) for block in tiny_stack.blocks for tensor in (block.qkv.weight, block.output.weight)
    } <= {id(weight) for weight in weights}
    assert max(addresses) - min(addresses) < sum(weight.nbytes for weight in weights) + 64 * len(weights)
