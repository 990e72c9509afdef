"""Tiny random models: transformers' own, left untouched, and the same weights under the engine."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoConfig,
    AutoModelForCausalLM,
    DynamicCache,
)
from transformers.masking_utils import sdpa_mask

from lsbench.engine import DecoderStack

VOCABULARY = 29
LAYERS = 4
WINDOW = 5
CONTEXT = 512

SLIDING, FULL = "sliding_attention", "full_attention"
BY_TYPE = {"layer_types": [SLIDING, FULL, SLIDING, SLIDING], "sliding_window": WINDOW}
SWITCHED = {**BY_TYPE, "use_sliding_window": True}
IN_SOME = (WINDOW, None, WINDOW, WINDOW)
IN_ALL = (WINDOW,) * LAYERS
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": True, "moe_intermediate_size": 16}


@dataclass(frozen=True)
class Variant:
    """A configuration of a model type, and what the reference must know of it.

    Attributes:
        model_type: as transformers names it.
        options: of its configuration, besides the sizes that all share.
        windows: positions each layer sees; None for all.
        parallel: attention and MLP both read what enters the layer.
        decoder, embedding, norm, attention, mlp: where transformers keeps them.
    """

    model_type: str
    options: dict[str, Any] = field(default_factory=dict)
    windows: tuple[int | None, ...] = (None,) * LAYERS
    parallel: bool = False
    decoder: str = "model"
    embedding: str = "embed_tokens"
    norm: str = "norm"
    attention: str = "self_attn"
    mlp: str = "mlp"


_NEOX = {"decoder": "gpt_neox", "embedding": "embed_in", "norm": "final_layer_norm", "attention": "attention"}
_HALF = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}
_TIED = {"tie_word_embeddings": True}
_GRANITE = {
    "embedding_multiplier": 3.0, "residual_multiplier": 0.7,
    "logits_scaling": 2.0, "attention_multiplier": 0.3,
}  # fmt: skip

VARIANTS: dict[str, Variant] = {
    "llama": Variant("llama"),
    "mistral": Variant("mistral", {"sliding_window": WINDOW}, IN_ALL),
    "mistral without a window": Variant("mistral", {"sliding_window": None}),
    "ministral": Variant("ministral", {**BY_TYPE, "head_dim": 4}, IN_SOME),
    "mixtral": Variant(
        "mixtral", {"sliding_window": WINDOW, "num_local_experts": 4, "num_experts_per_tok": 2}, IN_ALL
    ),
    "qwen2": Variant("qwen2"),
    "qwen2 sliding": Variant("qwen2", SWITCHED, IN_SOME),
    "qwen2_moe": Variant(
        "qwen2_moe",
        {**EXPERTS, **SWITCHED, "shared_expert_intermediate_size": 16, "mlp_only_layers": [1]},
        IN_SOME,
    ),
    "qwen3": Variant("qwen3", {**SWITCHED, "head_dim": 8}, IN_SOME),
    "qwen3_moe": Variant(
        "qwen3_moe",
        {
            **EXPERTS,
            "head_dim": 8,
            "mlp_only_layers": [2],
            "use_sliding_window": True,
            "sliding_window": WINDOW,
        },
        IN_ALL,
    ),
    "phi": Variant("phi", {"qk_layernorm": True, **_HALF}, parallel=True, norm="final_layernorm"),
    "phi3": Variant("phi3", {"sliding_window": WINDOW, **_HALF, "head_dim": 8}, IN_ALL),
    "gemma": Variant("gemma", {"head_dim": 8, **_TIED}),
    "gemma2": Variant(
        "gemma2",
        {
            **BY_TYPE,
            "head_dim": 8,
            "query_pre_attn_scalar": 5,
            "attn_logit_softcapping": 3.0,
            "final_logit_softcapping": 5.0,
        },
        IN_SOME,
    ),
    "gemma3_text": Variant(
        "gemma3_text",
        {
            **BY_TYPE,
            "head_dim": 8,
            "query_pre_attn_scalar": 5,
            "final_logit_softcapping": 5.0,
            "rope_parameters": {
                FULL: {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
                SLIDING: {"rope_type": "default", "rope_theta": 50.0},
            },
        },
        IN_SOME,
    ),
    "olmo": Variant("olmo", {"clip_qkv": 1.0}),
    "olmo2": Variant("olmo2"),
    "olmo3": Variant("olmo3", BY_TYPE, IN_SOME),
    "olmoe": Variant(
        "olmoe", {"num_experts": 4, "num_experts_per_tok": 2, "clip_qkv": 1.0, "norm_topk_prob": False}
    ),
    "gpt_neox": Variant("gpt_neox", {"use_parallel_residual": True, **_HALF}, parallel=True, **_NEOX),
    "gpt_neox sequential": Variant("gpt_neox", {"use_parallel_residual": False, **_HALF}, **_NEOX),
    "smollm3": Variant("smollm3", {"no_rope_layers": [1, 0, 1, 1], **_TIED}),
    "granite": Variant("granite", {**_GRANITE, **_TIED}),
    "granitemoe": Variant(
        "granitemoe", {**_GRANITE, "num_local_experts": 4, "num_experts_per_tok": 2}, mlp="block_sparse_moe"
    ),
    "stablelm": Variant("stablelm", {"use_qkv_bias": True, "qk_layernorm": True, **_HALF}),
    "stablelm parallel": Variant("stablelm", {"use_parallel_residual": True, **_HALF}, parallel=True),
    "starcoder2": Variant("starcoder2", {"sliding_window": WINDOW}, IN_ALL),
    "glm": Variant("glm", {"head_dim": 8, "attention_bias": True, **_HALF}),
    "glm4": Variant("glm4", {"head_dim": 8, **_HALF}),
    "cohere": Variant("cohere", {"use_qk_norm": True, "logit_scale": 0.25}, parallel=True),
    "cohere2": Variant("cohere2", {**BY_TYPE, "logit_scale": 0.25, **_TIED}, IN_SOME, parallel=True),
    "seed_oss": Variant("seed_oss", {"head_dim": 8, "attention_bias": True, "attention_out_bias": False}),
    "arcee": Variant("arcee"),
    "nemotron": Variant("nemotron", {"head_dim": 8, **_HALF}),
}
"""By name; every declared model type is among them."""


def precise_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention with soft caps in the inputs' precision: transformers' own takes the softmax in float32."""
    sharing = query.shape[1] // key.shape[1]
    logits = query @ key.repeat_interleave(sharing, 1).transpose(2, 3) * scaling
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    if attention_mask is None and query.shape[2] > 1:
        attention_mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
    if attention_mask is not None:
        logits = logits.masked_fill(~attention_mask, -torch.inf)
    mixed = torch.softmax(logits, dim=-1) @ value.repeat_interleave(sharing, 1)
    return mixed.transpose(1, 2).contiguous(), None


