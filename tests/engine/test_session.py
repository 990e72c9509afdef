from __future__ import annotations

import numpy as np
import pytest
import torch

from lsbench.engine import ConstantPolicy, DepthPlan, DepthPolicy, Session

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture
def session(tiny) -> Session:
    return Session(tiny().stack)


def _ids(*tokens: int) -> torch.Tensor:
    return torch.tensor([tokens])


def test_prefill_equals_the_full_pass_for_every_shape(each_tiny):
    session = Session(each_tiny.stack, batch=2)
    logits = session.prefill(torch.tensor([[3, 1, 4, 1], [5, 9, 2, 6]]))
    torch.testing.assert_close(logits[0], each_tiny.full_pass([3, 1, 4, 1])[-1], **CLOSE)
    torch.testing.assert_close(logits[1], each_tiny.full_pass([5, 9, 2, 6])[-1], **CLOSE)
    assert session.exact_lengths == session.lengths == (4, 4)
    assert session.prompt_lengths == [4, 4]


def test_forward_predicts_at_every_position(each_tiny):
    session = Session(each_tiny.stack)
    tokens = [3, 1, 4, 1, 5]
    result = session.forward(_ids(*tokens), DepthPlan.full(each_tiny.num_layers))
    torch.testing.assert_close(result.logits[0], each_tiny.full_pass(tokens), **CLOSE)


@pytest.mark.parametrize("shape", ["grouped", "tied", "biased"])
def test_float32_is_as_near_to_transformers_as_float32_can_be(tiny, shape):
    model = tiny(shape, torch.float32)
    session = Session(model.stack)
    session.prefill(_ids(3, 1, 4))
    last = [session.forward(_ids(token), DepthPlan.full(model.num_layers)).logits[0, 0] for token in (1, 5)][
        -1
    ]
    torch.testing.assert_close(last, model.full_pass([3, 1, 4, 1, 5])[-1], rtol=1e-4, atol=1e-4)


def test_bfloat16_runs_throughout(tiny):
    model = tiny("grouped", torch.bfloat16)
    session = Session(model.stack)
    session.prefill(_ids(3, 1, 4))
    session.forward(_ids(5), DepthPlan.exit_at(model.num_layers, 2))
    result = session.verify(_ids(5, 6))
    assert result.logits.dtype == torch.bfloat16
    expected = model.full_pass([3, 1, 4, 5, 6])[-2:].float()
    similar = torch.cosine_similarity(result.logits[0].float(), expected, dim=-1)
    assert (similar > 0.995).all()


def test_the_prompts_perplexity_is_that_of_transformers_loss(tiny, session):
    prompt = [3, 1, 4, 1, 5, 9, 2, 6]
    session.prefill(_ids(*prompt), with_perplexity=True)
    with torch.inference_mode():
        loss = tiny().outside(_ids(*prompt), labels=_ids(*prompt)).loss
    assert session.prompt_perplexity == [pytest.approx(loss.exp().item(), rel=1e-6)]
    long = Session(tiny().stack)
    tokens = torch.randint(0, 29, (1, 300))
    long.prefill(tokens, with_perplexity=True)
    with torch.inference_mode():
        loss = tiny().outside(tokens, labels=tokens).loss
    assert long.prompt_perplexity == [pytest.approx(loss.exp().item(), rel=1e-6)]


def test_a_prompt_of_one_token_has_no_perplexity(session):
    session.prefill(_ids(3), with_perplexity=True)
    assert session.prompt_perplexity == [None]


def test_layers_run_count_the_bytes_of_weights(tiny, session):
    stack = tiny().stack
    attention, mlp = stack.sublayer_bytes[:2]
    hidden, heads, kv_heads, width, inner = 16, 4, 2, 4, 24
    assert attention == 8 * (hidden * (heads + 2 * kv_heads) * width + heads * width * hidden)
    assert mlp == 8 * (3 * hidden * inner)
    session.prefill(_ids(3, 1))
    without_an_mlp = session.forward(_ids(4), DepthPlan.skipping(4, {3}))
    assert without_an_mlp.layers_run[0, 0] == pytest.approx(3 + attention / (attention + mlp))
    without_an_attention = session.forward(_ids(4), DepthPlan.skipping(4, {6}))
    assert without_an_attention.layers_run[0, 0] == pytest.approx(3 + mlp / (attention + mlp))


