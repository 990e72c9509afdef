from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lsbench.engine import DecoderStack
from lsbench.engine.linear import Linear, fuse, stand_in


def _storages(tensors) -> dict[int, int]:
    return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}


def test_it_is_torchs_product():
    weight, bias, x = torch.randn(6, 4), torch.randn(6), torch.randn(2, 3, 4)
    linear = Linear(nn.Parameter(weight), nn.Parameter(bias))
    torch.testing.assert_close(linear(x), nn.functional.linear(x, weight, bias))
    torch.testing.assert_close(linear.rows(x, 2), nn.functional.linear(x, weight, bias)[..., 2:])
    assert linear.weight_bytes == 4 * (6 * 4 + 6)
    plain = Linear(nn.Parameter(weight))
    torch.testing.assert_close(plain.rows(x, 5), (x @ weight.T)[..., 5:])
    assert plain.weight_bytes == 4 * 6 * 4
    assert "in_features=4, out_features=6, bias=False" in repr(plain)


def test_it_stands_in_for_every_linear_module_and_shares_its_weights():
    class Special(nn.Linear):
        pass

    model = nn.Sequential(
        nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU()), Special(4, 4)
    )
    weights = [model[0].weight, model[0].bias, model[1][0].weight]
    x = torch.randn(3, 4)
    before = model(x)
    assert stand_in(model) == 2
    assert [type(m) for m in (model[0], model[1][0], model[2])] == [Linear, Linear, Special]
    assert [model[0].weight, model[0].bias, model[1][0].weight] == weights
    assert model[1][0].bias is None
    torch.testing.assert_close(model(x), before)
    assert stand_in(model) == 0


@pytest.mark.parametrize("bias", [True, False])
def test_fused_parts_keep_working_as_views_of_one_weight(bias):
    parts = [
        Linear(nn.Parameter(torch.randn(n, 4)), nn.Parameter(torch.randn(n)) if bias else None)
        for n in (6, 2, 3)
    ]
    x = torch.randn(5, 4)
    expected = [part(x) for part in parts]
    fused = fuse(parts)
    torch.testing.assert_close(fused(x), torch.cat(expected, dim=-1))
    for part, product in zip(parts, expected, strict=True):
        torch.testing.assert_close(part(x), product)
    assert len(_storages([fused.weight, *(part.weight for part in parts)])) == 1
    if bias:
        assert len(_storages([fused.bias, *(part.bias for part in parts)])) == 1


def test_parts_of_which_only_some_have_a_bias_are_not_fused():
    parts = [
        Linear(nn.Parameter(torch.randn(2, 4)), nn.Parameter(torch.randn(2))),
        Linear(nn.Parameter(torch.randn(2, 4))),
    ]
    with pytest.raises(ValueError, match="only some have a bias"):
        fuse(parts)


def test_the_model_says_what_it_said_before(each_tiny):
    tokens = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.inference_mode():
        assert torch.equal(each_tiny.stack.model(tokens).logits, each_tiny.outside(tokens).logits)
        arguments = {"max_new_tokens": 12, "do_sample": False}
        ours = each_tiny.stack.model.generate(tokens, **arguments)
        assert torch.equal(ours, each_tiny.outside.generate(tokens, **arguments))


def test_no_weight_is_held_twice_and_ties_stay_tied(each_tiny):
    model = copy.deepcopy(each_tiny.outside)
    before = sum(_storages(model.parameters()).values())
    stack = DecoderStack(model)
    held = [
        *model.parameters(),
        *(p for block in stack.blocks for p in (*block.qkv.parameters(), *block.mlp.gate_up.parameters())),
    ]
    assert sum(_storages(held).values()) == before
    tied = model.config.tie_word_embeddings
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    assert stack.head_product.weight is model.lm_head.weight
    for block, layer in zip(stack.blocks, model.model.layers, strict=True):
        for part in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj):
            assert type(part) is Linear
            assert _storages([part.weight]) == _storages([block.qkv.weight])
        assert _storages([layer.mlp.gate_proj.weight]) == _storages([block.mlp.gate_up.weight])
        assert block.mlp.down is layer.mlp.down_proj


def test_every_product_goes_through_the_seam(each_tiny, monkeypatch):
    """A faster product put into ``Linear`` serves the engine and transformers' own forward alike."""
    called = []
    forward = Linear.forward
    monkeypatch.setattr(Linear, "forward", lambda self, x: (called.append(self), forward(self, x))[1])
    stack = each_tiny.stack
    with torch.inference_mode():
        stack.head(stack.embed(torch.tensor([3])))
        cos, sin = stack.rotary(1)
        for block in stack.blocks:
            block.project(torch.randn(1, 16, dtype=torch.float64), cos[:1], sin[:1])
        assert called == [stack.head_product, *(block.qkv for block in stack.blocks)]
        called.clear()
        stack.model(torch.tensor([[3]]))
    assert len(called) == 7 * stack.num_layers + 1
