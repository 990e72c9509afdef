"""int8 weights: what is rounded, what the products make of it, and that decoding keeps its promises."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lsbench.engine import DecoderStack, DepthPlan, Session
from lsbench.engine.linear import Linear, fuse
from lsbench.engine.loading import load_stack, weight_type
from lsbench.engine.native.dequantized import dequantized_product
from lsbench.engine.precise import plain_logits, precise_logits
from lsbench.engine.quantized import QuantizedLinear, quantize, quantized
from lsbench.spec import Sampling, parse_strategy
from lsbench.strategy import Preparation
from lsbench.strategy.registry import resolve
from support.models import random_llama
from support.requests import generate_request

PROMPT = (3, 1, 4, 1, 5, 9, 2, 6)


def _linear(out: int, width: int, bias: bool, seed: int = 0) -> QuantizedLinear:
    generator = torch.Generator().manual_seed(seed)
    weight, scale = quantized(torch.randn((out, width), generator=generator))
    added = nn.Parameter(torch.randn(out, generator=generator)) if bias else None
    return QuantizedLinear(
        nn.Parameter(weight, requires_grad=False), nn.Parameter(scale, requires_grad=False), added
    )


def _wide(linear: QuantizedLinear) -> torch.Tensor:
    return linear.weight.double() * linear.scale.double()[:, None]


def _float_copy(model: nn.Module) -> nn.Module:
    """The same function with the dequantized weights in float64, as transformers' own modules."""
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, QuantizedLinear):
                plain = nn.Linear(child.in_features, child.out_features, child.bias is not None)
                plain.weight = nn.Parameter(_wide(child))
                if child.bias is not None:
                    plain.bias = nn.Parameter(child.bias.detach())
                setattr(parent, name, plain)
    return model.double()


@pytest.fixture(scope="module", params=["untied", "tied"])
def stack(request) -> DecoderStack:
    model = random_llama(2, vocab_size=29, attention_bias=True, tie_word_embeddings=request.param == "tied")
    quantize(model)
    return DecoderStack(model)


@settings(max_examples=60, deadline=None)
@given(out=st.integers(1, 9), width=st.integers(1, 40), seed=st.integers(0, 99), factor=st.floats(1e-6, 1e6))
def test_weights_are_rounded_to_the_nearest_step_of_their_row(out, width, seed, factor):
    weight = factor * torch.randn((out, width), generator=torch.Generator().manual_seed(seed))
    rounded, scale = quantized(weight)
    assert rounded.dtype == torch.int8
    assert torch.equal(rounded.abs().amax(1), torch.full((out,), 127, dtype=torch.int8))
    error = (rounded.double() * scale.double()[:, None] - weight.double()).abs()
    assert (error <= scale.double()[:, None] * (0.5 + 1e-5)).all()


def test_weights_of_zero_stay_zero_and_signs_are_treated_alike():
    weight = torch.tensor([[0.0, 0.0], [-3.0, 1.0], [3.0, -1.0]])
    rounded, scale = quantized(weight)
    assert rounded.tolist() == [[0, 0], [-127, 42], [127, -42]]
    assert scale.isfinite().all()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 5, 200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_number_of_rows_and_precision_gives_the_dequantized_product(bias, rows, dtype):
    linear = _linear(33, 70, bias)
    x = torch.randn(2, rows, 70, dtype=dtype)
    exact = x.double() @ _wide(linear).T + (0 if linear.bias is None else linear.bias.double())
    tolerance = 1e-4 if dtype == torch.float32 else 1e-12
    for made, expected in ((linear(x), exact), (linear.rows(x, 30), exact[..., 30:])):
        assert made.dtype == dtype
        torch.testing.assert_close(made.double(), expected, rtol=tolerance, atol=tolerance)
    chosen = linear.chosen(torch.tensor([5, 2]))
    assert type(chosen) is QuantizedLinear
    torch.testing.assert_close(chosen(x).double(), exact[..., [5, 2]], rtol=tolerance, atol=tolerance)


