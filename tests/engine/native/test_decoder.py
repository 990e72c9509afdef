"""Compiled sub-layers against the engine's own operators, and against themselves among other rows."""

from __future__ import annotations

import copy
from functools import lru_cache

import pytest
import torch
from torch import Tensor

from lsbench.engine import DecoderStack, DepthPlan, Session
from lsbench.engine.native import prepare
from lsbench.engine.precise import plain_logits, precise_logits
from support.families.models import VARIANTS, made_family
from support.sessions import assert_held_alike

pytestmark = pytest.mark.skipif(not prepare().available, reason=prepare().detail)

STANDARD = (
    *("llama", "mistral", "mistral without a window", "ministral", "qwen2", "qwen2 sliding", "qwen3"),
    *("granite", "seed_oss", "smollm3"),
)
"""Whose layers run in compiled code."""
QUICK = ("llama", "qwen2 sliding", "qwen3")
"""Between them: biases, a window in some layers, norms of queries and keys."""
ALL = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in STANDARD]
SIZES = {"hidden_size": 72, "intermediate_size": 52, "num_attention_heads": 6, "num_key_value_heads": 2}
"""Some of a register's width and some over, three queries to a key."""
PROMPT, LATER = (5, 3, 8, 1, 9, 2, 7, 4, 6, 11), (12, 13, 14, 15, 16, 17, 18, 19, 20)


@lru_cache
def _stacks(name: str, dtype: torch.dtype) -> tuple[DecoderStack, DecoderStack]:
    """The same weights in compiled code, which a few rows run in, and operator by operator."""
    native, plain = (made_family(name, torch.float32, head_dim=20, **SIZES).stack for _ in range(2))
    if dtype != torch.float32:
        native, plain = (DecoderStack(stack.model.to(dtype)) for stack in (native, plain))
    plain.native = None
    return native, plain


def _run(stack: DecoderStack) -> tuple[list[Tensor], Session]:
    """Logits of single tokens, of several, of a draft that leaves layers out, and of verifying it."""
    session = Session(stack)
    logits = [session.prefill(torch.tensor([PROMPT]))[0][None]]
    full, half = DepthPlan.full(stack.num_layers), DepthPlan.exit_at(stack.num_layers, 2, "propagate")
    skip = DepthPlan((True, True, False, True, True, False, True, True), "mask")
    for tokens, plan in ((LATER[:1], full), (LATER[1:4], full), (LATER[4:5], half), (LATER[5:6], half)):
        logits.append(session.forward(torch.tensor([tokens]), plan).logits[0])
    logits.append(session.verify(torch.tensor([LATER[4:8]])).logits[0])
    logits.append(session.forward(torch.tensor([LATER[8:]]), skip).logits[0])
    logits.append(session.forward(torch.tensor([LATER[:2]]), full).logits[0])
    return logits, session


@pytest.mark.slow
def test_the_layers_that_it_runs_are_the_standard_ones():
    found = {name for name in VARIANTS if _stacks(name, torch.float32)[0].native is not None}
    assert found == set(STANDARD)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_gives_what_the_operators_give(name, dtype):
    native, plain = _stacks(name, dtype)
    (ours, session), (theirs, other) = _run(native), _run(plain)
    # Torch rounds to bfloat16 after every operator, compiled code after every sub-layer.
    tolerance = 1e-4 if dtype == torch.float32 else 0.3
    for made, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(made, expected, rtol=tolerance, atol=tolerance)
    assert_held_alike(session, other, tolerance)


@pytest.mark.parametrize("name", ["llama", "mistral"])
def test_over_masked_positions_it_runs_ranges_and_gives_what_the_operators_give(name, monkeypatch):
    native, plain = _stacks(name, torch.float32)
    ranges: list[range] = []
    run = native.native.run
    monkeypatch.setattr(
        native.native,
        "run",
        lambda hidden, begin, end, *more: ranges.append(range(begin, end)) or run(hidden, begin, end, *more),
    )
    masked = [DepthPlan.exit_at(4, layer, "mask") for layer in (2, 1, 2, 3)]
    made: list[Tensor] = []
    for stack in (native, plain):
        session = Session(stack)
        session.prefill(torch.tensor([PROMPT]))
        for token, plan in zip(LATER, [*masked, DepthPlan.full(4), DepthPlan.full(4)], strict=False):
            made.append(session.forward(torch.tensor([[token]]), plan).logits)
    torch.testing.assert_close(made[:6], made[6:], rtol=1e-4, atol=1e-4)
    # Exact up to the first masked attention, and then no further: what follows is one range, masks and all.
    assert ranges[-1] == range(3, 8)


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_token_gives_the_same_bits_alone_and_verified_among_others(name, dtype):
    stack, _ = _stacks(name, dtype)
    alone, among = Session(stack), Session(stack, batch=1)
    for session in (alone, among):
        session.prefill(torch.tensor([PROMPT]))
    full = DepthPlan.full(stack.num_layers)
    one_by_one = torch.cat([alone.forward(torch.tensor([[token]]), full).logits[0] for token in LATER[:7]])
    assert torch.equal(among.verify(torch.tensor([LATER[:7]])).logits[0], one_by_one)


def test_sequences_of_a_batch_give_the_same_bits_as_alone():
    stack, _ = _stacks("llama", torch.float32)
    full = DepthPlan.full(stack.num_layers)
    batch = Session(stack, batch=2)
    prompts = (PROMPT[:1], PROMPT[1:2])
    batch.prefill(torch.tensor(prompts))
    together = batch.forward(torch.tensor([LATER[:3], LATER[3:6]]), full).logits
    for sequence, prompt in enumerate(prompts):
        alone = Session(stack)
        alone.prefill(torch.tensor([prompt]))
        tokens = LATER[3 * sequence : 3 * sequence + 3]
        assert torch.equal(alone.forward(torch.tensor([tokens]), full).logits[0], together[sequence])


def test_a_better_precision_for_a_while_is_not_computed_with_the_old_weights():
    stack, plain = _stacks("llama", torch.float32)
    exact = copy.deepcopy(plain.model).double()
    logits = precise_logits(stack.model, PROMPT)
    assert logits.dtype == torch.float64
    torch.testing.assert_close(logits, plain_logits(exact, PROMPT), rtol=1e-6, atol=1e-6)