def test_whole_layers_count_exactly_one(each_tiny):
    session = Session(each_tiny.stack)
    session.prefill(_ids(3, 1))
    for exit_layer in range(1, each_tiny.num_layers + 1):
        result = session.forward(_ids(4), DepthPlan.exit_at(each_tiny.num_layers, exit_layer))
        assert result.layers_run.tolist() == [[exit_layer]]
        assert result.runs.sum() == 2 * exit_layer


def test_every_plan_changes_what_is_predicted(each_tiny):
    """The tiny models are worth testing on: no sub-layer is without effect."""
    layers = each_tiny.num_layers
    predictions = []
    for index in [None, *range(2 * layers)]:
        session = Session(each_tiny.stack)
        session.prefill(_ids(3, 1, 4))
        plan = DepthPlan.full(layers) if index is None else DepthPlan.skipping(layers, [index])
        predictions.append(session.forward(_ids(5), plan).logits[0, 0])
    distances = torch.cdist(torch.stack(predictions), torch.stack(predictions))
    distances.fill_diagonal_(torch.inf)
    assert distances.min() > 0.01


def test_sequences_of_a_batch_may_be_cut_to_different_lengths(tiny):
    model = tiny()
    session = Session(model.stack, batch=2)
    session.prefill(torch.tensor([[3, 1, 4, 1], [5, 9, 2, 6]]))
    session.truncate([2, 3])
    assert session.lengths == (2, 3)
    assert session.tokens(1) == (5, 9, 2)
    result = session.forward(torch.tensor([[8], [7]]), DepthPlan.full(model.num_layers))
    torch.testing.assert_close(result.logits[0, 0], model.full_pass([3, 1, 8])[-1], **CLOSE)
    torch.testing.assert_close(result.logits[1, 0], model.full_pass([5, 9, 2, 7])[-1], **CLOSE)


def test_the_previous_prediction_is_known_where_the_last_step_made_one(tiny, session):
    session.prefill(_ids(3, 1, 4))
    torch.testing.assert_close(session.previous_logits(), tiny().full_pass([3, 1, 4])[-1], **CLOSE)
    session.truncate(2)
    with pytest.raises(ValueError, match="no prediction is known after position 1"):
        session.previous_logits()
    session.verify(_ids(8, 9, 7))
    session.truncate(4)
    torch.testing.assert_close(session.previous_logits(), tiny().full_pass([3, 1, 8, 9])[-1], **CLOSE)
    session.truncate(0)
    with pytest.raises(ValueError, match="position -1"):
        session.previous_logits()


def test_a_policy_needs_a_prediction_to_go_by(session):
    class Decides(DepthPolicy):
        pass

    with pytest.raises(ValueError, match="no prediction"):
        session.forward(_ids(3), Decides())


def _state(session: Session) -> tuple[object, ...]:
    return session.lengths, session.exact_lengths, session.tokens(0), session.tokens(session.batch - 1)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([[8, 6], [5, 6]], r"sequence 0: expected the ids \[5\] first, got \[8, 6\]"),
        ([[5, 6], [8, 6]], r"sequence 1: expected the ids \[5\] first, got \[8, 6\]"),
        ([[5, 6]], r"tokens must be \[2, T >= 1\]"),
    ],
)
def test_verify_refuses_other_tokens_and_touches_nothing(tiny, tokens, message):
    model = tiny()
    session = Session(model.stack, batch=2)
    session.prefill(torch.tensor([[3, 1], [3, 1]]))
    session.forward(torch.tensor([[5], [5]]), DepthPlan.exit_at(model.num_layers, 2))
    before = _state(session)
    with pytest.raises(ValueError, match=message):
        session.verify(torch.tensor(tokens))
    assert _state(session) == before
    result = session.verify(torch.tensor([[5, 6], [5, 7]]))
    torch.testing.assert_close(result.logits[1], model.full_pass([3, 1, 5, 7])[-2:], **CLOSE)


