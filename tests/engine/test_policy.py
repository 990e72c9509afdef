from __future__ import annotations

import math

import pytest
import torch

from lsbench.engine import ConstantPolicy, DepthPlan, DepthPolicy, Session
from lsbench.engine.linear import Linear
from lsbench.engine.policy import normalised_entropy, probability_margin

PROMPT = [3, 1, 4, 1, 5]


class Recorder(DepthPolicy):
    """Notes what it is asked, and may stop at a layer, looking at the prediction at some."""

    def __init__(self, num_layers, checks=None, stop=None, looks=(), replans=None, plan=None):
        self.own_plan = plan or DepthPlan.full(num_layers)
        self.checks = range(1, num_layers) if checks is None else checks
        self.stop, self.looks, self.replans = stop, looks, replans or {}
        self.contexts, self.asked, self.views = [], [], {}

    def plan(self, context):
        self.contexts.append(context)
        return self.own_plan

    def check_layers(self, num_layers):
        return self.checks

    def replan(self, layer, exit_view):
        self.asked.append(("replan", layer))
        return self.replans.get(layer)

    def should_exit(self, layer, exit_view):
        self.asked.append(("should_exit", layer))
        self.views[layer] = exit_view
        if layer in self.looks:
            assert exit_view.logits is exit_view.logits
        return layer == self.stop


@pytest.fixture
def started(tiny):
    """A model, and a session that holds ``PROMPT``."""
    model = tiny()
    session = Session(model.stack)
    session.prefill(torch.tensor([PROMPT]))
    return model, session


@pytest.fixture
def head_rows(tiny, monkeypatch):
    """Rows of each product with the head's weights."""
    rows = []
    head = tiny().stack.head_product
    forward = Linear.forward

    def counted(self, x):
        if self is head:
            rows.append(x.shape[0])
        return forward(self, x)

    monkeypatch.setattr(Linear, "forward", counted)
    return rows


def test_a_policy_is_asked_at_its_check_layers_in_order_and_nowhere_else(started):
    model, session = started
    policy = Recorder(model.num_layers, checks=(1, 3))
    session.forward(torch.tensor([[7]]), policy)
    assert policy.asked == [("replan", 1), ("should_exit", 1), ("replan", 3), ("should_exit", 3)]
    assert len(policy.contexts) == 1


def test_a_policy_is_never_asked_after_the_last_layer_nor_after_an_exit(started):
    model, session = started
    policy = Recorder(model.num_layers, checks=range(model.num_layers + 1))
    session.forward(torch.tensor([[7]]), policy)
    assert [layer for name, layer in policy.asked if name == "replan"] == [1, 2, 3]
    policy = Recorder(model.num_layers, stop=2)
    result = session.forward(torch.tensor([[8]]), policy)
    assert policy.asked[-1] == ("should_exit", 2)
    assert result.layers_run.tolist() == [[2.0]]


def test_a_policy_is_asked_only_where_its_layer_ran_and_something_is_left(started):
    model, session = started
    # Layer 2 is left out whole, layer 3 in part; after layer 3 nothing more runs.
    policy = Recorder(model.num_layers, plan=DepthPlan.skipping(model.num_layers, {2, 3, 5, 6, 7}))
    session.forward(torch.tensor([[7]]), policy)
    assert [layer for name, layer in policy.asked if name == "replan"] == [1]
    policy = Recorder(model.num_layers, plan=DepthPlan.skipping(model.num_layers, {2, 3, 5}))
    session.forward(torch.tensor([[7]]), policy)
    assert [layer for name, layer in policy.asked if name == "replan"] == [1, 3]


def test_only_policies_that_decide_are_checked():
    class Exits(DepthPolicy):
        def should_exit(self, layer, exit_view):
            return False

    class Replans(DepthPolicy):
        def replan(self, layer, exit_view):
            return None

    assert tuple(DepthPolicy().check_layers(4)) == ()
    assert tuple(ConstantPolicy(DepthPlan.full(4)).check_layers(4)) == ()
    assert tuple(Exits().check_layers(4)) == (1, 2, 3)
    assert tuple(Replans().check_layers(4)) == (1, 2, 3)


def test_views_show_what_transformers_has_between_its_layers(started):
    model, session = started
    policy = Recorder(model.num_layers)
    session.forward(torch.tensor([[7]]), policy)
    with torch.inference_mode():
        states = model.outside(torch.tensor([[*PROMPT, 7]]), output_hidden_states=True).hidden_states
        for layer in range(1, model.num_layers):
            view, entering, leaving = policy.views[layer], states[layer - 1][0, -1], states[layer][0, -1]
            close = {"rtol": 1e-9, "atol": 1e-9}
            torch.testing.assert_close(view.previous_hidden, entering, **close)
            torch.testing.assert_close(view.hidden, leaving, **close)
            torch.testing.assert_close(
                view.logits, model.outside.lm_head(model.outside.model.norm(leaving)), **close
            )
            assert view.cosine == pytest.approx(
                torch.cosine_similarity(entering, leaving, dim=0).item(), abs=1e-6
            )


