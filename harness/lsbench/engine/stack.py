"""DecoderStack: a transformers causal LM made addressable by depth.

Embed, run any sub-layer on any rows, final norm and head on any hidden state. The model's modelling code
is not forked: its parameters, norms, activation and rotary embedding are used where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from lsbench.engine.agreement import ALONE, Agreement
from lsbench.engine.attention import AttentionShape, attend, capped_attend
from lsbench.engine.block import Block, norm_of
from lsbench.engine.families import Family, context_length, family_for
from lsbench.engine.graphs import GraphedDecoder, graphed_decoder
from lsbench.engine.huge_pages import place_in_huge_pages
from lsbench.engine.linear import Linear, stand_in
from lsbench.engine.mapped_files import letting_go
from lsbench.engine.mlp import take_experts_one_by_one
from lsbench.engine.native import NativeDecoder, native_decoder
from lsbench.engine.partial_head import PartialHead
from lsbench.engine.rotary import RotaryTables, Rotation, rotation, unturned

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class DecoderStack:
    """The layers of a causal LM, one by one.

    Args:
        model: a transformers causal LM whose ``config.model_type`` a family declares. Its linear
            modules are replaced by the engine's (sharing weights); its own ``generate`` keeps working.
        agreement: with the other ranks, where ``model`` holds this one's part alone, whose linear modules are
            the engine's already.
        heads: query and key-value heads that this rank holds; None for all.

    Attributes:
        model, agreement: as given.
        device: where the model is.
        layers: transformers' own decoder layers, which a loop over the whole model calls.

    Raises:
        UnsupportedModel: no family declares the architecture, or it asks for what the engine cannot do.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        agreement: Agreement = ALONE,
        heads: tuple[int, int] | None = None,
    ) -> None:
        config = model.config
        family = family_for(config)
        model.requires_grad_(False).eval()
        stand_in(model)
        if next(model.parameters()).dtype == torch.float64:
            take_experts_one_by_one(model)
        self.model = model
        self.agreement = agreement
        decoder = model.get_submodule(family.decoder)
        self.embedding = cast(nn.Embedding, decoder.get_submodule(family.embedding))
        self.device: torch.device = self.embedding.weight.device
        self._embedding_factor = _option(config, family.embedding_multiplier)
        layers = self.layers = cast(nn.ModuleList, decoder.get_submodule(family.layers))
        attention = layers[0].get_submodule(family.attention)
        self.shape = AttentionShape(
            *(heads or family.heads(config)),
            family.head_width(config),
            float(cast(float, attention.scaling)),
        )
        self._tables = RotaryTables(
            decoder.get_submodule(family.rotary),
            family.rotary_pairs,
            family.rotary_table,
            self.context_length,
            torch.empty(0, dtype=self.dtype, device=self.device),
        )
        cap = _option(config, family.attention_cap)
        attending = attend if cap is None else capped_attend(cap)
        made = (
            Block(layer, family, config, self.shape, rotates, attending, window)
            for layer, rotates, window in zip(
                layers, self._rotations(family, layers), family.windows(config), strict=True
            )
        )
        self.blocks = list(letting_go(made))
        self.final_norm = norm_of(decoder.get_submodule(family.final_norm))
        self.head_product = cast(Linear, model.get_submodule(family.head))
        self._finish_logits = _logit_scaling(family, config)
        self._partial_heads: WeakValueDictionary[tuple[int, ...], PartialHead] = WeakValueDictionary()
        if self.device.type == "cpu":
            place_in_huge_pages(self._holders())
        layers_in_code = [block.native() for block in self.blocks]
        self.native: NativeDecoder | GraphedDecoder | None
        if agreement.size == 1:
            graphed = graphed_decoder(self.blocks, self.shape.scale, self.device)
            self.native = native_decoder(layers_in_code) or graphed
        else:
            self.native = native_decoder(layers_in_code, agreement.sum)

    def _holders(self) -> Iterator[nn.Module]:
        """Every module that holds weights: the model's own, and the fused ones, of which they hold views."""
        yield from self.model.modules()
        for block in self.blocks:
            for part in (*vars(block).values(), *vars(block.mlp).values()):
                if isinstance(part, Linear):
                    yield part

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
        """Precision of hidden states and the KV cache; of the weights too, unless these are int8."""
        return self.embedding.weight.dtype

    @property
    def context_length(self) -> int:
        """The most positions the model runs on."""
        return context_length(self.model.config)

    @property
    def sublayer_bytes(self) -> tuple[int, ...]:
        """Bytes of weights a token reads in each of the 2L sub-layers, in running order, on all ranks."""
        return tuple(size for block in self.blocks for size in (block.attention_bytes, block.mlp_bytes))

    def embed(self, tokens: Tensor) -> Tensor:
        """Token ids [N] int64 to hidden states [N, D]."""
        # A module of another kind may do more than look up; a plain one's weight is sooner found so.
        if type(self.embedding) is nn.Embedding:
            embedded = torch.embedding(cast(Tensor, self.embedding._parameters["weight"]), tokens)
        else:
            embedded = self.embedding(tokens)
        return embedded if self._embedding_factor is None else embedded * self._embedding_factor

    def head(self, hidden: Tensor) -> Tensor:
        """Final norm and output head: hidden states [N, D] at any depth to logits [N, V]."""
        logits = self.head_product(self.final_norm(hidden))
        return logits if self._finish_logits is None else self._finish_logits(logits)

    def partial_head(self, tokens: Tensor) -> PartialHead:
        """Final norm and the head's rows of some tokens, which are copied side by side here, once.

        Args:
            tokens: [n] int64 ids, each once.

        Returns:
            a product that reads the n rows alone: hidden states [N, D] to logits [N, n], in their order. The
            same object for the same tokens in the same order, as long as anyone holds it, so that whoever
            predicts with it and whoever only looks share one copy, and one product.
        """
        ids = tuple(tokens.tolist())
        head = self._partial_heads.get(ids)
        if head is None:
            head = PartialHead(tokens, self.head_product, self.final_norm, self._finish_logits)
            self._partial_heads[ids] = head
        return head

    def rotary(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines [>= length, 1, width] of the rotary positions, computed once and kept.

        Raises:
            UnsupportedModel: positions beyond those that its kind of rotary positions can be cached for.
        """
        return self._tables.upto(length)

    def _rotations(self, family: Family, layers: nn.ModuleList) -> list[Rotation]:
        """How each layer turns its heads; those alike share one."""
        kinds = getattr(self.model.config, "layer_types", None) or [None] * len(layers)
        made: dict[str | None, Rotation] = {}
        turns: list[Rotation] = []
        for layer, kind in zip(layers, kinds, strict=True):
            if family.rotates and not getattr(layer.get_submodule(family.attention), family.rotates):
                turns.append(unturned)
                continue
            if kind not in made:
                made[kind] = rotation(
                    family.rotary_pairs,
                    self.shape.head_width,
                    self._tables.width,
                    family.rotary_precision,
                    self._tables.columns(kind),
                )
            turns.append(made[kind])
        return turns


def _option(config: Any, name: str | None) -> float | None:
    """The number that a configuration gives under ``name``, or None."""
    return None if name is None else getattr(config, name)


def _logit_scaling(family: Family, config: Any) -> Callable[[Tensor], Tensor] | None:
    """What becomes of the head's logits, if anything."""
    cap, factor = _option(config, family.logit_cap), _option(config, family.logit_multiplier)
    divisor = _option(config, family.logit_divisor)
    if cap is not None:
        return lambda logits: torch.tanh(logits / cap) * cap
    if factor is not None:
        return lambda logits: logits * factor
    return None if divisor is None else lambda logits: logits / divisor