def test_verify_refuses_to_leave_drafted_tokens_out(tiny, session):
    session.prefill(_ids(3, 1))
    session.forward(_ids(5, 6), DepthPlan.exit_at(tiny().num_layers, 2))
    with pytest.raises(ValueError, match=r"expected the ids \[5, 6\] first, got \[5\]"):
        session.verify(_ids(5))


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (3, "sequence 0: it cannot begin at position 3, only up to 2, the first that is not exact"),
        ([2, -1], "sequence 1: it cannot begin at position -1"),
        ([2], "1 first positions for 2 sequences"),
    ],
)
def test_verify_refuses_to_begin_where_it_cannot_and_touches_nothing(tiny, first, message):
    model = tiny()
    session = Session(model.stack, batch=2)
    session.prefill(torch.tensor([[3, 1], [3, 1]]))
    session.forward(torch.tensor([[5, 6], [5, 6]]), DepthPlan.exit_at(model.num_layers, 2))
    before = _state(session)
    with pytest.raises(ValueError, match=message):
        session.verify(torch.tensor([[6], [6]]), first=first)
    assert _state(session) == before


def test_sequences_of_a_batch_are_verified_from_positions_of_their_own(tiny):
    model = tiny()
    session = Session(model.stack, batch=2)
    session.prefill(torch.tensor([[3, 1], [4, 1]]))
    session.begin_draft()
    for token, depth in ((5, 1), (6, model.num_layers)):
        session.forward(torch.tensor([[token]] * 2), DepthPlan.exit_at(model.num_layers, depth))
    session.truncate([4, 3])
    tokens = [[5, 6, 7], [1, 5, 8]]
    logits = session.verify(torch.tensor(tokens), first=[2, 1]).logits
    for sequence, text in enumerate(([3, 1, 5, 6, 7], [4, 1, 5, 8])):
        assert session.tokens(sequence) == tuple(text)
        torch.testing.assert_close(logits[sequence], model.full_pass(text)[-3:], **CLOSE)


def test_truncate_refuses_lengths_that_are_not_and_touches_nothing(tiny):
    session = Session(tiny().stack, batch=2)
    session.prefill(torch.tensor([[3, 1], [3, 1]]))
    with pytest.raises(ValueError, match="sequence 1 of length 2 to 3"):
        session.truncate([1, 3])
    with pytest.raises(ValueError, match="sequence 0 of length 2 to -1"):
        session.truncate(-1)
    assert session.lengths == (2, 2)


def test_forward_refuses_what_does_not_fit(session):
    with pytest.raises(ValueError, match="a plan for 3 layers on a model of 4"):
        session.forward(_ids(1), DepthPlan.full(3))
    with pytest.raises(ValueError, match="2 policies for 1 sequences"):
        session.forward(_ids(1), [ConstantPolicy(DepthPlan.full(4))] * 2)
    with pytest.raises(ValueError, match=r"got \(1, 0\)"):
        session.forward(torch.empty(1, 0, dtype=torch.int64), DepthPlan.full(4))
    with pytest.raises(ValueError, match=r"got \(3,\)"):
        session.prefill(torch.tensor([1, 2, 3]))
    assert session.lengths == (0,)


def test_constant_policies_of_a_batch_may_differ(tiny):
    model = tiny()
    layers = model.num_layers
    plans = [DepthPlan.exit_at(layers, 1), DepthPlan.skipping(layers, {4}, "mask"), DepthPlan.full(layers)]
    session = Session(model.stack, batch=3)
    session.prefill(torch.tensor([[3, 1]] * 3))
    result = session.forward(torch.tensor([[5, 6]] * 3), [ConstantPolicy(plan) for plan in plans])
    for sequence, plan in enumerate(plans):
        alone = Session(model.stack)
        alone.prefill(_ids(3, 1))
        torch.testing.assert_close(
            result.logits[sequence], alone.forward(_ids(5, 6), plan).logits[0], **CLOSE
        )
        assert (result.runs[sequence] == np.array(plan.run)).all()


def test_a_session_hands_out_the_model_it_runs(tiny, session):
    assert session.model is tiny().stack.model
    assert session.num_layers == 4
