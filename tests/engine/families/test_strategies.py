"""The strategies run on every family, and what claims to be lossless decodes as ``generate`` does."""

from __future__ import annotations

import pytest
import torch

from lsbench.engine import Session
from lsbench.spec import Sampling, parse_strategy
from lsbench.strategy import Preparation
from lsbench.strategy.registry import resolve
from support.families.models import VOCABULARY, TinyFamily
from support.requests import generate_request

PROMPT = (5, 17, 3, 24, 8, 21, 9)
COUNT = 14


@pytest.fixture
def decode(tiny_of: TinyFamily):
    """``decode(strategy)``: the tokens of one prompt, and the layers that each ran."""
    generator = torch.Generator().manual_seed(9)
    prompts = torch.randint(0, VOCABULARY, (3, 12), generator=generator).tolist()
    preparation = Preparation(tiny_of.stack, tuple(map(tuple, prompts)))

    def decode(text: str) -> tuple[list[int], list[float]]:
        strategy = resolve(parse_strategy(text))
        strategy.check(tiny_of.num_layers)
        strategy.prepare(preparation)
        request = generate_request(PROMPT, COUNT, sampling=Sampling(), seed=0)
        emitted = list(strategy.generate(Session(tiny_of.stack), request))
        tokens = [token for emission in emitted for token in emission.tokens]
        return tokens, [depth for emission in emitted for depth in emission.depth or ()]

    return decode


def _generated(tiny: TinyFamily) -> list[int]:
    ids = tiny.stack.model.generate(torch.tensor([PROMPT]), max_new_tokens=COUNT, do_sample=False)
    return ids[0, len(PROMPT) :].tolist()


@pytest.mark.parametrize(
    "draft",
    [
        "draft=static_exit,draft.exit_layer=2,draft.kv_fill=mask",
        "draft=dynamic_exit,draft.threshold=0.06,draft.kv_fill=propagate",
        "draft=dynamic_skip,draft.skip_set=[2.mlp,3.attention]",
    ],
)
def test_self_speculation_decodes_as_generate_does(tiny_of, decode, draft: str) -> None:
    tokens, _ = decode(f"self_speculative:num_speculations=3,{draft}")
    assert tokens == _generated(tiny_of)


def test_the_full_model_decodes_as_generate_does(tiny_of, decode) -> None:
    assert decode("autoregressive")[0] == _generated(tiny_of)


@pytest.mark.parametrize(
    "text",
    [
        "static_exit:exit_layer=2",
        "dynamic_exit:threshold=0.06",
        "dynamic_skip:skip_set=[2.mlp,3]",
    ],
)
def test_fewer_layers_run_and_something_is_decoded(tiny_of, decode, text: str) -> None:
    tokens, depths = decode(text)
    assert len(tokens) == COUNT
    assert depths[0] == tiny_of.num_layers
    assert min(depths[1:]) < tiny_of.num_layers
