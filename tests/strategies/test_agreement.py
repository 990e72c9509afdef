"""Every built-in strategy: scoring agrees with its own generating, and nothing but the request matters."""

import random

import numpy as np
import pytest
import torch

from lsbench.engine import Sampler, Session
from lsbench.spec import Sampling, ScoreWindow
from lsbench.strategy import Choice, Strategy
from lsbench.strategy.options import read_options
from lsbench.strategy.registry import load_strategy
from support.requests import generate_request

CHOICES = [
    "autoregressive",
    "static_exit:exit_layer=2",
    "static_exit:exit_layer=4,kv_fill=propagate",
    "static_exit:exit_layer=5,kv_fill=mask",
    "dynamic_exit:threshold=0.4,min_layer=1",
    "dynamic_exit:confidence=softmax_margin,threshold=0.3,threshold_decay=0.2,min_layer=1,kv_fill=recompute",
    "dynamic_exit:confidence=entropy,threshold=0.4,candidate_layers=[2,3,5],check_vocab=20,kv_fill=mask",
    "dynamic_exit:confidence=hidden_cosine,threshold=0.88,candidate_layers=[2,3,5],kv_fill=recompute",
    "dynamic_exit:confidence=patience,threshold=1,min_layer=1",
    "dynamic_skip",
    "dynamic_skip:max_skip_ratio=0.6,rungs=5,kv_fill=propagate",
    "dynamic_skip:max_skip_ratio=0.5,kv_fill=mask,granularity=layer",
    "dynamic_skip:difficulty=previous_margin,max_skip_ratio=0.5",
    "dynamic_skip:difficulty=early_cosine,max_skip_ratio=0.5,early_layer=2,kv_fill=mask",
    "dynamic_skip:difficulty=prompt_perplexity,max_skip_ratio=0.5,kv_fill=propagate",
    "dynamic_skip:skip_set=[2,4.attention,6.mlp],thresholds=[0.65,0.75,0.8]",
]
QUICK = (0, 2, 5, 8, 10, 15)
"""Between them every kind, every fill, several confidences; all of them in the slow tests."""
PROMPTS = [(5, 17, 3, 44, 8, 21, 9), (60,)]
DRAWN = Sampling(temperature=1.3, top_p=0.9, top_k=20)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(text, marks=() if place in QUICK else pytest.mark.slow)
        for place, text in enumerate(CHOICES)
    ],
)
def strategy(request: pytest.FixtureRequest, bench) -> Strategy:
    return bench.make(request.param)


@pytest.mark.parametrize("sampling", [Sampling(), DRAWN], ids=["greedy", "drawn"])
def test_scoring_its_own_output_it_would_have_chosen_every_token(
    bench, strategy: Strategy, sampling: Sampling
) -> None:
    for seed, prompt in enumerate(PROMPTS):
        output = bench.run(strategy, prompt, 12, sampling, seed)
        assert len(output.tokens) == 12
        assert output.depths[0] == 6.0
        window = ScoreWindow(context=prompt, continuation=output.tokens)
        sampler = None if sampling.greedy else Sampler(sampling, seed)
        scored = strategy.score(Session(bench.stack), window, sampler)
        assert scored.choices == output.tokens
        assert scored.depth == output.depths
        assert all(logprob <= 0 for logprob in scored.logprobs)


def test_the_same_request_gives_the_same_output_whatever_ran_before(bench, strategy: Strategy) -> None:
    first = bench.run(strategy, PROMPTS[0], 12, DRAWN, 7).emitted
    torch.manual_seed(99)
    for prompt in PROMPTS[1:]:
        bench.run(strategy, prompt, 5, DRAWN, 1)
        strategy.score(Session(bench.stack), ScoreWindow(context=prompt, continuation=(1, 2, 3)))
    assert bench.run(strategy, PROMPTS[0], 12, DRAWN, 7).emitted == first
    assert bench.run(strategy, PROMPTS[0], 12, DRAWN, 8).emitted != first


def test_two_requests_in_turn_do_not_disturb_each_other(bench, strategy: Strategy) -> None:
    alone = [bench.run(strategy, prompt, 12).tokens for prompt in PROMPTS[:2]]
    both = [
        strategy.generate(
            Session(bench.stack),
            generate_request(prompt, 12, doc_id=n),
        )
        for n, prompt in enumerate(PROMPTS[:2])
    ]
    interleaved = [[], []]
    for pair in zip(*both, strict=True):
        for tokens, emission in zip(interleaved, pair, strict=True):
            tokens.extend(emission.tokens)
    assert [tuple(tokens) for tokens in interleaved] == alone


def test_global_random_state_is_left_alone(bench) -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    for choice in CHOICES:
        bench.run(bench.make(choice), PROMPTS[0], 6, DRAWN, 3)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()


@pytest.mark.parametrize("name", ["autoregressive", "static_exit", "dynamic_exit", "dynamic_skip"])
def test_what_tuning_may_try_is_what_the_options_take(name: str) -> None:
    model = load_strategy(name).Options
    required = {key: 1 for key, field in model.model_fields.items() if field.is_required()}
    for key, space in model.search_spaces().items():
        values = space.values if isinstance(space, Choice) else (space.low, space.high or 30)
        for value in values:
            extra = {"difficulty": "early_cosine"} if key == "early_layer" else {}
            assert getattr(read_options(model, {**required, **extra, key: value}), key) == value