def test_torchs_product_widens_a_piece_at_a_time(monkeypatch):
    monkeypatch.setattr("lsbench.engine.native.dequantized._WIDENED_BYTES", 4 * 70 * 4)
    linear, x = _linear(33, 70, bias=True), torch.randn(3, 70)
    assert linear.bias is not None
    made = dequantized_product(x, linear.weight, linear.scale, linear.bias)
    exact = x.double() @ _wide(linear).T + linear.bias.double()
    torch.testing.assert_close(made.double(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_fused_parts_are_views_of_one_weight_and_one_scale(bias):
    parts, x = [_linear(out, 8, bias, seed=out) for out in (6, 2, 3)], torch.randn(4, 8)
    expected = [part(x) for part in parts]
    fused = fuse(parts)
    assert type(fused) is QuantizedLinear
    assert torch.equal(fused(x), torch.cat(expected, dim=-1))
    for part, product in zip(parts, expected, strict=True):
        assert torch.equal(part(x), product)
        for name, whole in fused.named_parameters():
            assert part.get_parameter(name).untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()


def test_int8_and_float_parts_are_not_fused():
    with pytest.raises(ValueError, match="only some have int8 weights"):
        fuse([Linear(nn.Parameter(torch.randn(2, 8))), _linear(2, 8, bias=False)])


def test_a_quarter_of_the_bytes_is_read(stack):
    plain = DecoderStack(random_llama(2, vocab_size=29, attention_bias=True))
    share = sum(stack.sublayer_bytes) / sum(plain.sublayer_bytes)
    assert 0.25 < share < 0.4  # scales and biases weigh much in so small a model
    assert stack.head_product.weight_bytes == 29 * (32 + 4)


def test_every_linear_module_is_int8_and_all_else_float32(stack):
    weights = {m for m in stack.model.modules() if type(m) is QuantizedLinear}
    assert len(weights) == 7 * stack.num_layers + 1
    others = [p for m in stack.model.modules() if m not in weights for p in m.parameters(recurse=False)]
    assert {parameter.dtype for parameter in others} == {torch.float32}
    assert stack.dtype == torch.float32
    assert stack.embedding.weight.dtype == torch.float32


def test_transformers_own_code_runs_the_quantized_model(stack):
    exact = _float_copy(stack.model)
    tokens = torch.tensor([PROMPT])
    with torch.inference_mode():
        logits, expected = stack.model(tokens).logits, exact(tokens).logits
        torch.testing.assert_close(logits.double(), expected, rtol=1e-3, atol=1e-3)
        ours = Session(stack).prefill(tokens)[0]
        torch.testing.assert_close(ours.double(), expected[0, -1], rtol=1e-3, atol=1e-3)


def test_the_better_precision_is_the_dequantized_model_in_float64(stack):
    found = precise_logits(stack.model, PROMPT)
    with torch.inference_mode():
        expected = _float_copy(stack.model)(torch.tensor([PROMPT])).logits[0, -1]
    assert found.dtype == torch.float64
    # Rotary positions and RMS norms are computed in float32 either way.
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert plain_logits(stack.model, PROMPT).dtype == torch.float32


def test_a_token_gives_the_same_bits_alone_and_verified_among_others(stack):
    alone, among = Session(stack), Session(stack)
    tokens, full = torch.tensor([[7, 8, 9, 10, 11]]), DepthPlan.full(stack.num_layers)
    for session in (alone, among):
        session.prefill(torch.tensor([PROMPT]))
    singly = [alone.forward(tokens[:, i : i + 1], full).logits[0, 0] for i in range(5)]
    together = among.verify(tokens).logits[0]
    if stack.native is None:
        torch.testing.assert_close(torch.stack(singly), together, rtol=1e-4, atol=1e-4)
    else:
        assert torch.equal(torch.stack(singly), together)


@pytest.mark.parametrize("kv_fill", ["propagate", "mask"])
def test_what_is_drafted_and_verified_is_what_the_quantized_model_says(stack, kv_fill):
    request = generate_request(PROMPT, 20, sampling=Sampling(), seed=0)

    def decode(text: str) -> list[int]:
        strategy = resolve(parse_strategy(text))
        strategy.prepare(Preparation(stack, (PROMPT,)))
        return [t for emission in strategy.generate(Session(stack), request) for t in emission.tokens]

    draft = f"draft=static_exit,draft.exit_layer=2,draft.kv_fill={kv_fill}"
    assert decode(f"self_speculative:{draft}") == decode("autoregressive")


def test_loading_rounds_what_was_saved_and_holds_the_float_weights_no_longer(tmp_path):
    model = random_llama(4, vocab_size=29)
    model.save_pretrained(tmp_path)
    stack = load_stack(tmp_path, "int8wo", "cpu")
    assert weight_type("int8wo") == torch.int8
    assert weight_type("bfloat16") == torch.bfloat16
    layer = stack.model.get_submodule("model.layers.1.self_attn.k_proj")
    rounded, scale = quantized(model.get_parameter("model.layers.1.self_attn.k_proj.weight"))
    assert torch.equal(layer.get_parameter("weight"), rounded)
    assert torch.equal(layer.get_parameter("scale"), scale)
    assert not [m for m in stack.model.modules() if type(m) is nn.Linear]
    child = nn.Linear(3, 3)
    assert quantize(nn.Sequential(child)) == 1
    assert not list(child.parameters())