def test_logits_that_a_policy_looked_at_are_not_computed_again(started, head_rows):
    model, session = started
    head_rows.clear()
    policy = Recorder(model.num_layers, stop=2, looks={1, 2})
    result = session.forward(torch.tensor([[7]]), policy)
    assert head_rows == [1, 1]
    assert torch.equal(result.logits[0, 0], policy.views[2].logits)
    head_rows.clear()
    session.forward(torch.tensor([[8]]), Recorder(model.num_layers, stop=2))
    assert head_rows == [1]
    head_rows.clear()
    session.forward(torch.tensor([[8]]), Recorder(model.num_layers, looks={3}))
    assert head_rows == [1, 1]


def test_in_a_batch_the_first_who_asks_asks_for_all_and_nothing_is_computed_twice(tiny, head_rows):
    model = tiny()
    session = Session(model.stack, batch=3)
    session.prefill(torch.tensor([PROMPT, PROMPT, PROMPT]))
    head_rows.clear()
    policies = [
        Recorder(model.num_layers, stop=1, looks={1}),
        Recorder(model.num_layers),
        Recorder(model.num_layers, stop=2),
    ]
    result = session.forward(torch.tensor([[7], [8], [7]]), policies)
    assert head_rows == [3, 2]
    assert result.layers_run.tolist() == [[1.0], [4.0], [2.0]]
    for sequence, policy in enumerate(policies):
        alone = Session(model.stack)
        alone.prefill(torch.tensor([PROMPT]))
        again = Recorder(model.num_layers, stop=policy.stop)
        single = alone.forward(torch.tensor([[[7], [8], [7]][sequence]]), again).logits[0]
        torch.testing.assert_close(result.logits[sequence], single, rtol=1e-9, atol=1e-9)


def test_one_policy_for_a_batch_plans_for_each_sequence(tiny):
    model = tiny()
    session = Session(model.stack, batch=2)
    session.prefill(torch.tensor([PROMPT, PROMPT[::-1]]))
    policy = Recorder(model.num_layers)
    session.forward(torch.tensor([[7], [8]]), policy)
    assert len(policy.contexts) == 2
    assert not torch.equal(policy.contexts[0].previous_logits, policy.contexts[1].previous_logits)


def test_several_tokens_are_decided_one_after_the_other(started):
    model, session = started
    policy = Recorder(model.num_layers, stop=2)
    result = session.forward(torch.tensor([[7, 8, 9]]), policy)
    assert result.logits.shape == (1, 3, 29)
    assert result.layers_run.tolist() == [[2.0, 2.0, 2.0]]
    assert [context.position for context in policy.contexts] == [5, 6, 7]
    assert torch.equal(policy.contexts[2].previous_logits, result.logits[0, 1])


def test_a_new_plan_replaces_what_is_still_to_come(started):
    model, session = started
    replacement = DepthPlan.skipping(model.num_layers, {0, 1, 4}, "mask")
    result = session.forward(torch.tensor([[7]]), Recorder(model.num_layers, replans={1: replacement}))
    assert result.runs[0, 0].tolist() == [True, True, True, True, False, True, True, True]


def test_a_new_plan_for_another_model_is_refused(started):
    model, session = started
    with pytest.raises(ValueError, match="5 layers on a model of 4"):
        session.forward(torch.tensor([[7]]), Recorder(model.num_layers, replans={1: DepthPlan.full(5)}))


def test_the_context_says_where_the_step_stands(started):
    model, session = started
    policy = Recorder(model.num_layers)
    session.forward(torch.tensor([[7]]), policy)
    session.forward(torch.tensor([[8]]), policy)
    first, second = policy.contexts
    assert (first.position, first.step, first.prompt_length, first.num_layers) == (5, 0, 5, 4)
    assert (second.position, second.step) == (6, 1)
    assert first.prompt_perplexity is None
    torch.testing.assert_close(
        second.previous_logits, model.full_pass([*PROMPT, 7])[-1], rtol=1e-9, atol=1e-9
    )
    probabilities = torch.softmax(first.previous_logits, -1)
    entropy = -(probabilities * probabilities.log()).sum().item() / math.log(29)
    top = probabilities.sort(descending=True).values
    assert first.previous_entropy == pytest.approx(entropy, abs=1e-6)
    assert first.previous_margin == pytest.approx((top[0] - top[1]).item(), abs=1e-6)


def test_entropy_and_margin_at_their_ends():
    assert normalised_entropy(torch.zeros(7)) == pytest.approx(1)
    assert probability_margin(torch.zeros(7)) == pytest.approx(0, abs=1e-7)
    certain = torch.tensor([0.0, 200.0, 0.0])
    assert normalised_entropy(certain) == pytest.approx(0, abs=1e-7)
    assert probability_margin(certain) == pytest.approx(1)
