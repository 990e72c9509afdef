"""Sequences of a batch come out as they do alone, whoever decodes beside them: in float64, token by token."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsbench.engine import Session
from lsbench.engine.batch import Batch
from lsbench.spec import GenerateRequest, Sampling
from lsbench.strategy import Strategy
from support.requests import generate_request

FILLS = ("recompute", "propagate", "mask")
OURS = (
    "autoregressive",
    *(f"static_exit:exit_layer=3,kv_fill={fill}" for fill in FILLS),
    *(f"dynamic_exit:confidence=softmax_max,threshold=0.2,min_layer=2,kv_fill={fill}" for fill in FILLS),
    "dynamic_exit:confidence=patience,min_layer=1",
    "dynamic_exit:confidence=hidden_cosine,threshold=0.9,min_layer=1",
    *(f"dynamic_skip:max_skip_ratio=0.5,kv_fill={fill}" for fill in FILLS),
    "dynamic_skip:difficulty=early_cosine,max_skip_ratio=0.5",
    "dynamic_skip:difficulty=prompt_perplexity,granularity=sublayer,max_skip_ratio=0.5",
    "self_speculative:draft=static_exit,draft.exit_layer=2,num_speculations=4",
    "self_speculative:draft=static_exit,draft.exit_layer=4,num_speculations=3,draft_stop=0.3",
    "self_speculative:draft=dynamic_exit,draft.confidence=softmax_max,draft.threshold=0.2,draft.min_layer=1",
    "self_speculative:draft=dynamic_skip,draft.max_skip_ratio=0.5,num_speculations=5",
)
QUICK = (0, 3, 5, 10, 12, 14, 17)
"""Of each kind one or two by themselves; all of them in the slow tests."""
SAMPLING = (Sampling(), Sampling(temperature=0.8, top_p=0.9), Sampling(temperature=1.2, top_k=20))
RELAXED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.fixture(scope="module")
def strategies(bench) -> dict[str, Strategy]:
    return {text: bench.make(text) for text in OURS}


@st.composite
def members(draw: st.DrawFn) -> tuple[str, GenerateRequest]:
    prompt = draw(st.lists(st.integers(0, 60), min_size=1, max_size=12))
    request = generate_request(
        prompt,
        draw(st.integers(1, 14)),
        sampling=draw(st.sampled_from(SAMPLING)),
        seed=draw(st.integers(0, 9)),
    )
    return draw(st.sampled_from(OURS)), request


def outcome(strategy: Strategy, session: Session, request: GenerateRequest) -> tuple[object, ...]:
    """All that a record would hold of it."""
    emitted = list(strategy.generate(session, request))
    tokens = tuple(token for emission in emitted for token in emission.tokens)
    depth = tuple(layers for emission in emitted for layers in emission.depth or ())
    drafted = sum(emission.drafted or 0 for emission in emitted)
    kinds = tuple(emission.kind for emission in emitted)
    return tokens[: request.max_new_tokens], tuple(round(layers, 9) for layers in depth), drafted, kinds


def holds(strategies: dict[str, Strategy], stack, batch_of: list[tuple[str, GenerateRequest]]) -> None:
    batch = Batch(stack)

    def member(place: int) -> tuple[int, tuple[object, ...]]:
        text, request = batch_of[place]
        return place, outcome(strategies[text], batch.session(8), request)

    together = dict(batch.run([lambda place=place: member(place) for place in range(len(batch_of))]))
    for place, (text, request) in enumerate(batch_of):
        assert together[place] == outcome(strategies[text], Session(stack), request), text


@settings(max_examples=10, deadline=None, suppress_health_check=RELAXED)
@given(st.lists(members(), min_size=2, max_size=5))
def test_a_batch_of_anything_gives_what_each_gives_alone(strategies, stack, batch_of) -> None:
    holds(strategies, stack, batch_of)


@pytest.mark.slow
@settings(max_examples=250, deadline=None, suppress_health_check=RELAXED)
@given(st.lists(members(), min_size=2, max_size=5))
def test_a_batch_of_anything_gives_what_each_gives_alone_over_hundreds(strategies, stack, batch_of) -> None:
    holds(strategies, stack, batch_of)


@pytest.mark.parametrize(
    "text",
    [pytest.param(text, marks=() if place in QUICK else pytest.mark.slow) for place, text in enumerate(OURS)],
)
def test_each_strategy_in_a_batch_of_its_own(text, strategies, stack) -> None:
    prompts = ([5, 17, 3, 44], [9], [21, 2, 30, 7, 7, 7, 11])
    requests = [generate_request(prompt, 10 + place) for place, prompt in enumerate(prompts)]
    holds(strategies, stack, [(text, request) for request in requests])
