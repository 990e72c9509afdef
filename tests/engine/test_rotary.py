"""Rotary positions: how heads turn, and tables of every kind that transformers makes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from lsbench.engine import DecoderStack, DepthPlan, Session
from lsbench.engine.families import context_length
from lsbench.engine.rotary import RotaryTables, rotate_neighbours, rotation, signed_sines
from lsbench.errors import UnsupportedModel
from support.families.models import random_model, tiny_config

CONTEXT = 16
FULL = DepthPlan.full(4)
ROPES: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 2.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8},
    "llama3": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8,
    },
    "longrope": {
        "rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 8,
        "short_factor": [1.0, 1.5], "long_factor": [2.0, 6.0],
    },
}  # fmt: skip
PROMPT = [3, 1, 4, 1, 5]


def _model(kind: str) -> Any:
    rope = {"rope_theta": 10000.0, **ROPES[kind]}
    return random_model(tiny_config("llama", max_position_embeddings=CONTEXT, rope_parameters=rope))


def _decoded(stack: DecoderStack, count: int) -> tuple[list[int], torch.Tensor]:
    """Greedy tokens after ``PROMPT``, and the logits that each was chosen from."""
    session = Session(stack)
    logits = [session.prefill(torch.tensor([PROMPT]))[0]]
    while len(logits) < count:
        token = logits[-1].argmax()
        logits.append(session.forward(token.view(1, 1), FULL).logits[0, 0])
    return [int(each.argmax()) for each in logits], torch.stack(logits)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("dynamic", 24), ("yarn", 24), ("linear", 24), ("longrope", 3)])
def test_decoding_is_that_of_generate(kind: str, count: int) -> None:
    """Far beyond the context, where the frequencies of some kinds change with every position."""
    model = _model(kind)
    outside = copy.deepcopy(model)
    tokens, logits = _decoded(DecoderStack(model), count)
    made = outside.generate(
        torch.tensor([PROMPT]), max_new_tokens=count, do_sample=False, output_logits=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    assert made.sequences[0, len(PROMPT) :].tolist() == tokens
    torch.testing.assert_close(logits.float(), torch.cat(made.logits), rtol=1e-6, atol=1e-6)


def test_a_position_turns_the_same_whether_it_runs_alone_or_with_others() -> None:
    """So what ``verify`` predicts beyond the context is what token by token would have."""
    model = _model("dynamic")
    stack = DecoderStack(model)
    tokens, logits = _decoded(stack, 24)
    session = Session(stack)
    session.prefill(torch.tensor([PROMPT]))
    session.forward(torch.tensor([tokens[:15]]), DepthPlan.exit_at(4, 1))
    verified = session.verify(torch.tensor([tokens[:-1]])).logits[0]
    torch.testing.assert_close(verified, logits[1:], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_the_models_own_module_is_left_at_the_frequencies_of_its_context() -> None:
    model = _model("dynamic")
    outside, stack = copy.deepcopy(model), DecoderStack(model)
    model.generate(torch.tensor([PROMPT]), max_new_tokens=30, do_sample=False)
    within = stack.rotary(CONTEXT)[0].clone()
    table = stack.rotary(24)[0].clone()
    assert torch.equal(table[:CONTEXT], within)
    ids = torch.tensor([[*PROMPT, *range(CONTEXT - len(PROMPT))]])
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, outside(ids).logits)
    # What generate had left behind did not reach the table either.
    assert torch.equal(DecoderStack(outside).rotary(24)[0][:24], table[:24])


def test_longrope_runs_within_the_length_it_was_first_trained_on() -> None:
    """Beyond it transformers turns the earlier positions anew, and throws its cache away."""
    model = _model("longrope")
    assert context_length(model.config) == 8
    stack = DecoderStack(model)
    assert stack.context_length == 8
    with pytest.raises(UnsupportedModel, match=r"longrope.*8 positions"):
        stack.rotary(9)


def test_kinds_of_layers_have_their_own_columns() -> None:
    class Two(nn.Module):
        rope_type = {"slow": "default", "fast": "default"}  # noqa: RUF012 - as transformers keeps it

        def forward(self, x: Any, positions: Any, kind: str) -> tuple[Any, Any]:
            angles = positions[..., None] * torch.tensor([0.1, 0.2, 0.1, 0.2]) * (9 if kind == "fast" else 1)
            return angles.cos(), angles.sin()

    module = Two()
    tables = RotaryTables(module, "halves", "halves", 100, torch.empty(0))
    cos, sin = tables.upto(30)
    assert cos.shape[1:] == (1, 8)
    positions = torch.arange(30)[None]
    for kind in ("slow", "fast"):
        columns = tables.columns(kind)
        expected = module(None, positions, kind)
        torch.testing.assert_close(cos[:30, 0, columns], expected[0][0])
        torch.testing.assert_close(sin[:30, 0, columns], signed_sines(expected[1][0]))
        x = torch.randn(30, 2, 6)
        turned = rotation("halves", 6, tables.width, columns=columns)(x, cos[:30], sin[:30])
        own = rotation("halves", 6, tables.width)(x, cos[:30, :, columns], sin[:30, :, columns])
        assert torch.equal(turned, own)
        assert torch.equal(turned[..., 4:], x[..., 4:])


def test_neighbours_turn_as_complex_numbers_do() -> None:
    x, angles = torch.randn(5, 3, 8, dtype=torch.float64), torch.rand(5, 1, 4, dtype=torch.float64)
    expected = torch.view_as_complex(x.unflatten(-1, (-1, 2))) * torch.polar(torch.ones_like(angles), angles)
    table = angles.repeat_interleave(2, dim=-1)
    ours = rotate_neighbours(x, table.cos(), signed_sines(table.sin(), "neighbours"))
    torch.testing.assert_close(ours, torch.view_as_real(expected).flatten(-2))


@pytest.mark.parametrize(("precision", "exact"), [("model", False), ("table", True), ("float32", True)])
def test_rotation_in_float32_rounds_once(precision: Any, exact: bool) -> None:
    # Drawn once and for all: one value in some thousands lies so that float32 and float64 round it apart.
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(64, 4, 8, generator=generator).bfloat16()
    angles = torch.rand(64, 1, 4, generator=generator).repeat(1, 1, 2)
    cos, sin = angles.cos(), signed_sines(angles.sin())
    if precision != "table":
        cos, sin = cos.bfloat16(), sin.bfloat16()
    made = rotation("halves", 8, 8, precision)(x, cos, sin)
    assert made.dtype == torch.bfloat16
    wide = rotation("halves", 8, 8)(x.double(), cos.double(), sin.double()).bfloat16()
    assert torch.equal(made, wide) == exact
