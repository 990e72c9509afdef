"""Whole sessions in static steps, against transformers' own layers and against the engine's operators."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lsbench.engine import DecoderStack, DepthPlan, Session
from lsbench.engine.batch import Batch
from lsbench.engine.graphs import is_static
from lsbench.engine.static_step import StaticStep, groups_of
from support.families.models import VARIANTS, TinyFamily, made_family, tiny_family
from support.families.reference import LayerReference
from support.kv_contract.check import Check
from support.kv_contract.scenarios import hard_scenarios, scenarios
from support.sessions import assert_held_alike

SIDE_BY_SIDE = {name for name, variant in VARIANTS.items() if variant.parallel}
EXPERTS = {"mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "granitemoe"}
STATIC = sorted(set(VARIANTS) - SIDE_BY_SIDE - EXPERTS)
QUICK = ("gemma2",)
"""Windows in some layers, soft caps, norms after, heads of a width of their own."""
CHOSEN = ("gemma2", "ministral", "qwen3", "gemma3_text", "smollm3")
"""Those that are held to the whole KV contract; all are held to the engine's operators."""
PROMPT, LATER = (5, 3, 8, 1, 9, 2, 7, 4, 6, 11), (12, 13, 14, 15, 16, 17, 18, 19, 20)


class OnlyStatic:
    """Runs every range as a static step, without recording it."""

    def __init__(self, stack: DecoderStack, most_rows: int = 64) -> None:
        self.most_rows = most_rows
        self.ranges: set[tuple[int, int, int]] = set()
        self._stack = stack

    def run(self, hidden, begin, end, places, rotary, keys, values, states=()) -> Tensor:
        self.ranges.add((begin, end, hidden.shape[0]))
        step = StaticStep(
            self._stack.blocks, self._stack.shape.scale, begin, end, groups_of(places), keys, values
        )
        return step(hidden, places[2], *rotary, *step.seen(states))


def _of(name: str, quick: tuple[str, ...] = QUICK):
    return pytest.param(name, marks=() if name in quick else pytest.mark.slow, id=name.replace(" ", "-"))


@lru_cache
def _static(name: str, dtype: torch.dtype = torch.float64) -> TinyFamily:
    made = made_family(name, dtype)
    made.stack.native = OnlyStatic(made.stack)
    return made


@pytest.mark.slow
def test_it_serves_all_but_layers_side_by_side_and_experts():
    assert {name for name in VARIANTS if is_static(tiny_family(name).stack.blocks)} == set(STATIC)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHOSEN)
def test_hard_scenarios_hold_the_contract(name):
    tiny = _static(name)
    for scenario in hard_scenarios(tiny.num_layers).values():
        Check(tiny, scenario, LayerReference).run()
    ranges = tiny.stack.native.ranges
    assert {rows for _, _, rows in ranges} >= {1, 2, 3}
    assert (0, 2 * tiny.num_layers) in {(begin, end) for begin, end, _ in ranges}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHOSEN)
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_scenarios_hold_the_contract(name, data):
    tiny = _static(name)
    batch = data.draw(st.integers(1, 2), label="sequences")
    Check(tiny, data.draw(scenarios(tiny.num_layers, batch, 7)), LayerReference).run()


def _run(stack: DecoderStack, batch: int) -> tuple[list[Tensor], Session]:
    """Logits of single tokens, of several, of a draft that leaves layers out, and of verifying it."""
    session = Session(stack, batch)

    def ids(tokens: tuple[int, ...]) -> Tensor:
        return torch.tensor([[(token + place) % 29 for token in tokens] for place in range(batch)])

    logits = [session.prefill(ids(PROMPT))]
    full, half = DepthPlan.full(stack.num_layers), DepthPlan.exit_at(stack.num_layers, 2, "propagate")
    skip = DepthPlan((True, True, False, True, True, False, True, True), "mask")
    for tokens, plan in ((LATER[:1], full), (LATER[1:4], full), (LATER[4:5], half), (LATER[5:6], half)):
        logits.append(session.forward(ids(tokens), plan).logits)
    logits.append(session.verify(ids(LATER[4:8])).logits)
    session.truncate(session.lengths[0] - 2)
    logits.append(session.forward(ids(LATER[8:]), skip).logits)
    logits.append(session.forward(ids(LATER[:2]), full).logits)
    logits.append(session.forward(ids(LATER[2:3]), DepthPlan.exit_at(stack.num_layers, 1)).logits)
    logits.append(session.forward(ids(LATER[3:5]), full).logits)
    return logits, session


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [_of(name) for name in STATIC])
def test_it_gives_what_the_operators_give(name, dtype, batch):
    static, plain = _static(name, dtype).stack, made_family(name, dtype).stack
    plain.native = None
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    (ours, session), (theirs, other) = _run(static, batch), _run(plain, batch)
    for made, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(made, expected, rtol=tolerance, atol=tolerance)
    assert_held_alike(session, other, tolerance)


def _decode(session: Session, prompt: tuple[int, ...], depth: int, count: int) -> list[int]:
    """Tokens at ``depth``, every third one verified with those before it."""
    tokens = [int(session.prefill(torch.tensor([prompt]))[0].argmax())]
    plan = DepthPlan.exit_at(session.num_layers, depth)
    while len(tokens) < count:
        if len(tokens) % 3:
            logits = session.forward(torch.tensor([tokens[-1:]]), plan).logits[0, -1]
        else:
            held = [*prompt, *tokens][session.exact_lengths[0] :]
            logits = session.verify(torch.tensor([held])).logits[0, -1]
        tokens.append(int(logits.argmax()))
    return tokens


@pytest.mark.parametrize("name", [_of(name, QUICK) for name in ("gemma2", "llama", "qwen3", "phi3")])
def test_sessions_that_step_together_decode_as_alone_operator_by_operator(name):
    static, plain = _static(name), tiny_family(name)
    jobs = ((PROMPT, 3, 11), (PROMPT[:2], 1, 9), (PROMPT[3:9], 4, 13))
    batch = Batch(static.stack)

    def member(place: int) -> tuple[int, list[int]]:
        prompt, depth, count = jobs[place]
        return place, _decode(batch.session(len(prompt) + count + 5 * place), prompt, depth, count)

    together = dict(batch.run([lambda place=place: member(place) for place in range(len(jobs))]))
    for place, (prompt, depth, count) in enumerate(jobs):
        assert together[place] == _decode(Session(plain.stack), prompt, depth, count)


def test_rows_are_grouped_by_cache_and_sequence():
    places = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 1, 1, 1], [4, 5, 7, 2, 3]])
    groups = [(each.cache, each.sequence, each.first, each.end) for each in groups_of(places)]
    assert groups == [(0, 0, 0, 2), (0, 1, 2, 3), (1, 1, 3, 5)]
