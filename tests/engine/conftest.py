"""Tiny random Llama models: transformers' own, left untouched, and the same weights under the engine."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from lsbench.engine import DecoderStack

VOCABULARY = 29

SHAPES: dict[str, dict[str, Any]] = {
    "grouped": {"num_attention_heads": 4, "num_key_value_heads": 2},
    "tied": {"num_attention_heads": 2, "num_key_value_heads": 2, "tie_word_embeddings": True},
    "biased": {"num_attention_heads": 4, "num_key_value_heads": 1, "attention_bias": True, "mlp_bias": True},
    "llama3_rope": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    },
    "linear_rope": {
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0},
    },
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Products this small are slower on two threads than on one."""
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Tiny:
    """One model twice."""

    outside: LlamaForCausalLM
    stack: DecoderStack

    @property
    def num_layers(self) -> int:
        return self.stack.num_layers

    @torch.inference_mode()
    def full_pass(self, tokens: Sequence[int]) -> Tensor:
        """transformers' logits [T, V], all tokens in one pass without a cache."""
        return self.outside(torch.tensor([list(tokens)]), use_cache=False).logits[0]

    @torch.inference_mode()
    def full_keys_and_values(self, tokens: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """transformers' keys and values of each layer, [Hkv, T, d]."""
        cache = DynamicCache(config=self.outside.config)
        self.outside(torch.tensor([list(tokens)]), past_key_values=cache, use_cache=True)
        return [(layer.keys[0], layer.values[0]) for layer in cache.layers]


@lru_cache
def make_tiny(shape: str = "grouped", dtype: torch.dtype = torch.float64, num_layers: int = 4) -> Tiny:
    """The same weights at every call."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=num_layers,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
        **SHAPES[shape],
    )
    generator = torch.Generator().manual_seed(sorted(SHAPES).index(shape))
    model = LlamaForCausalLM(config).to(dtype).eval()
    with torch.no_grad():
        # Wide enough that every sub-layer changes what comes out, which transformers' own start does not.
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and "norm" in name:
                parameter.uniform_(0.5, 1.5, generator=generator)
            else:
                width = parameter.shape[-1] if parameter.ndim == 2 else 16
                parameter.normal_(0.0, 1.5 * width**-0.5, generator=generator)
    return Tiny(copy.deepcopy(model), DecoderStack(model))


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Tiny]:
    """``tiny(shape, dtype, num_layers)``; shapes are the keys of ``SHAPES``."""
    return make_tiny


QUICK = ("biased", "tied")


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow, id=name)
        for name in sorted(SHAPES)
    ],
)
def each_tiny(request: pytest.FixtureRequest) -> Tiny:
    """Every shape in turn, in float64."""
    return make_tiny(request.param)
