"""transformers' own loops in batches: each sequence comes out as alone, in one ``generate`` or by turns."""

import logging
import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsbench.engine import Session
from lsbench.spec import Sampling
from lsbench.strategy import BadInput, Member
from lsbench.strategy.members import emissions
from support.families.models import VARIANTS, tiny_family
from support.requests import generate_request

PROMPTS = [(5, 17, 3, 44, 8, 21, 9), (60,), (7, 8, 9, 7, 8, 9, 7, 8, 9, 7, 8)]
OUTSIDE = ["hf_generate", "hf_assistant_early_exit:exit_layer=3", "hf_prompt_lookup"]
SAMPLING = (Sampling(), Sampling(temperature=1.3, top_p=0.9, top_k=20), Sampling(temperature=0.7))


def alone(strategy, stack, request):
    emitted = strategy.generate(Session(stack), request)
    return tuple(token for emission in emitted for token in emission.tokens)


def together(strategy, stack, requests, ended_after=()):
    """Tokens of each, until it ends of itself or has as many tokens as ``ended_after`` says."""
    members = [Member(Session(stack), request) for request in requests]
    found = [[] for _ in requests]
    for place, said in emissions(strategy, members):
        if isinstance(said, Exception):
            raise said
        assert (said.depth, said.drafted, said.kind) == (None, None, "decoded")
        found[place].extend(said.tokens)
        members[place].ended = len(found[place]) >= dict(ended_after).get(place, 1000)
    return [tuple(tokens) for tokens in found]


@st.composite
def asked(draw):
    return generate_request(
        draw(st.lists(st.integers(0, 60), min_size=1, max_size=12)),
        draw(st.integers(1, 12)),
        sampling=draw(st.sampled_from(SAMPLING)),
        seed=draw(st.integers(0, 9)),
        stop_token_ids=tuple(draw(st.lists(st.integers(0, 60), max_size=9, unique=True))),
    )


@pytest.mark.parametrize(
    "text", [OUTSIDE[0], *(pytest.param(each, marks=pytest.mark.slow) for each in OUTSIDE[1:])]
)
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests=st.lists(asked(), min_size=2, max_size=4))
def test_each_comes_out_as_it_does_alone(bench, text, requests):
    strategy = bench.make(text)
    assert together(strategy, bench.stack, requests) == [alone(strategy, bench.stack, r) for r in requests]


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests=st.lists(asked(), min_size=2, max_size=6))
def test_hf_generate_gives_what_the_engine_gives_over_dozens_of_batches(bench, requests):
    made = together(bench.make("hf_generate"), bench.stack, requests)
    for request, tokens in zip(requests, made, strict=True):
        whole = alone(bench.make("autoregressive"), bench.stack, request)
        stops = [place for place, token in enumerate(whole) if token in request.stop_token_ids]
        assert tokens == (whole[: stops[0] + 1] if stops else whole)


def test_who_is_ended_from_outside_leaves_the_others_as_they_are(bench):
    requests = [generate_request(prompt, 8) for prompt in PROMPTS]
    whole = [alone(bench.make("autoregressive"), bench.stack, request) for request in requests]
    for text in OUTSIDE:
        strategy = bench.make(text)
        made = together(strategy, bench.stack, requests, ended_after={0: 1, 2: 3}.items())
        assert made[1] == whole[1]
        assert [made[0], made[2]] == [whole[0][: len(made[0])], whole[2][: len(made[2])]]
        assert len(made[0]) < 8


@pytest.fixture
def passes(bench):
    """[sequences, tokens] of each pass through the first layer."""
    seen = []
    layer = bench.stack.model.model.layers[0]
    hook = layer.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape[:2])))
    yield seen
    hook.remove()


def test_hf_generate_reads_the_weights_once_for_all_until_the_last_has_ended(bench, passes):
    requests = [generate_request(prompt, count) for prompt, count in zip(PROMPTS, (3, 9, 6), strict=True)]
    together(bench.make("hf_generate"), bench.stack, requests)
    assert passes == [(3, 11), *[(3, 1)] * 8]
    passes.clear()
    together(bench.make("hf_generate"), bench.stack, requests, ended_after={1: 4}.items())
    assert passes == [(3, 11), *[(3, 1)] * 5]


