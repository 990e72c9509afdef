"""The KV contract in its plainest form.

``Reference`` takes one sequence position by position, sub-layer by sub-layer, head by head, through the
modules of transformers' untouched model. It knows no batch, no rows and no buffers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lsbench.engine import DepthPlan


@dataclass
class Place:
    """One position: what is known of it at every layer."""

    token: int
    keys: list[Any]
    values: list[Any]
    state: list[str]
    frontier: int = 0
    """How many leading sub-layers ran exactly."""
    entering: Any = None
    """The exact hidden state that enters sub-layer ``frontier``; after the last one it enters the head."""


@dataclass
class Moving:
    """A position on its way up."""

    hidden: Tensor
    exact: bool = True


@dataclass
class Decisions:
    """What one token does: a plan, perhaps replaced after some layers, perhaps an early stop.

    Whether a layer's replacement or stop is acted on is part of the contract: only where the layer ran at
    least in part and something after it still would.
    """

    plan: DepthPlan
    replacements: dict[int, DepthPlan] = field(default_factory=dict)
    stop: int | None = None


class Reference:
    """One sequence under the KV contract."""

    def __init__(self, model: Any) -> None:
        self.model, self.layers = model, model.model.layers
        self.num_layers = len(self.layers)
        self.places: list[Place] = []

    @property
    def tokens(self) -> list[int]:
        return [place.token for place in self.places]

    @property
    def exact_length(self) -> int:
        inexact = [p for p, place in enumerate(self.places) if place.frontier < 2 * self.num_layers]
        return inexact[0] if inexact else len(self.places)

    @torch.inference_mode()
    def run(self, tokens: Sequence[int], decisions: Decisions) -> tuple[list[Tensor], list[bool]]:
        """One step: append tokens that do the same; the logits [V] of each, and which sub-layers they ran."""
        new = range(len(self.places), len(self.places) + len(tokens))
        moving = {}
        for position, token in zip(new, tokens, strict=True):
            blank: list[Any] = [None] * self.num_layers
            self.places.append(Place(token, blank[:], blank[:], ["pending"] * self.num_layers))
            moving[position] = Moving(self._embed(token))
        runs, fill = list(decisions.plan.run), decisions.plan.kv_fill
        for index in range(2 * self.num_layers):
            layer, is_mlp = divmod(index, 2)
            if runs[index]:
                if not is_mlp:
                    moving.update(self._bring_up(layer, moving))
                self._sublayer(index, moving)
            else:
                for position, row in moving.items():
                    self._stop_being_exact(position, row, index)
                moving = {position: moving[position] for position in new}
                if not is_mlp:
                    for position in new:
                        self._fill(layer, position, moving[position], fill)
            number = layer + 1
            if (
                is_mlp
                and number < self.num_layers
                and any(runs[index - 1 : index + 1])
                and any(runs[index + 1 :])
            ):
                if number in decisions.replacements:
                    runs[index + 1 :] = decisions.replacements[number].run[index + 1 :]
                    fill = decisions.replacements[number].kv_fill
                if number == decisions.stop:
                    runs[index + 1 :] = [False] * len(runs[index + 1 :])
        for position, row in moving.items():
            if row.exact:
                self.places[position].frontier = 2 * self.num_layers
                self.places[position].entering = row.hidden
        return [self._head(moving[position].hidden) for position in new], runs

    def verify(self, tokens: Sequence[int], first: int) -> list[Tensor]:
        """Everything from position ``first`` on, anew, at full depth."""
        del self.places[first:]
        return self.run(tokens, Decisions(DepthPlan.full(self.num_layers)))[0]

    def _embed(self, token: int) -> Tensor:
        return self.model.model.embed_tokens(torch.tensor(token, device=self.model.device))

    def _head(self, hidden: Tensor) -> Tensor:
        return self.model.lm_head(self.model.model.norm(hidden))

    def _bring_up(self, layer: int, below: dict[int, Moving]) -> dict[int, Moving]:
        """Positions pending at ``layer`` that those ``below`` would see, run up to it from where they are."""
        up = {
            position: Moving(place.entering)
            for position, place in enumerate(self.places[: max(below)])
            if place.state[layer] == "pending" and position not in below
        }
        reached = {position: self.places[position].frontier for position in up}
        for index in range(min(reached.values(), default=2 * layer), 2 * layer):
            here = {position: up[position] for position, at in reached.items() if at == index}
            if index % 2 == 0:
                here.update(self._bring_up(index // 2, here))
            self._sublayer(index, here)
            up.update(here)
            reached.update(dict.fromkeys(here, index + 1))
        return up

    def _sublayer(self, index: int, rows: dict[int, Moving]) -> None:
        layer = self.layers[index // 2]
        if index % 2:
            for row in rows.values():
                row.hidden = row.hidden + layer.mlp(layer.post_attention_layernorm(row.hidden))
            return
        number = index // 2
        queries = {}
        for position, row in rows.items():
            queries[position], keys, values = self._project(number, position, row.hidden)
            self._store(number, position, keys, values, "exact" if row.exact else "approximate")
        for position in sorted(rows):
            row, entering = rows[position], rows[position].hidden
            row.hidden = entering + layer.self_attn.o_proj(self._attend(number, position, queries[position]))
            if any(place.state[number] != "exact" for place in self.places[:position]):
                self._stop_being_exact(position, row, index, entering)

    def _project(self, number: int, position: int, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries [H, d] and keys, and values [Hkv, d]."""
        attention = self.layers[number].self_attn
        normed = self.layers[number].input_layernorm(hidden)
        cos, sin = self.model.model.rotary_emb(
            hidden[None, None], torch.tensor([[position]], device=hidden.device)
        )
        width = attention.head_dim

        def turned(x: Tensor) -> Tensor:
            first, second = x[..., : width // 2], x[..., width // 2 :]
            return x * cos[0, 0] + torch.cat((-second, first), dim=-1) * sin[0, 0]

        queries, keys, values = (
            product(normed).view(-1, width)
            for product in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        return turned(queries), turned(keys), values

    def _attend(self, number: int, position: int, queries: Tensor) -> Tensor:
        """[H * d] over the positions that are not masked here, its own included."""
        seen = [place for place in self.places[: position + 1] if place.state[number] != "masked"]
        assert all(place.state[number] != "pending" for place in seen)
        keys = torch.stack([place.keys[number] for place in seen])
        values = torch.stack([place.values[number] for place in seen])
        sharing = queries.shape[0] // keys.shape[1]
        heads = []
        for head, query in enumerate(queries):
            scores = keys[:, head // sharing] @ query / query.shape[0] ** 0.5
            heads.append(torch.softmax(scores, dim=0) @ values[:, head // sharing])
        return torch.cat(heads)

    def _fill(self, number: int, position: int, row: Moving, fill: str) -> None:
        place = self.places[position]
        if fill == "mask":
            place.state[number] = "masked"
        elif fill == "propagate":
            _, keys, values = self._project(number, position, row.hidden)
            exact = place.frontier == 2 * number
            self._store(number, position, keys, values, "exact" if exact else "approximate")

    def _store(self, number: int, position: int, keys: Tensor, values: Tensor, state: str) -> None:
        place = self.places[position]
        place.keys[number], place.values[number], place.state[number] = keys, values, state

    def _stop_being_exact(
        self, position: int, row: Moving, index: int, entering: Tensor | None = None
    ) -> None:
        if row.exact:
            row.exact = False
            self.places[position].frontier = index
            self.places[position].entering = row.hidden if entering is None else entering
