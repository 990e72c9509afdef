"""The KV contract in its plainest form, and a check of the engine against it.

``Reference`` takes one sequence position by position, sub-layer by sub-layer, head by head, through the
modules of transformers' untouched model. It knows no batch, no rows and no buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from torch import Tensor

from lsbench.engine import DepthPlan, DepthPolicy, ExitView, Session, StepContext
from lsbench.engine.cache import APPROXIMATE, EXACT, MASKED, PENDING

TOLERANCE = 1e-9
VOCABULARY = 29
STATES = {"pending": PENDING, "masked": MASKED, "approximate": APPROXIMATE, "exact": EXACT}


# -- the reference ----------------------------------------------------------------------------------


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
    """The exact hidden state that enters sub-layer ``frontier``."""


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
            moving[position] = Moving(self.model.model.embed_tokens(torch.tensor(token)))
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
        return [self.model.lm_head(self.model.model.norm(moving[position].hidden)) for position in new], runs

    def verify(self, tokens: Sequence[int]) -> list[Tensor]:
        """Everything from the first inexact position on, anew, at full depth."""
        del self.places[self.exact_length :]
        return self.run(tokens, Decisions(DepthPlan.full(self.num_layers)))[0]

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
        cos, sin = self.model.model.rotary_emb(hidden[None, None], torch.tensor([[position]]))
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


# -- scenarios --------------------------------------------------------------------------------------


class Scripted(DepthPolicy):
    """A policy that does at each token what it was told."""

    def __init__(self, script: Sequence[Decisions]) -> None:
        self.script = list(script)
        self.now = self.script[0]

    def plan(self, context: StepContext) -> DepthPlan:
        self.now = self.script.pop(0)
        return self.now.plan

    def replan(self, layer: int, exit_view: ExitView) -> DepthPlan | None:
        return self.now.replacements.get(layer)

    def should_exit(self, layer: int, exit_view: ExitView) -> bool:
        if layer == self.now.stop and layer % 2:
            exit_view.logits  # noqa: B018 - half of the stops look at the prediction first, and it is reused
        return layer == self.now.stop


@dataclass(frozen=True)
class Planned:
    """``forward`` of tokens [B, T] under one plan."""

    tokens: tuple[tuple[int, ...], ...]
    plan: DepthPlan


@dataclass(frozen=True)
class Decided:
    """``forward`` of tokens [B, T] under a policy for each sequence."""

    tokens: tuple[tuple[int, ...], ...]
    decisions: tuple[tuple[Decisions, ...], ...]


@dataclass(frozen=True)
class Verified:
    """``verify`` of what is not exact, and ``extra`` tokens more where the most of it is held."""

    extra: int
    seed: int


@dataclass(frozen=True)
class Cut:
    """``truncate`` of each sequence to a fraction of what it holds."""

    fractions: tuple[float, ...]


@dataclass(frozen=True)
class Scenario:
    """A prompt [B, T] and what follows."""

    prompt: tuple[tuple[int, ...], ...]
    capacity: int
    operations: tuple[Any, ...]


FILLS = st.sampled_from(["recompute", "recompute", "propagate", "mask"])


def exit_plans(num_layers: int) -> st.SearchStrategy[DepthPlan]:
    return st.builds(
        lambda e, fill: DepthPlan.exit_at(num_layers, e, fill), st.integers(1, num_layers), FILLS
    )


def skip_plans(num_layers: int) -> st.SearchStrategy[DepthPlan]:
    """Holes of layers or single sub-layers, now and then with an exit besides."""
    layers = st.sets(st.integers(0, num_layers - 1), min_size=1, max_size=2).map(
        lambda chosen: {2 * layer + part for layer in chosen for part in (0, 1)}
    )
    holes = st.sets(st.integers(0, 2 * num_layers - 1), min_size=1, max_size=3) | layers
    exits = st.just(num_layers) | st.integers(1, num_layers)

    def build(skipped: set[int], exit_layer: int, fill: Any) -> DepthPlan:
        return DepthPlan.skipping(num_layers, skipped | set(range(2 * exit_layer, 2 * num_layers)), fill)

    return st.builds(build, holes, exits, FILLS)


@st.composite
def scenarios(draw: st.DrawFn, num_layers: int, batch: int, max_operations: int) -> Scenario:
    token = st.integers(0, VOCABULARY - 1)

    def tokens(most: int) -> st.SearchStrategy[tuple[tuple[int, ...], ...]]:
        return st.integers(1, most).flatmap(lambda n: st.tuples(*[st.tuples(*[token] * n)] * batch))

    # A few plans that come back, so that what one token leaves out another one runs.
    exits, skips = exit_plans(num_layers), skip_plans(num_layers)
    plan = st.sampled_from([DepthPlan.full(num_layers), draw(exits), draw(skips), draw(exits | skips)])
    inner = st.integers(1, num_layers - 1)
    one = st.builds(
        Decisions, plan, st.just({}) | st.dictionaries(inner, plan, max_size=2), st.none() | inner
    )
    decided = tokens(2).flatmap(
        lambda ids: st.builds(Decided, st.just(ids), st.tuples(*[st.tuples(*[one] * len(ids[0]))] * batch))
    )
    planned = st.builds(Planned, tokens(2), plan)
    verified = st.builds(Verified, st.integers(0, 3), st.integers(0, 10**6))
    cut = st.builds(Cut, st.tuples(*[st.floats(0.3, 1)] * batch))
    kinds = st.one_of(planned, planned, planned, planned, decided, decided, verified, cut)
    operations = draw(st.lists(kinds, min_size=max_operations // 2, max_size=max_operations))
    return Scenario(draw(tokens(2)), draw(st.integers(1, 24)), tuple(operations))


def hard_scenarios(num_layers: int) -> dict[str, Scenario]:
    """What chance seldom finds."""
    full = DepthPlan.full(num_layers)
    shallow = DepthPlan.exit_at(num_layers, 1)
    hole = DepthPlan.skipping(num_layers, [2])
    late_hole = DepthPlan.skipping(num_layers, [4])

    def mix(*chosen: DepthPlan) -> Scenario:
        planned = [Planned(((number,),), plan) for number, plan in enumerate(chosen, start=1)]
        return Scenario(((3, 1),), 4, tuple(planned))

    return {
        # The second token exits before layer 2; the third leaves layer 2 out and so needs it at layer 3: on
        # its way there it needs what the first token left out at layer 2.
        "what a rider needs is pending": mix(hole, shallow, hole, full),
        # Riders join at layer 2 and stop at layer 3, which the second token leaves out, and are needed at 4.
        "riders meet a gap": mix(shallow, shallow, late_hole, full),
    }


# -- the check --------------------------------------------------------------------------------------


class Check:
    """A scenario through the engine and the reference; all there is is compared after each operation."""

    def __init__(self, tiny: Any, scenario: Scenario) -> None:
        self.tiny, self.scenario = tiny, scenario
        batch = len(scenario.prompt)
        self.session = Session(tiny.stack, batch, scenario.capacity)
        self.references = [Reference(tiny.outside) for _ in range(batch)]

    def run(self) -> None:
        full = Decisions(DepthPlan.full(self.tiny.num_layers))
        logits = self.session.prefill(torch.tensor(self.scenario.prompt))
        for b, prompt in enumerate(self.scenario.prompt):
            _same(logits[b], self.references[b].run(prompt, full)[0][-1])
        self.compare()
        for operation in self.scenario.operations:
            getattr(self, f"_{type(operation).__name__.lower()}")(operation)
            self.compare()
        self.finish()

    def _planned(self, operation: Planned) -> None:
        result = self.session.forward(torch.tensor(operation.tokens), operation.plan)
        for b, reference in enumerate(self.references):
            # Under one plan, all tokens are one step: what rides along rides once, with all of them.
            logits, runs = reference.run(operation.tokens[b], Decisions(operation.plan))
            _same(result.logits[b], torch.stack(logits))
            assert (result.runs[b] == np.array(runs)).all()

    def _decided(self, operation: Decided) -> None:
        if any(length == 0 for length in self.session.lengths):
            return
        try:
            [self.session.previous_logits(b) for b in range(self.session.batch)]
        except ValueError:
            return  # Cut behind what is still known: a policy has nothing to go by.
        policies = [Scripted(script) for script in operation.decisions]
        result = self.session.forward(torch.tensor(operation.tokens), policies)
        for b, reference in enumerate(self.references):
            for t, token in enumerate(operation.tokens[b]):
                logits, runs = reference.run([token], operation.decisions[b][t])
                _same(result.logits[b, t], logits[0])
                assert result.runs[b, t].tolist() == runs

    def _verified(self, operation: Verified) -> None:
        held = [reference.tokens[reference.exact_length :] for reference in self.references]
        count = max(1, max(map(len, held)) + operation.extra)
        rng = np.random.default_rng(operation.seed)
        tokens = [[*old, *rng.integers(0, VOCABULARY, count - len(old)).tolist()] for old in held]
        result = self.session.verify(torch.tensor(tokens))
        assert (result.layers_run == self.tiny.num_layers).all()
        assert self.session.exact_lengths == self.session.lengths
        for b, reference in enumerate(self.references):
            for t, logits in enumerate(reference.verify(tokens[b])):
                _same(result.logits[b, t], logits)
            _same(result.logits[b], self.tiny.full_pass(reference.tokens)[-count:])

    def _cut(self, operation: Cut) -> None:
        lengths = [
            int(held * part) for held, part in zip(self.session.lengths, operation.fractions, strict=True)
        ]
        self.session.truncate(lengths)
        for reference, length in zip(self.references, lengths, strict=True):
            del reference.places[length:]

    def compare(self) -> None:
        """All that is held equals the reference; what is called exact equals transformers' full pass."""
        cache = self.session.cache
        assert self.session.exact_lengths == tuple(r.exact_length for r in self.references)
        for b, reference in enumerate(self.references):
            length = len(reference.places)
            assert self.session.tokens(b) == tuple(reference.tokens)
            assert self.session.lengths[b] == length
            if not length:
                continue
            states = [[STATES[state] for state in place.state] for place in reference.places]
            assert cache.state[b, :length].tolist() == states
            assert cache.frontier[b, :length].tolist() == [place.frontier for place in reference.places]
            full = self.tiny.full_keys_and_values(reference.tokens)
            for position, place in enumerate(reference.places):
                if place.frontier < 2 * reference.num_layers:
                    _same(cache.resume[b, position], place.entering)
                else:
                    assert (b, position) not in cache.resume
                for layer in range(reference.num_layers):
                    if place.keys[layer] is None or place.state[layer] == "masked":
                        continue
                    ours = (cache.keys[layer][b, :, position], cache.values[layer][b, :, position])
                    _same(ours[0], place.keys[layer])
                    _same(ours[1], place.values[layer])
                    if place.state[layer] == "exact":
                        _same(ours[0], full[layer][0][:, position])
                        _same(ours[1], full[layer][1][:, position])

    def finish(self) -> None:
        """Leave only exact positions, in either way; the next logits equal those of a full pass."""
        cut = [max(length, 0) for length in self.session.exact_lengths]
        self.session.truncate(cut)
        token = 7
        result = self.session.forward(
            torch.full((self.session.batch, 1), token), DepthPlan.full(self.tiny.num_layers)
        )
        assert self.session.exact_lengths == self.session.lengths
        for b, reference in enumerate(self.references):
            _same(result.logits[b, 0], self.tiny.full_pass([*reference.tokens[: cut[b]], token])[-1])


def _same(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.fixture(scope="session")
def contract() -> Any:
    """``contract.scenarios(layers, batch, most)`` draws one; ``contract.check(tiny, scenario)`` runs it."""

    class Contract:
        Decisions, Reference, Scripted = Decisions, Reference, Scripted
        Planned, Decided, Verified, Cut, Scenario = Planned, Decided, Verified, Cut, Scenario
        scenarios = staticmethod(scenarios)
        hard_scenarios = staticmethod(hard_scenarios)

        @staticmethod
        def check(tiny: Any, scenario: Scenario) -> None:
            Check(tiny, scenario).run()

    return Contract


Maker = Callable[..., Any]
