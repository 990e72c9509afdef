"""What has been computed exactly is never computed again: counted in rows at every sub-layer."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from lsbench.engine import ConstantPolicy, DepthPlan, Session

FILLS = ("recompute", "propagate", "mask")


@pytest.fixture
def rows_run(tiny, monkeypatch):
    """Rows that went through each sub-layer of ``tiny()``; index 2l is an attention, 2l + 1 an MLP."""
    counts: Counter[int] = Counter()
    calls: Counter[int] = Counter()

    def watch(block, method: str, index: int) -> None:
        original = getattr(block, method)

        def counted(hidden, *rest):
            counts[index] += hidden.shape[0]
            calls[index] += 1
            return original(hidden, *rest)

        monkeypatch.setattr(block, method, counted)

    for layer, block in enumerate(tiny().stack.blocks):
        watch(block, "project", 2 * layer)
        watch(block, "run_mlp", 2 * layer + 1)

    class Rows:
        calls_of = calls

        @staticmethod
        def taken() -> list[int]:
            """Rows by sub-layer since the last time."""
            taken = [counts[index] for index in range(2 * tiny().num_layers)]
            counts.clear()
            calls.clear()
            return taken

    return Rows


def _ids(*tokens: int) -> torch.Tensor:
    return torch.tensor([tokens])


def _drafted(model, plan: DepthPlan) -> Session:
    """A prompt of three tokens and two tokens drafted after it."""
    session = Session(model.stack)
    session.prefill(_ids(3, 1, 4))
    session.forward(_ids(5), plan)
    session.forward(_ids(6), plan)
    return session


@pytest.mark.parametrize("fill", FILLS)
def test_verify_resumes_after_the_exit_layer(tiny, rows_run, fill):
    model = tiny()
    for exit_layer in range(1, model.num_layers):
        session = _drafted(model, DepthPlan.exit_at(model.num_layers, exit_layer, fill))
        rows_run.taken()
        session.verify(_ids(5, 6, 7))
        # Only the last token is new; the two drafted ones ran layers 1..E already.
        deeper = 2 * (model.num_layers - exit_layer)
        assert rows_run.taken() == [1] * (2 * exit_layer) + [3] * deeper


@pytest.mark.parametrize("fill", FILLS)
def test_verify_resumes_at_the_first_skipped_sublayer(tiny, rows_run, fill):
    model = tiny()
    last = 2 * model.num_layers - 1
    for first in range(last):
        session = _drafted(model, DepthPlan.skipping(model.num_layers, {first, last}, fill))
        rows_run.taken()
        session.verify(_ids(5, 6))
        assert rows_run.taken() == [0] * first + [2] * (last + 1 - first)


def test_verify_of_full_depth_tokens_runs_only_what_is_new(tiny, rows_run):
    model = tiny()
    session = _drafted(model, DepthPlan.full(model.num_layers))
    rows_run.taken()
    session.verify(_ids(7, 8))
    assert rows_run.taken() == [2] * (2 * model.num_layers)


def test_a_decoded_token_runs_only_its_plan(tiny, rows_run):
    model = tiny()
    session = Session(model.stack)
    session.prefill(_ids(3, 1, 4))
    for fill in FILLS:
        plan = DepthPlan.skipping(model.num_layers, {1, 4, 7}, fill)
        rows_run.taken()
        session.forward(_ids(5), plan)
        assert rows_run.taken() == [int(runs) for runs in plan.run]
        session.truncate(3)


def test_recompute_brings_pending_positions_up_once_and_together(tiny, rows_run):
    model = tiny()
    full = DepthPlan.full(model.num_layers)
    session = _drafted(model, DepthPlan.exit_at(model.num_layers, 2))
    assert session.exact_lengths == (3,)
    rows_run.taken()
    logits = session.forward(_ids(7), full).logits[0, 0]
    assert set(rows_run.calls_of.values()) == {1}
    assert rows_run.taken() == [1] * 4 + [3] * 4
    assert session.exact_lengths == (6,)
    torch.testing.assert_close(logits, model.full_pass([3, 1, 4, 5, 6, 7])[-1], rtol=1e-9, atol=1e-9)
    session.forward(_ids(8), full)
    assert rows_run.taken() == [1] * 8


def _riding(model, *, drafts: bool) -> Session:
    """Two shallow tokens that a third takes along to full depth."""
    session = Session(model.stack)
    session.prefill(_ids(3, 1, 4))
    if drafts:
        session.begin_draft()
    for token, depth in ((5, 1), (6, 2), (7, model.num_layers)):
        session.forward(_ids(token), DepthPlan.exit_at(model.num_layers, depth))
    assert session.exact_lengths == (6,)
    return session


@pytest.mark.parametrize("drafts", [True, False])
def test_of_a_draft_that_became_exact_the_head_alone_is_left(tiny, rows_run, drafts):
    model = tiny()
    tokens = [5, 6, 7, 8]
    for count, first in ((4, 3), (3, 3), (4, 4), (4, 5), (4, 6)):
        session = _riding(model, drafts=drafts)
        assert len(session.cache.resume) == (3 if drafts else 0)
        rows_run.taken()
        left = (count + 3 - first) * model.num_layers - session.resumable_layers(first)
        logits = session.verify(_ids(*tokens[first - 3 : count]), first=first).logits[0]
        new = count - 3 if drafts else count + 3 - first
        assert rows_run.taken() == [new] * (2 * model.num_layers)
        assert left == new * model.num_layers
        expected = model.full_pass([3, 1, 4, *tokens[:count]])[first:]
        torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)


def test_where_nobody_drafts_nothing_is_kept(tiny):
    session = _riding(tiny(), drafts=False)
    for token in range(6):
        depth = 1 + token % tiny().num_layers
        session.forward(_ids(token), DepthPlan.exit_at(tiny().num_layers, depth))
        inexact = session.lengths[0] - session.exact_lengths[0]
        assert len(session.cache.resume) == inexact


def test_of_an_earlier_draft_nothing_is_kept(tiny):
    session = _riding(tiny(), drafts=True)
    session.forward(_ids(8), DepthPlan.exit_at(tiny().num_layers, 2))
    session.begin_draft()
    assert list(session.cache.resume) == [(0, 6)], "it is not exact yet"
    session.forward(_ids(9), DepthPlan.full(tiny().num_layers))
    assert list(session.cache.resume) == [(0, 7)]


@pytest.mark.parametrize("fill", ["propagate", "mask"])
def test_nothing_rides_along_without_recompute(tiny, rows_run, fill):
    model = tiny()
    session = _drafted(model, DepthPlan.exit_at(model.num_layers, 2, fill))
    rows_run.taken()
    session.forward(_ids(7), DepthPlan.full(model.num_layers))
    assert rows_run.taken() == [1] * 8
    assert session.exact_lengths == (3,)


@pytest.mark.parametrize("fill", FILLS)
def test_under_a_constant_policy_one_pass_equals_one_by_one(each_tiny, fill):
    """What ``score`` relies on: all tokens of a continuation go in one pass."""
    layers = each_tiny.num_layers
    tokens = [5, 6, 7, 8, 9]
    for plan in (DepthPlan.exit_at(layers, 2, fill), DepthPlan.skipping(layers, {1, 2, 5}, fill)):
        one_by_one, at_once = Session(each_tiny.stack), Session(each_tiny.stack)
        one_by_one.prefill(_ids(3, 1, 4))
        at_once.prefill(_ids(3, 1, 4))
        singly = [one_by_one.forward(_ids(token), plan).logits[0, 0] for token in tokens]
        together = at_once.forward(_ids(*tokens), ConstantPolicy(plan)).logits[0]
        torch.testing.assert_close(together, torch.stack(singly), rtol=1e-9, atol=1e-9)
