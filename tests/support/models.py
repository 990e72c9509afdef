"""Random models small enough to run in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    # Far wider than transformers' own, so that every layer changes the prediction.
    "initializer_range": 0.3,
}


def random_llama(seed: int, **config: Any) -> LlamaForCausalLM:
    """In float32, the same at every call; ``config`` says where it is not as ``SMALL``."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**{**SMALL, **config})).eval()


@contextmanager
def single_thread() -> Iterator[None]:
    """Threads that wait for each other cost far more than so small a model gains by them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
