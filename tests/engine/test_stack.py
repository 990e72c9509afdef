from __future__ import annotations

import copy

import pytest
import torch
from transformers import (
    FalconConfig,
    FalconForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from lsbench.engine import DecoderStack, DepthPlan, Session
from lsbench.engine.families import family_of, supported_model_types
from lsbench.errors import UnsupportedModel

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def test_the_stack_knows_its_model(each_tiny):
    stack, config = each_tiny.stack, each_tiny.outside.config
    assert stack.num_layers == config.num_hidden_layers
    assert stack.vocabulary_size == config.vocab_size
    assert stack.context_length == config.max_position_embeddings
    assert stack.dtype == torch.float64
    assert stack.device.type == "cpu"
    assert len(stack.sublayer_bytes) == 2 * stack.num_layers


def test_embedding_head_and_rotary_are_transformers_own(each_tiny):
    outside, stack = each_tiny.outside, each_tiny.stack
    tokens = torch.tensor([3, 1, 4])
    with torch.inference_mode():
        hidden = outside.model.embed_tokens(tokens)
        assert torch.equal(stack.embed(tokens), hidden)
        torch.testing.assert_close(stack.head(hidden), outside.lm_head(outside.model.norm(hidden)), **CLOSE)
        cos, sin = outside.model.rotary_emb(hidden[None], torch.arange(700)[None])
        ours_cos, ours_sin = stack.rotary(700)
    half = cos.shape[-1] // 2
    assert torch.equal(ours_cos[:700, 0], cos[0])
    assert torch.equal(ours_sin[:700, 0, :half], -sin[0, :, :half])
    assert torch.equal(ours_sin[:700, 0, half:], sin[0, :, half:])


def test_rotary_tables_are_made_once(each_tiny):
    stack = DecoderStack(copy.deepcopy(each_tiny.outside))
    first = stack.rotary(10)[0]
    assert stack.rotary(200)[0] is first
    longer = stack.rotary(first.shape[0] + 1)[0]
    assert longer.shape[0] >= first.shape[0] + 1
    assert torch.equal(longer[: first.shape[0]], first)


def test_dynamic_rotary_positions_stay_those_of_the_context():
    """Their frequencies change for good when asked for a position beyond the context."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=29, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=24, initializer_range=0.5,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0},
    )  # fmt: skip
    model = LlamaForCausalLM(config).double().eval()
    outside = copy.deepcopy(model)
    session = Session(DecoderStack(model))
    tokens = list(range(20))
    session.prefill(torch.tensor([tokens[:19]]))
    logits = session.forward(torch.tensor([tokens[19:]]), DepthPlan.full(2)).logits[0, 0]
    with torch.inference_mode():
        torch.testing.assert_close(logits, outside(torch.tensor([tokens])).logits[0, -1], **CLOSE)


def test_block_norms_equal_transformers_in_float32(tiny):
    model = tiny("grouped", torch.float32)
    hidden = torch.randn(5, 16)
    with torch.inference_mode():
        for block, layer in zip(model.stack.blocks, model.outside.model.layers, strict=True):
            torch.testing.assert_close(block.attention_norm(hidden), layer.input_layernorm(hidden))
            torch.testing.assert_close(block.mlp_norm(hidden), layer.post_attention_layernorm(hidden))


def test_parameters_want_no_gradient(each_tiny):
    assert not any(parameter.requires_grad for parameter in each_tiny.stack.model.parameters())


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2)), "gpt2"),
        (
            lambda: FalconForCausalLM(
                FalconConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
            ),
            "falcon",
        ),
    ],
)
def test_an_unsupported_architecture_is_refused_by_name(make, name):
    model = make()
    before = {type(module) for module in model.modules()}
    with pytest.raises(UnsupportedModel) as caught:
        DecoderStack(model)
    message = str(caught.value)
    assert f"'{name}' is not supported" in message
    assert all(supported in message for supported in supported_model_types())
    assert "\n" not in message
    assert {type(module) for module in model.modules()} == before


def test_the_nearest_family_is_offered():
    with pytest.raises(UnsupportedModel, match="nearest: llama"):
        family_of("lama")
    assert family_of("llama").name == "llama"
    assert "llama" in supported_model_types()
