"""DecoderStack: a transformers causal LM made addressable by depth.

Embed, run any sub-layer on any rows, final norm and head on any hidden state. The model's modelling code
is not forked: its parameters, norms, activation and rotary embedding are used where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from lsbench.engine.block import AttentionShape, Block, norm_of, signed_sines
from lsbench.engine.families import family_of
from lsbench.engine.linear import Linear, stand_in

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class DecoderStack:
    """The layers of a causal LM, one by one.

    Args:
        model: a transformers causal LM whose ``config.model_type`` a family declares. Its linear
            modules are replaced by the engine's (sharing weights); its own ``generate`` keeps working.

    Raises:
        UnsupportedModel: no family declares the architecture.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config
        family = family_of(config.model_type)
        model.requires_grad_(False).eval()
        stand_in(model)
        self.model = model
        decoder = model.get_submodule(family.decoder)
        heads = config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // heads
        self.shape = AttentionShape(heads, config.num_key_value_heads or heads, width, width**-0.5)
        self.embedding = cast(nn.Embedding, decoder.get_submodule(family.embedding))
        layers = cast(nn.ModuleList, decoder.get_submodule(family.layers))
        self.blocks = [Block(layer, family, self.shape) for layer in layers]
        self.final_norm = norm_of(decoder.get_submodule(family.final_norm))
        self.head_product = cast(Linear, model.get_submodule(family.head))
        self._rotary = decoder.get_submodule(family.rotary)
        self._rotary_tables: tuple[Tensor, Tensor] | None = None

    @property
    def num_layers(self) -> int:
        """L."""
        return len(self.blocks)

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return self.head_product.out_features

    @property
    def dtype(self) -> torch.dtype:
        """Precision of weights, hidden states and the KV cache."""
        return self.embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.embedding.weight.device

    @property
    def context_length(self) -> int:
        """The most positions the model was made for."""
        return int(self.model.config.max_position_embeddings)

    @property
    def sublayer_bytes(self) -> tuple[int, ...]:
        """Bytes of weights a token reads in each of the 2L sub-layers, in running order."""
        return tuple(size for block in self.blocks for size in (block.attention_bytes, block.mlp_bytes))

    def embed(self, tokens: Tensor) -> Tensor:
        """Token ids [N] int64 to hidden states [N, D]."""
        return self.embedding(tokens)

    def head(self, hidden: Tensor) -> Tensor:
        """Final norm and output head: hidden states [N, D] at any depth to logits [N, V]."""
        return self.head_product(self.final_norm(hidden))

    def partial_head(self, tokens: Tensor) -> Callable[[Tensor], Tensor]:
        """Final norm and the head's rows of a few tokens, which are copied side by side here, once.

        Args:
            tokens: [n] int64 ids.

        Returns:
            a product that reads the n rows alone: hidden states [N, D] to logits [N, n], in their order.
        """
        weight, bias = self.head_product.weight[tokens], self.head_product.bias
        product = Linear(
            nn.Parameter(weight, requires_grad=False),
            None if bias is None else nn.Parameter(bias[tokens], requires_grad=False),
        )
        return lambda hidden: product(self.final_norm(hidden))

    def rotary(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines [>= length, 1, d] of the rotary positions, computed once and kept."""
        if self._rotary_tables is None or self._rotary_tables[0].shape[0] < length:
            held = 128 if self._rotary_tables is None else self._rotary_tables[0].shape[0]
            # No further than the model's context unless asked: some kinds of rotary positions (dynamic)
            # change all their frequencies when asked for a position beyond it.
            size = max(length, min(2 * held, self.context_length))
            like = torch.empty(0, dtype=self.dtype, device=self.device)
            cos, sin = self._rotary(like, torch.arange(size, device=self.device)[None])
            self._rotary_tables = cos[0][:, None], signed_sines(sin[0])[:, None]
        return self._rotary_tables
