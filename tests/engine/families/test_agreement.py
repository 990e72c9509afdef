"""Every family says what transformers says: at one go, token by token, and as ``generate`` decodes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lsbench.engine import DepthPlan, Session
from lsbench.engine.families import supported_model_types
from support.families.models import VARIANTS, WINDOW, TinyFamily, tiny_family

CLOSE = {"rtol": 1e-9, "atol": 1e-9}
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7]
"""Nearly three windows long."""


def test_every_declared_type_has_a_tiny_model() -> None:
    assert {variant.model_type for variant in VARIANTS.values()} == set(supported_model_types())
    assert len(supported_model_types()) >= 20
    assert len(TOKENS) > 2 * WINDOW


def _forward(tiny: TinyFamily, session: Session, tokens: list[int]) -> Tensor:
    return session.forward(torch.tensor([tokens]), DepthPlan.full(tiny.num_layers)).logits[0]


def test_all_tokens_at_one_go_give_transformers_logits(tiny_of: TinyFamily) -> None:
    assert tiny_of.full_pass(TOKENS).std() > 0.1
    logits = _forward(tiny_of, Session(tiny_of.stack), TOKENS)
    torch.testing.assert_close(logits, tiny_of.full_pass(TOKENS), **CLOSE)


def test_token_by_token_and_in_pieces_they_are_the_same(tiny_of: TinyFamily) -> None:
    session = Session(tiny_of.stack)
    pieces = [_forward(tiny_of, session, TOKENS[a:b]) for a, b in ((0, 2), (2, 3), (3, 9), (9, 10), (10, 14))]
    torch.testing.assert_close(torch.cat(pieces), tiny_of.full_pass(TOKENS), **CLOSE)
    kept = zip(session.cache.keys, session.cache.values, strict=True)
    for ours, outside in zip(kept, tiny_of.full_keys_and_values(TOKENS), strict=True):
        for one, other in zip(ours, outside, strict=True):
            torch.testing.assert_close(one[0, :, : len(TOKENS)], other, **CLOSE)


def test_greedy_decoding_is_that_of_generate(tiny_of: TinyFamily) -> None:
    count, different = 10, set()
    for start in (0, 3, 5):
        prompt = TOKENS[start : start + 6]
        session = Session(tiny_of.stack)
        logits = session.prefill(torch.tensor([prompt]))[0]
        decoded = [int(logits.argmax())]
        while len(decoded) < count:
            decoded.append(int(_forward(tiny_of, session, decoded[-1:])[0].argmax()))
        # The engine's own model, through transformers' code and transformers' own attention.
        generated = tiny_of.stack.model.generate(
            torch.tensor([prompt]), max_new_tokens=count, do_sample=False
        )
        assert generated[0, len(prompt) :].tolist() == decoded
        different.update(decoded)
    assert len(different) > 2


def test_the_heads_rows_of_a_few_tokens_are_scaled_as_all_are(tiny_of: TinyFamily) -> None:
    hidden = torch.randn(3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows = torch.tensor([7, 0, 28])
    head, whole = tiny_of.stack.partial_head(rows), tiny_of.stack.head(hidden)
    logits = head(hidden)
    torch.testing.assert_close(logits, whole[:, rows], rtol=0, atol=1e-12)
    # A soft cap would make a number of minus infinity.
    everywhere = torch.full_like(whole, -torch.inf)
    everywhere[:, rows] = logits
    assert torch.equal(head.spread(logits), everywhere)


def test_every_sub_layer_changes_what_is_predicted(tiny_of: TinyFamily) -> None:
    """The tiny models are worth testing on."""
    layers = tiny_of.num_layers
    predictions = []
    for left_out in [None, *range(2 * layers)]:
        session = Session(tiny_of.stack)
        session.prefill(torch.tensor([TOKENS[:8]]))
        plan = DepthPlan.skipping(layers, [] if left_out is None else [left_out])
        predictions.append(session.forward(torch.tensor([[5]]), plan).logits[0, 0])
    distances = torch.cdist(torch.stack(predictions), torch.stack(predictions))
    distances.fill_diagonal_(torch.inf)
    assert distances.min() > 0.005


def test_a_sub_layer_counts_the_weights_that_a_token_reads(tiny_of: TinyFamily) -> None:
    for number, layer in enumerate(tiny_of.decoder.layers):
        attention, mlp = tiny_of.stack.sublayer_bytes[2 * number : 2 * number + 2]
        parts = dict(layer.get_submodule(tiny_of.variant.attention).named_parameters())
        assert attention == 8 * sum(p.numel() for name, p in parts.items() if "norm" not in name)
        read = 0.0
        for name, parameter in layer.get_submodule(tiny_of.variant.mlp).named_parameters():
            share = 2 / 4 if name.startswith("experts.") else 1  # two of four experts
            read += 8 * parameter.numel() * share
        assert mlp == read


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_lower_precision_it_is_as_near_as_that_allows(name: str, dtype: torch.dtype) -> None:
    tiny = tiny_family(name, dtype)
    session = Session(tiny.stack)
    session.prefill(torch.tensor([TOKENS[:9]]))
    logits = _forward(tiny, session, TOKENS[9:]).double()
    expected = tiny_family(name).full_pass(TOKENS) if dtype == torch.float32 else tiny.full_pass(TOKENS)
    if dtype == torch.float32:
        outside = tiny.full_pass(TOKENS)
        noise = (outside.double() - expected).abs().max()
        assert (logits - expected[9:]).abs().max() <= 4 * noise + 1e-4
    else:
        similar = torch.cosine_similarity(logits, expected[9:].double(), dim=-1)
        assert similar.median() > 0.99