def test_drafts_of_transformers_are_for_one_sequence_so_that_they_take_turns(bench, passes):
    """transformers' own word on it, and what becomes of a batch instead."""
    model = bench.stack.model
    ids = torch.tensor([PROMPTS[0], PROMPTS[0][::-1]])
    for asked_for in ({"prompt_lookup_num_tokens": 3}, {"assistant_early_exit": 3}):
        with pytest.raises(ValueError, match="only supported for batch_size = 1"):
            model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, **asked_for)
    model.config.num_hidden_layers = bench.stack.num_layers
    for text in OUTSIDE[1:]:
        passes.clear()
        together(bench.make(text), bench.stack, [generate_request(prompt, 6) for prompt in PROMPTS])
        assert {sequences for sequences, _ in passes} == {1}


def test_global_random_numbers_are_left_alone(bench):
    requests = [generate_request(p, 8, sampling=SAMPLING[1], seed=n) for n, p in enumerate(PROMPTS)]
    for text in OUTSIDE:
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        together(bench.make(text), bench.stack, requests)
        assert torch.equal(before[0], torch.get_rng_state())
        assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())


def test_closing_it_early_unwinds_it(bench):
    members = [Member(Session(bench.stack), generate_request(prompt, 20)) for prompt in PROMPTS]
    for text in OUTSIDE:
        coming = emissions(bench.make(text), members)
        for _ in range(4):
            next(coming)
        coming.close()
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert bench.stack.model.config.num_hidden_layers == bench.stack.num_layers


def test_the_lengths_of_two_sequences_are_not_warned_of_as_one(bench, caplog, capfd, monkeypatch):
    monkeypatch.setattr(bench.stack.model.config, "max_position_embeddings", 14)
    logging.getLogger("transformers").propagate = True
    try:
        requests = [generate_request(PROMPTS[2], 3), generate_request(PROMPTS[1], 12)]
        together(bench.make("hf_generate"), bench.stack, requests)
    finally:
        logging.getLogger("transformers").propagate = False
    assert caplog.text == ""
    assert capfd.readouterr().err == ""


def test_a_batch_of_nothing_to_do_is_none(bench):
    requests = [generate_request(prompt, 0) for prompt in PROMPTS]
    for text in OUTSIDE:
        assert together(bench.make(text), bench.stack, requests) == [(), (), ()]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "gpt_neox" else pytest.mark.slow)
        for name in VARIANTS
        if name != "gemma2"
    ],
)
def test_padding_changes_nothing_in_any_family(bench, name):
    stack = tiny_family(name).stack
    strategy = bench.make("hf_generate")
    requests = [generate_request([token % 29 for token in prompt] * 2, 6) for prompt in PROMPTS]
    assert together(strategy, stack, requests) == [alone(strategy, stack, request) for request in requests]


def test_where_transformers_itself_cannot_pad_that_is_said(bench):
    stack = tiny_family("gemma2").stack
    strategy = bench.make("hf_generate")
    of_a_length = [generate_request(prompt, 6) for prompt in ((5, 17, 3), (9, 8, 7))]
    assert together(strategy, stack, of_a_length) == [alone(strategy, stack, r) for r in of_a_length]
    with pytest.raises(BadInput, match="different lengths in float64; use --dtype float32"):
        together(strategy, stack, [*of_a_length, generate_request((5,), 6)])


@pytest.mark.slow
def test_where_it_cannot_pad_in_float64_it_can_in_float32(bench):
    stack = tiny_family("gemma2", torch.float32).stack
    strategy = bench.make("hf_generate")
    requests = [generate_request([token % 29 for token in prompt], 6) for prompt in PROMPTS]
    assert together(strategy, stack, requests) == [alone(strategy, stack, request) for request in requests]
