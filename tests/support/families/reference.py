"""The KV contract in its plainest form, over transformers' own decoder layers.

One position at a time goes through a whole layer of the untouched model, with what its other sub-layer adds
set to nothing, and with a cache that offers the keys and values which the contract lets it see. Whatever a
layer does with norms, multipliers, rotations or experts, it does itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from support.families.models import TinyFamily, argument_of
from support.kv_contract.reference import Moving, Reference


class _Offered:
    """A cache that offers the keys and values of other positions, and notes those it is given."""

    def __init__(self, keys: list[Tensor], values: list[Tensor]) -> None:
        self.others = keys, values
        self.made: tuple[Tensor, Tensor] | None = None

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """[1, Hkv, 1, d] of the position itself, after those that are offered."""
        self.made = keys[0, :, 0], values[0, :, 0]
        offered = (torch.stack(each, dim=1)[None] if each else keys[:, :, :0] for each in self.others)
        before_keys, before_values = offered
        return torch.cat((before_keys, keys), dim=2), torch.cat((before_values, values), dim=2)


class LayerReference(Reference):
    """One sequence under the KV contract, in a model of any family."""

    def __init__(self, tiny: TinyFamily) -> None:
        self.tiny, self.variant = tiny, tiny.variant
        self.model, self.layers = tiny.outside, tiny.decoder.layers
        self.num_layers = len(self.layers)
        self.places = []
        self._entered: dict[tuple[int, int], Tensor] = {}
        """(layer, position) to what entered the layer, where its attention ran last."""

    def _embed(self, token: int) -> Tensor:
        embedded = self.tiny.decoder.get_submodule(self.variant.embedding)(self.tiny.tensor([[token]]))[0, 0]
        return embedded * getattr(self.model.config, "embedding_multiplier", 1.0)

    def _head(self, hidden: Tensor) -> Tensor:
        """Through the whole causal LM, with ``hidden`` in place of what its layers made."""
        norm = self.tiny.decoder.get_submodule(self.variant.norm)
        handle = norm.register_forward_pre_hook(lambda *_: (hidden[None, None],))
        try:
            return self.model(self.tiny.tensor([[0]]), use_cache=False).logits[0, 0]
        finally:
            handle.remove()

    def _sublayer(self, index: int, rows: dict[int, Moving]) -> None:
        number = index // 2
        if index % 2:
            for position, row in rows.items():
                entered = (
                    self._entered.get((number, position), row.hidden) if self.variant.parallel else row.hidden
                )
                made, _ = self._through(number, position, entered, self.variant.attention)
                row.hidden = row.hidden + (made - entered)
                self._entered.pop((number, position), None)
            return
        for position, row in rows.items():
            _, (keys, values) = self._through(number, position, row.hidden, self.variant.mlp)
            self._store(number, position, keys, values, "exact" if row.exact else "approximate")
        for position in sorted(rows):
            row, entering = rows[position], rows[position].hidden
            self._entered[number, position] = entering
            seen = self._visible(number, position)
            row.hidden, _ = self._through(number, position, entering, self.variant.mlp, seen)
            if any(place.state[number] != "exact" for place in self.places[:position]):
                self._stop_being_exact(position, row, index, entering)

    def _visible(self, number: int, position: int) -> list[int]:
        """Earlier positions that are seen at a layer."""
        window = self.variant.windows[number]
        first = 0 if window is None else max(0, position - window + 1)
        seen = [p for p in range(first, position) if self.places[p].state[number] != "masked"]
        assert all(self.places[p].state[number] != "pending" for p in seen)
        return seen

    def _through(
        self, number: int, position: int, hidden: Tensor, without: str, seen: list[int] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``hidden`` [D] through one layer ``without`` one sub-layer; its result, and keys and values."""
        layer = self.layers[number]
        places = [self.places[p] for p in seen or ()]
        cache = _Offered([p.keys[number] for p in places], [p.values[number] for p in places])
        at = self.tiny.tensor([[position]])
        handle = layer.get_submodule(without).register_forward_hook(_nothing)
        try:
            made = layer(
                hidden[None, None],
                attention_mask=None,
                position_ids=at,
                position_embeddings=self._turns(number, hidden[None, None], at),
                **{argument_of(layer.forward, "cache", "past_key_values", "layer_past"): cache},
            )
        finally:
            handle.remove()
        assert cache.made is not None
        return made[0, 0], cache.made

    def _turns(self, number: int, like: Tensor, at: Tensor) -> Any:
        rotary: Callable[..., Any] = self.tiny.decoder.rotary_emb
        kinds = isinstance(getattr(rotary, "rope_type", None), dict)
        return rotary(like, at, *((self.model.config.layer_types[number],) if kinds else ()))

    def _project(self, number: int, position: int, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, (keys, values) = self._through(number, position, hidden, self.variant.mlp)
        return keys, keys, values

    def _stop_being_exact(
        self, position: int, row: Moving, index: int, entering: Tensor | None = None
    ) -> None:
        """In a parallel model a position is taken up again at a whole layer, never at its MLP alone."""
        if row.exact and index % 2 and self.variant.parallel:
            index, entering = index - 1, self._entered[index // 2, position]
        super()._stop_being_exact(position, row, index, entering)


def _nothing(_: Any, __: Any, made: Any) -> Any:
    """A hook: the module adds nothing."""
    return (torch.zeros_like(made[0]), *made[1:]) if isinstance(made, tuple) else torch.zeros_like(made)
