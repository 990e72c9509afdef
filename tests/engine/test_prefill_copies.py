"""A copied prefill is as good as a prefill."""

import pytest
import torch

from lsbench.engine import DepthPlan, Session
from lsbench.engine.prefill_copies import PrefillCopies
from lsbench.engine.random_model import random_stack
from lsbench.engine.stack import DecoderStack

LAYERS = 4
SHALLOW = DepthPlan((True, True) * 2 + (False, False) * 2, "mask")


@pytest.fixture(scope="module")
def stack():
    return random_stack(LAYERS)


def ids(*tokens):
    return torch.tensor([tokens])


def goes_on(session, prompt, token, with_perplexity=False):
    """Everything that a session gives after a prompt, and what it knows then."""
    given = [session.prefill(ids(*prompt), with_perplexity), session.previous_logits()]
    given.append(session.forward(ids(token), SHALLOW).logits)
    given.append(session.verify(ids(token, token + 1)).logits)
    known = session.tokens(), session.lengths, session.exact_lengths, session.prompt_lengths
    return given, (*known, session.prompt_perplexity)


@pytest.mark.parametrize("with_perplexity", [False, True])
def test_every_session_gives_what_one_of_its_own_would(stack, with_perplexity):
    copies = PrefillCopies(stack)
    for prompt, token in [((1, 2, 3), 4), ((1, 2, 3), 9), ((1, 2), 4), ((1, 2, 3), 4)]:
        own, known = goes_on(Session(stack), prompt, token, with_perplexity)
        copied, known_too = goes_on(copies.session(16), prompt, token, with_perplexity)
        assert known_too == known
        assert all(torch.equal(one, other) for one, other in zip(own, copied, strict=True))


def test_a_prompt_is_run_once(stack, monkeypatch):
    runs, real = [], DecoderStack.embed
    monkeypatch.setattr(
        DecoderStack, "embed", lambda self, tokens: runs.append(len(tokens)) or real(self, tokens)
    )
    copies = PrefillCopies(stack)
    for _ in range(5):
        copies.session(16).prefill(ids(1, 2, 3))
    assert runs == [3]
    copies.session(16).prefill(ids(1, 2, 3), True)
    copies.session(16).prefill(ids(1, 2, 4))
    assert runs == [3, 3, 3]


def test_a_second_prefill_in_a_session_is_no_copy_of_the_first(stack):
    copies = PrefillCopies(stack)
    copies.session(16).prefill(ids(5, 6))
    session = copies.session(16)
    session.prefill(ids(1, 2))
    assert torch.equal(session.prefill(ids(5, 6)), last_of(stack, (1, 2), (5, 6)))


def last_of(stack, *prompts):
    session = Session(stack)
    return [session.prefill(ids(*prompt)) for prompt in prompts][-1]
