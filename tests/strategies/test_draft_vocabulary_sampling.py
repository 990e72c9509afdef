"""draft.vocab under sampling: whole sequences come as the full model has them, by a chi-square test.

A draft that leaves tokens out draws from a distribution that gives them no chance. That it must say so is
shown by one that does not: it gives the distribution over all tokens, and the same test fails.
"""

from dataclasses import replace

import pytest
import torch

from lsbench.engine import ConstantPolicy, DecoderStack, DepthPlan, probabilities
from lsbench.spec import Sampling, parse_strategy
from lsbench.strategy import PolicyDraft, speculate
from lsbench.strategy.registry import resolve
from support.distribution import p_value
from support.drawing import Generate, drawn_together
from support.requests import generate_request
from support.six_tokens import LAYERS, LENGTH, PROMPT, SixTokens

PLAIN = Sampling(temperature=0.8)
CUT = Sampling(temperature=1.1, top_p=0.85, top_k=4)
SEEDS = 800
FAITHFUL = 0.001
WRONG = 1e-6

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]


class Tiny(SixTokens):
    def p_value(self, generate: Generate, sampling: Sampling) -> float:
        requests = [generate_request(PROMPT, LENGTH, sampling=sampling, seed=seed) for seed in range(SEEDS)]
        drawn = drawn_together(self.stack, generate, requests)
        assert 0.05 < drawn.taken < 0.95  # where all or none are taken, any rule would pass
        return p_value(drawn.outputs, self.exact(sampling))


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    return Tiny()


@pytest.mark.parametrize(
    ("options", "sampling"),
    [
        ("draft=static_exit,draft.exit_layer=1,draft.vocab=3,num_speculations=2", PLAIN),
        ("draft=static_exit,draft.exit_layer=2,draft.vocab=4,num_speculations=3", CUT),
        ("draft=static_exit,draft.exit_layer=online,draft.vocab=4,num_speculations=3", PLAIN),
        (
            "draft=dynamic_exit,draft.threshold=0.5,draft.vocab=3,draft.check_vocab=3",
            PLAIN,
        ),
        ("draft=autoregressive,draft.vocab=4,num_speculations=3,draft_stop=0.3", PLAIN),
    ],
)
def test_every_way_of_drafting_keeps_the_distribution(tiny: Tiny, options: str, sampling: Sampling) -> None:
    strategy = resolve(parse_strategy(f"self_speculative:{options}"))
    strategy.check(LAYERS)
    strategy.prepare(tiny.preparation)
    assert tiny.p_value(strategy.generate, sampling) > FAITHFUL


class Trimmed(PolicyDraft):
    """Draws from a part of the vocabulary, and says so or not.

    Args:
        stack: the model.
        is_honest: whether the distribution that it gives is the one that it drew from, or that of all tokens.
    """

    def __init__(self, stack: DecoderStack, tokens: list[int], is_honest: bool) -> None:
        super().__init__(
            ConstantPolicy(DepthPlan.exit_at(LAYERS, 1)), head=stack.partial_head(torch.tensor(tokens))
        )
        self.is_honest = is_honest

    def propose(self, session, last, count, sampler):
        for proposed in super().propose(session, last, count, sampler):
            distribution = proposed.distribution
            if not self.is_honest:
                # The position that was just run, predicted with the whole head.
                held = session.lengths[0] - 1
                logits = self._whole(session, session.tokens()[held])
                distribution = probabilities(logits, sampler.sampling)
            yield replace(proposed, distribution=distribution)

    def _whole(self, session, token):
        length = session.lengths[0]
        session.truncate(length - 1)
        return session.forward(torch.tensor([[token]]), self.policy).logits[0, -1]


@pytest.mark.parametrize("is_honest", [True, False])
def test_a_distribution_over_all_tokens_is_found_out(tiny: Tiny, is_honest: bool) -> None:
    def generate(session, request):
        return speculate(session, request, Trimmed(tiny.stack, [0, 3, 5], is_honest), 2)

    found = tiny.p_value(generate, PLAIN)
    assert found > FAITHFUL if is_honest else found < WRONG
