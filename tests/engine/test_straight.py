"""A step of its own for the common case gives, and leaves, what the general step does, to the last bit."""

from __future__ import annotations

import pytest
import torch

from lsbench.engine import DepthPlan, DepthPolicy, Session, stepping
from lsbench.engine.native import prepare
from lsbench.engine.straight import take_straight_step
from support.families.models import LAYERS, made_family

pytestmark = pytest.mark.skipif(not prepare().available, reason=prepare().detail)

FULL = DepthPlan.full(LAYERS)


class Undecided(DepthPolicy):
    """Every layer, but only as of now."""


class Looking(DepthPolicy):
    """Looks after the second layer, and goes on."""

    def check_layers(self, num_layers):
        return (2,)


@pytest.fixture(scope="module")
def stack():
    return made_family("llama", torch.float32, hidden_size=24, intermediate_size=40).stack


def _ids(*tokens: int) -> torch.Tensor:
    return torch.tensor([tokens])


def _went(stack) -> tuple[list[torch.Tensor], Session]:
    session = Session(stack, capacity=4)  # grows on the way
    logits = [session.prefill(_ids(3, 1, 4))]
    logits.append(session.forward(_ids(1), FULL).logits)
    logits.append(session.forward(_ids(5, 9, 2), FULL).logits)
    logits.append(session.forward(_ids(6), Undecided()).logits)
    logits.append(session.forward(_ids(7), Looking()).logits)
    session.begin_draft()
    logits.append(session.forward(_ids(5), FULL).logits)
    logits.append(session.forward(_ids(3), DepthPlan.exit_at(LAYERS, 1)).logits)
    logits.append(session.forward(_ids(5), FULL).logits)  # an older position is pending: it is brought up
    logits.append(session.forward(_ids(8), FULL).logits)
    session.truncate(9)
    logits.append(session.forward(_ids(4), FULL).logits)
    return logits, session


def test_it_is_the_general_step_to_the_last_bit(stack, monkeypatch):
    taken: list[bool] = []

    def watched(*arguments):
        outcome = take_straight_step(*arguments)
        taken.append(outcome is not None)
        return outcome

    monkeypatch.setattr(stepping, "take_straight_step", watched)
    straight, session = _went(stack)
    monkeypatch.setattr(stepping, "take_straight_step", lambda *_: None)
    general, other = _went(stack)
    assert taken == [True, True, True, True, False, True, False, False, True, True]
    for ours, theirs in zip(straight, general, strict=True):
        assert torch.equal(ours, theirs)
    ours, theirs = session.cache, other.cache
    assert (ours.state == theirs.state).all()
    assert (ours.frontier == theirs.frontier).all()
    assert ours.exact_lengths == theirs.exact_lengths
    assert ours.resume.keys() == theirs.resume.keys()
    assert all(torch.equal(ours.resume[place], theirs.resume[place]) for place in ours.resume)
    for mine, its in zip((*ours.keys, *ours.values), (*theirs.keys, *theirs.values), strict=True):
        assert torch.equal(mine, its)


def test_no_row_above_those_that_compiled_code_serves(stack):
    session = Session(stack)
    count = stack.native.most_rows + 1
    session.cache.append(0, count)
    request = stepping.StepRequest(session.cache, torch.zeros(count, 24), [FULL])
    assert take_straight_step(stack, request) is None
