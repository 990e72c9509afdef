"""The head's rows of a few tokens."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn

from lsbench.engine import ConstantPolicy, DecoderStack, DepthPlan, DepthPolicy, Session
from lsbench.engine.batch import Batch
from lsbench.engine.linear import Linear
from lsbench.engine.policy import normalised_entropy, probability_margin

TOKENS = torch.tensor([7, 0, 28, 3])


def test_it_gives_the_logits_of_its_tokens_in_their_order(each_tiny) -> None:
    stack = each_tiny.stack
    hidden = torch.randn(5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    logits = stack.partial_head(TOKENS)(hidden)
    torch.testing.assert_close(logits, stack.head(hidden)[:, TOKENS], rtol=0, atol=1e-12)
    with torch.inference_mode():
        outside = each_tiny.outside.lm_head(each_tiny.outside.model.norm(hidden))
    torch.testing.assert_close(logits, outside[:, TOKENS], rtol=1e-9, atol=1e-9)


def test_a_bias_of_the_head_is_kept(tiny) -> None:
    import copy

    stack = DecoderStack(copy.deepcopy(tiny().outside))
    stack.head_product.bias = nn.Parameter(torch.arange(29, dtype=torch.float64), requires_grad=False)
    hidden = torch.ones(1, 16, dtype=torch.float64)
    expected = stack.head(hidden)[:, TOKENS]
    torch.testing.assert_close(stack.partial_head(TOKENS)(hidden), expected, rtol=0, atol=1e-12)


def test_it_reads_those_rows_alone_through_the_one_seam(tiny, monkeypatch) -> None:
    shapes = []
    forward = Linear.forward

    def noted(self, x):
        shapes.append((tuple(self.weight.shape), self.weight.is_contiguous()))
        return forward(self, x)

    monkeypatch.setattr(Linear, "forward", noted)
    head = tiny().stack.partial_head(TOKENS)
    assert shapes == []
    for _ in range(2):
        head(torch.ones(1, 16, dtype=torch.float64))
    assert shapes == [((4, 16), True)] * 2


@pytest.fixture
def products(monkeypatch) -> list[int]:
    """Rows of every head that a product was made with since the list was last emptied, whole (29) or not."""
    made: list[int] = []
    forward = Linear.forward

    def noted(self, x):
        if self.in_features == 16 and self.out_features in (29, 4, 3):
            made.append(self.out_features)
        return forward(self, x)

    monkeypatch.setattr(Linear, "forward", noted)
    return made


def spread(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """[..., V] with nothing but ``tokens`` left of them."""
    left = torch.full_like(logits, -torch.inf)
    left[..., tokens] = logits[..., tokens]
    return left


def ids(*tokens: int) -> torch.Tensor:
    return torch.tensor([tokens])


def prefilled(stack: DecoderStack) -> Session:
    session = Session(stack)
    session.prefill(ids(5, 17, 3))
    return session


def test_the_same_tokens_have_one_copy_while_it_is_held(tiny) -> None:
    stack = tiny().stack
    head = stack.partial_head(TOKENS)
    assert stack.partial_head(TOKENS.clone()) is head
    assert stack.partial_head(TOKENS.flip(0)) is not head
    assert head.share == pytest.approx(4 / 29)


@pytest.mark.parametrize("exit_layer", [1, 3])
@pytest.mark.parametrize("count", [1, 3])
def test_a_step_predicts_with_it_and_leaves_the_whole_head_alone(
    tiny, products, exit_layer: int, count: int
) -> None:
    stack = tiny().stack
    plan = DepthPlan.exit_at(stack.num_layers, min(exit_layer, stack.num_layers))
    tokens = ids(*range(7, 7 + count))
    whole, trimmed = prefilled(stack), prefilled(stack)
    expected = whole.forward(tokens, plan)
    head = stack.partial_head(TOKENS)
    products.clear()
    found = trimmed.forward(tokens, plan, head=head)
    assert products == [4]
    torch.testing.assert_close(found.logits, spread(expected.logits, TOKENS), rtol=0, atol=1e-12)
    assert found.layers_run.tolist() == expected.layers_run.tolist()
    # What is held is the same: verifying, or going on, gives what it gives anyway.
    both = [
        session.verify(ids(*session.tokens()[session.exact_lengths[0] :], 2)) for session in (whole, trimmed)
    ]
    assert torch.equal(both[0].logits, both[1].logits)


class Looking(DepthPolicy):
    """Reads logits after every layer, and stops after the second; remembers them."""

    def __init__(self, few=None) -> None:
        self.few, self.seen = few, []

    def should_exit(self, layer, exit_view) -> bool:
        self.seen.append(exit_view.logits if self.few is None else exit_view.logits_of(self.few))
        return layer == 2


def test_a_look_shares_the_steps_own_product(tiny, products) -> None:
    stack = tiny().stack
    head, other = stack.partial_head(TOKENS), stack.partial_head(TOKENS[:3])
    for few, expected in ((None, [4, 4]), (head, [4, 4]), (other, [3, 3, 4])):
        session, policy = prefilled(stack), Looking(few)
        products.clear()
        logits = session.forward(ids(7), policy, head=head).logits[0, 0]
        assert products == expected
        assert session.tally.spare_heads == (0 if few is other else 1)
        expected_look = logits if few is None else logits[few.tokens]
        torch.testing.assert_close(policy.seen[1], expected_look, rtol=0, atol=1e-12)


def test_sequences_that_step_together_are_each_predicted_by_their_own_head(tiny, products) -> None:
    stack = tiny().stack
    few, fewer = stack.partial_head(TOKENS), stack.partial_head(TOKENS[:3])
    heads = (few, None, fewer, few)
    prompts = (5, 6, 7, 8)
    full = ConstantPolicy(DepthPlan.exit_at(stack.num_layers, 2))

    def member(batch: Batch, place: int, policy: DepthPolicy):
        session = batch.session(8)
        session.prefill(ids(prompts[place], 3))
        return place, session.forward(ids(7), policy, head=heads[place]).logits[0, 0]

    for policy in (lambda: full, Looking):
        alone = []
        for prompt in prompts:
            session = Session(stack)
            session.prefill(ids(prompt, 3))
            alone.append(session.forward(ids(7), policy()).logits[0, 0])
        batch = Batch(stack)
        products.clear()
        found = dict(batch.run([partial(member, batch, place, policy()) for place in range(4)]))
        # The prompts' predictions, then one product for each head, at each look.
        assert sorted(products[1:]) == sorted([4, 29, 3] * (2 if policy is Looking else 1))
        for place, head in enumerate(heads):
            expected = alone[place] if head is None else spread(alone[place], head.tokens)
            torch.testing.assert_close(found[place], expected, rtol=0, atol=1e-12)


def test_tokens_without_a_chance_add_nothing_to_the_entropy() -> None:
    logits = torch.tensor([1.0, -torch.inf, 0.5, -torch.inf])
    expected = torch.distributions.Categorical(logits=logits[[0, 2]]).entropy() / math.log(4)
    assert normalised_entropy(logits) == pytest.approx(float(expected), rel=1e-6)
    assert 0 < probability_margin(logits) < 1