AttentionInterface.register("precise", precise_attention)
AttentionMaskInterface.register("precise", sdpa_mask)


@dataclass(frozen=True)
class TinyFamily:
    """One model twice."""

    name: str
    outside: Any
    stack: DecoderStack

    @property
    def variant(self) -> Variant:
        return VARIANTS[self.name]

    @property
    def num_layers(self) -> int:
        return self.stack.num_layers

    def tensor(self, values: Any) -> Tensor:
        """Where the model is."""
        return torch.tensor(values, device=self.stack.device)

    @cached_property
    def decoder(self) -> Any:
        return self.outside.get_submodule(self.variant.decoder)

    @torch.inference_mode()
    def full_pass(self, tokens: Sequence[int]) -> Tensor:
        """transformers' logits [T, V], all tokens in one pass without a cache."""
        return self.outside(self.tensor([list(tokens)]), use_cache=False).logits[0]

    @torch.inference_mode()
    def full_keys_and_values(self, tokens: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """transformers' keys and values of each layer, [Hkv, T, d]."""
        cache = DynamicCache()  # Without a configuration it keeps what lies outside a window, too.
        name = argument_of(self.decoder.forward, "cache", "past_key_values")
        self.decoder(self.tensor([list(tokens)]), use_cache=True, **{name: cache})
        return [(layer.keys[0], layer.values[0]) for layer in cache.layers]


@lru_cache
def argument_of(function: Any, *names: str) -> str:
    """The first of ``names`` that ``function`` takes: transformers renames them between versions."""
    parameters = inspect.signature(function).parameters
    return next(name for name in names if name in parameters)


def tiny_config(model_type: str, dtype: torch.dtype = torch.float64, **options: Any) -> Any:
    """A configuration of four layers; what a type does not know is ignored by it."""
    sizes = {
        "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": LAYERS,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0, "tie_word_embeddings": False,
        "attn_implementation": "eager" if model_type == "gemma2" else "sdpa",
        "experts_implementation": "eager" if dtype == torch.float64 else None,
    }  # fmt: skip
    return AutoConfig.for_model(model_type, **(sizes | options))


def random_model(config: Any, dtype: torch.dtype = torch.float64, seed: int = 3) -> Any:
    """Weights wide enough that every sub-layer changes what comes out."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(config).to(dtype).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.uniform_(0.5, 1.5, generator=generator)
            elif parameter.ndim == 1:
                parameter.normal_(0.0, 0.2, generator=generator)
            else:
                parameter.normal_(0.0, 1.5 * parameter.shape[-1] ** -0.5, generator=generator)
    return model


@lru_cache
def tiny_family(name: str, dtype: torch.dtype = torch.float64) -> TinyFamily:
    """The same weights at every call."""
    return made_family(name, dtype)


def made_family(
    name: str, dtype: torch.dtype = torch.float64, device: str = "cpu", **sizes: Any
) -> TinyFamily:
    """A model of its own, of other sizes where ``sizes`` gives them, such as ``vocab_size``."""
    variant = VARIANTS[name]
    options = variant.options | sizes
    for key in ("layer_types", "no_rope_layers"):
        if key in options:
            options[key] = options[key][: options.get("num_hidden_layers", LAYERS)]
    model = random_model(tiny_config(variant.model_type, dtype, **options), dtype).to(device)
    outside = copy.deepcopy(model)
    if variant.model_type == "gemma2":
        outside.config._attn_implementation = "precise"
    return TinyFamily(name, outside, DecoderStack(model))
