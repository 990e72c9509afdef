"""A small model made of random numbers: every rule of the engine holds on it, and it costs milliseconds."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lsbench.engine.stack import DecoderStack

_HIDDEN, _INTERMEDIATE, _CONTEXT = 32, 80, 1024
_SPREAD = 1.5
"""Times 1/sqrt(width): wide enough that leaving out any sub-layer changes the prediction."""


def random_stack(num_layers: int = 6, vocabulary_size: int = 61, seed: int = 0) -> DecoderStack:
    """A Llama in float64 on the CPU, the same weights at every call with the same arguments.

    Args:
        num_layers: L.
        vocabulary_size: V.
        seed: of the weights; the global random state is neither read nor changed.
    """
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=_HIDDEN,
        intermediate_size=_INTERMEDIATE,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=_CONTEXT,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        model = LlamaForCausalLM(config).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5, generator=generator)
            else:
                parameter.normal_(0.0, _SPREAD * parameter.shape[-1] ** -0.5, generator=generator)
    return DecoderStack(model)
