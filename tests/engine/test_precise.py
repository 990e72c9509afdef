import copy

import pytest
import torch

from lsbench.engine import DecoderStack
from lsbench.engine.precise import better_precision, plain_logits, precise_logits
from support.models import random_llama

TOKENS = (3, 1, 4, 1, 5, 9, 2, 6)


@pytest.fixture(params=["untied", "tied"])
def model(request):
    return random_llama(
        2,
        vocab_size=29,
        intermediate_size=48,
        num_hidden_layers=3,
        tie_word_embeddings=request.param == "tied",
    )


def in_precision(model, dtype):
    """As loading gives it: the rotary frequencies are no weights, and stay float32."""
    frequencies = model.model.rotary_emb.inv_freq
    model = copy.deepcopy(model).to(dtype)
    model.model.rotary_emb.inv_freq = frequencies
    return model


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_logits_are_those_of_a_model_loaded_in_the_better_precision(model, dtype):
    stack = DecoderStack(in_precision(model, dtype))
    wide = in_precision(stack.model, better_precision(dtype))
    with torch.no_grad():
        expected = wide(torch.tensor([TOKENS]), use_cache=False, logits_to_keep=1).logits[0, -1]
    found = precise_logits(stack.model, TOKENS)
    assert found.dtype == better_precision(dtype) == expected.dtype
    assert torch.equal(found, expected)


def test_weights_are_as_before(model):
    stack = DecoderStack(model.bfloat16())
    before = dict(stack.model.named_parameters())
    values = {name: parameter.clone() for name, parameter in before.items()}
    logits = plain_logits(stack.model, TOKENS)
    precise_logits(stack.model, TOKENS)
    after = dict(stack.model.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] and torch.equal(after[name], values[name]) for name in before)
    assert torch.equal(plain_logits(stack.model, TOKENS), logits)
    assert all(not module._forward_hooks for module in stack.model.modules())


def test_weights_are_as_before_after_a_failure_within(model, monkeypatch):
    stack = DecoderStack(model)
    before = dict(stack.model.named_parameters())
    failing = stack.model.model.layers[1].mlp.down_proj

    def fail(_):
        raise MemoryError

    monkeypatch.setattr(failing, "forward", fail)
    with pytest.raises(MemoryError):
        precise_logits(stack.model, TOKENS)
    assert all(parameter is before[name] for name, parameter in stack.model.named_parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_last_token_by_itself_predicts_the_same_but_for_rounding(model, dtype):
    stack = DecoderStack(in_precision(model, dtype))
    at_once, alone = (plain_logits(stack.model, TOKENS, at_once) for at_once in (True, False))
    assert at_once.dtype == dtype
    error = float((at_once.double() - alone.double()).abs().max() / at_once.abs().max())
    assert error < {torch.float64: 1e-6, torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]
    assert (at_once.argmax() == alone.argmax()) or dtype == torch.bfloat16
