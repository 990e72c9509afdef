"""What a draft hears: after a verifying pass, the very hidden states of a full pass, and nothing else."""

import numpy as np
import pytest
import torch

from lsbench.engine import DecoderStack, DepthPlan, Session
from lsbench.strategy import HiddenStates

LAYERS = 6
PROMPT = (5, 17, 3, 44)
DRAFTED = (8, 21, 9, 30)
FIRST = len(PROMPT)
FULL = DepthPlan.full(LAYERS)

PLANS = {
    "exit": [DepthPlan.exit_at(LAYERS, 2, "mask")] * 3,
    "hole": [DepthPlan.skipping(LAYERS, [3, 8], "propagate")] * 3,
    "from the bottom": [DepthPlan.skipping(LAYERS, [0], "mask")] * 3,
    "one in full after one that is not": [DepthPlan.skipping(LAYERS, [5, 6], "propagate"), FULL, FULL],
    "in full first": [FULL, DepthPlan.exit_at(LAYERS, 4, "recompute"), DepthPlan.exit_at(LAYERS, 3)],
    "older ones ride along": [DepthPlan.exit_at(LAYERS, 2), DepthPlan.exit_at(LAYERS, 5), FULL],
    "they come up over a gap": [DepthPlan.exit_at(LAYERS, 2), DepthPlan.skipping(LAYERS, [5, 6]), FULL],
    "they stop again": [DepthPlan.exit_at(LAYERS, 2), DepthPlan.exit_at(LAYERS, 4)],
    "they see what is not exact": [
        DepthPlan.exit_at(LAYERS, 3, "propagate"),
        DepthPlan.exit_at(LAYERS, 4),
        FULL,
    ],
}


def heard_of(stack: DecoderStack, plans: list[DepthPlan]) -> HiddenStates:
    """Drafts token by token under the plans, then verifies all and one more."""
    states = HiddenStates(LAYERS)
    session = Session(stack)
    session.prefill(torch.tensor([PROMPT]))
    session.begin_draft()
    for token, plan in zip(DRAFTED, plans, strict=False):
        session.forward(torch.tensor([[token]]), plan, states)
    session.verify(torch.tensor([DRAFTED]), states, FIRST)
    return states


@pytest.fixture(scope="module")
def expected(stack: DecoderStack) -> list[torch.Tensor]:
    """Entering and leaving each layer, [positions, D], by transformers itself."""
    with torch.inference_mode():
        output = stack.model.model(torch.tensor([[*PROMPT, *DRAFTED]]), output_hidden_states=True)
    return [hidden[0] for hidden in output.hidden_states]


@pytest.mark.parametrize("name", PLANS)
def test_after_verifying_they_are_those_of_a_full_pass(stack, expected, name: str) -> None:
    states = heard_of(stack, PLANS[name])
    for place in range(len(DRAFTED)):
        for layer in range(1, LAYERS):
            hidden = states.leaving(2 * layer - 1, FIRST + place)
            assert hidden is not None, "every sub-layer was heard of, from whichever step ran it"
            torch.testing.assert_close(hidden, expected[layer][FIRST + place], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", PLANS)
def test_cosines_are_those_of_a_full_pass(stack, name: str) -> None:
    positions = range(FIRST, FIRST + len(DRAFTED))
    full = HiddenStates(LAYERS)
    session = Session(stack)
    session.prefill(torch.tensor([PROMPT]))
    session.verify(torch.tensor([DRAFTED]), full)
    expected = full.cosines(positions)
    assert expected.shape == (len(DRAFTED), 2 * LAYERS)
    assert not np.isnan(expected).any()
    cosines = heard_of(stack, PLANS[name]).cosines(positions)
    assert np.allclose(cosines, expected, rtol=0, atol=1e-9)


def test_cosines_are_of_what_enters_and_leaves(stack) -> None:
    told: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    class Both(HiddenStates):
        def __call__(self, sublayer, positions, entering, leaving) -> None:
            super().__call__(sublayer, positions, entering, leaving)
            told[sublayer] = entering[0], leaving[0]

    states = Both(LAYERS)
    session = Session(stack)
    session.prefill(torch.tensor([PROMPT]))
    session.verify(torch.tensor([[8]]), states)
    for sublayer, (entering, leaving) in told.items():
        cosine = float(entering @ leaving / (entering.norm() * leaving.norm()))
        assert states.cosines([FIRST])[0, sublayer] == pytest.approx(cosine, abs=1e-12)


def test_what_was_forgotten_or_never_heard_of_is_not_known(stack) -> None:
    states = heard_of(stack, PLANS["exit"])
    assert states.leaving(0, FIRST - 1) is None
    assert np.isnan(states.cosines([FIRST - 1])).all()
    states.forget()
    assert states.leaving(0, FIRST) is None
    assert np.isnan(states.cosines([FIRST])).all()


def test_what_a_draft_guessed_after_a_gap_is_not_taken_for_exact(stack) -> None:
    """Heard from a draft alone, a position is known up to the first sub-layer that it left out."""
    states = HiddenStates(LAYERS)
    session = Session(stack)
    session.prefill(torch.tensor([PROMPT]))
    session.forward(torch.tensor([[8]]), DepthPlan.skipping(LAYERS, [3], "mask"), states)
    assert [states.leaving(j, FIRST) is not None for j in range(6)] == [True] * 3 + [False] * 3
