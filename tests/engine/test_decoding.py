"""Greedy decoding through the strategies' own loop is transformers' ``generate``, in float64."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch

from lsbench.engine import ConstantPolicy, DepthPlan, DepthPolicy, Session
from lsbench.strategy.loops import decode
from lsbench_strategies.autoregressive import FullDepth
from support.requests import generate_request

PROMPTS = ((3,), (1, 4, 1, 5, 9), tuple((7 * n) % 29 for n in range(40)))
NEW = 24


def _decoded(model, prompt, policy) -> list[int]:
    request = generate_request(prompt, NEW)
    emitted = decode(Session(model.stack, capacity=8), request, policy)
    return [token for part in emitted for token in part.tokens]


@lru_cache
def _generated(model, prompt) -> list[int]:
    with torch.inference_mode():
        tokens = torch.tensor([prompt])
        # Without a mask, transformers would take the token that pads for padding.
        mask = torch.ones_like(tokens)
        output = model.outside.generate(tokens, attention_mask=mask, max_new_tokens=NEW, do_sample=False)
    return output[0, len(prompt) :].tolist()


@pytest.mark.parametrize("prompt", PROMPTS, ids=["one", "five", "forty"])
def test_autoregressive_is_generate(each_tiny, prompt):
    expected = _generated(each_tiny, prompt)
    assert len(expected) == NEW
    assert _decoded(each_tiny, prompt, FullDepth()) == expected


@pytest.mark.parametrize("prompt", PROMPTS, ids=["one", "five", "forty"])
def test_full_depth_reached_any_other_way_is_generate_too(each_tiny, prompt):
    class NeverStops(DepthPolicy):
        def should_exit(self, layer, exit_view):
            return exit_view.logits.isnan().any().item()

    expected = _generated(each_tiny, prompt)
    layers = each_tiny.num_layers
    assert _decoded(each_tiny, prompt, ConstantPolicy(DepthPlan.exit_at(layers, layers))) == expected
    assert _decoded(each_tiny, prompt, NeverStops()) == expected


@pytest.mark.slow
@pytest.mark.parametrize("fill", ["recompute", "propagate", "mask"])
@pytest.mark.parametrize("width", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_draft_and_verify_is_generate(each_tiny, fill, width):
    """Whatever is drafted, keeping what the full model would have said gives what it would have said."""
    prompt, layers = PROMPTS[1], each_tiny.num_layers
    plans = [DepthPlan.exit_at(layers, 2, fill), DepthPlan.skipping(layers, {2, 5}, fill)]
    session = Session(each_tiny.stack, capacity=8)
    output = [int(session.prefill(torch.tensor([prompt]))[0].argmax())]
    for plan in plans * NEW:
        drafted = [output[-1]]
        for _ in range(width):
            logits = session.forward(torch.tensor([drafted[-1:]]), plan).logits
            drafted.append(int(logits[0, -1].argmax()))
        said = session.verify(torch.tensor([drafted])).logits[0].argmax(-1).tolist()
        kept = 0
        while kept < width and drafted[kept + 1] == said[kept]:
            kept += 1
        output.extend(said[: kept + 1])
        session.truncate(session.lengths[0] - (width - kept))
    assert output[:NEW] == _generated(each_tiny, prompt)
