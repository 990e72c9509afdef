"""transformers' own loops give the baseline's tokens, leave nothing behind, and are scored."""

import logging
import random
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from lsbench.engine import Sampler, Session
from lsbench.spec import Sampling, ScoreWindow
from support.requests import generate_request

pytestmark = pytest.mark.slow

PROMPTS = [(5, 17, 3, 44, 8, 21, 9), (60,), (7, 8, 9, 7, 8, 9, 7, 8, 9, 7, 8)]
OUTSIDE = [
    "hf_generate",
    "hf_assistant_early_exit:exit_layer=2",
    pytest.param("hf_assistant_early_exit:exit_layer=5,num_speculations=7", marks=pytest.mark.slow),
    "hf_prompt_lookup",
    pytest.param("hf_prompt_lookup:num_speculations=3,max_ngram=1", marks=pytest.mark.slow),
]
DRAWN = Sampling(temperature=1.3, top_p=0.9, top_k=20)


@pytest.fixture(params=OUTSIDE)
def outside(request, bench):
    return bench.make(request.param)


def tokens_of(bench, strategy, *args, **options):
    return bench.run(strategy, *args, **options).tokens


def test_greedy_tokens_are_those_of_the_engine(bench, outside):
    for prompt in PROMPTS:
        for count in (1, 2, 24):
            assert tokens_of(bench, outside, prompt, count) == tokens_of(
                bench, "autoregressive", prompt, count
            )


def test_nothing_is_claimed_that_cannot_be_told(bench, outside):
    for emission in bench.run(outside).emitted:
        assert (emission.depth, emission.drafted, emission.kind) == (None, None, "decoded")


def test_drafting_emits_blocks_and_plain_generation_single_tokens(bench):
    assert {len(e.tokens) for e in bench.run("hf_generate").emitted} == {1}
    full = bench.run("hf_assistant_early_exit:exit_layer=5,num_speculations=7").emitted
    assert max(len(e.tokens) for e in full) > 1
    repeated = bench.run("hf_prompt_lookup", PROMPTS[2], 60).emitted
    assert max(len(e.tokens) for e in repeated) > 1


def test_early_exits_draft_with_that_many_layers(bench, monkeypatch):
    seen = []
    layers = bench.stack.model.model.layers
    for number, layer in enumerate(layers, start=1):
        layer.register_forward_hook(lambda *_, number=number: seen.append(number))
    try:
        bench.run("hf_assistant_early_exit:exit_layer=2,num_speculations=3", count=12)
    finally:
        for layer in layers:
            layer._forward_hooks.clear()
    assert seen.count(1) == seen.count(2) > seen.count(3) == seen.count(6) > 0


def test_end_of_sequence_ends_it(bench, outside):
    whole = tokens_of(bench, "autoregressive", count=24)
    stop = whole[9]
    request = generate_request(PROMPTS[0], 24, stop_token_ids=(59, stop))
    emitted = [t for e in outside.generate(Session(bench.stack), request) for t in e.tokens]
    assert tuple(emitted) == whole[: whole.index(stop) + 1]


def test_the_checkpoints_own_generation_settings_do_not_act(bench, outside):
    expected = tokens_of(bench, "autoregressive", count=30)
    config = bench.stack.model.generation_config
    changes = {
        "eos_token_id": expected[4],
        "repetition_penalty": 9.0,
        "min_new_tokens": 40,
        "do_sample": True,
    }
    before = {key: getattr(config, key) for key in changes}
    try:
        for key, value in changes.items():
            setattr(config, key, value)
        assert tokens_of(bench, outside, count=30) == expected
        assert {key: getattr(config, key) for key in changes} == changes
    finally:
        for key, value in before.items():
            setattr(config, key, value)


def test_sampled_tokens_of_hf_generate_are_the_baselines(bench):
    drawn = {
        (prompt, seed): tokens_of(bench, "autoregressive", prompt, 20, DRAWN, seed)
        for seed in range(3)
        for prompt in PROMPTS
    }
    assert len(set(drawn.values())) == 9
    for (prompt, seed), expected in drawn.items():
        assert tokens_of(bench, "hf_generate", prompt, 20, DRAWN, seed) == expected


def test_what_is_drawn_depends_on_the_request_alone(bench, outside):
    first = tokens_of(bench, outside, PROMPTS[0], 20, DRAWN, 7)
    torch.manual_seed(99)
    assert tokens_of(bench, outside, PROMPTS[1], 5, DRAWN, 1)
    assert tokens_of(bench, outside, PROMPTS[0], 20, DRAWN, 7) == first
    assert tokens_of(bench, outside, PROMPTS[0], 20, DRAWN, 8) != first


def test_sampling_options_reach_transformers(bench, outside):
    certain = Sampling(temperature=0.9, top_k=1)
    assert tokens_of(bench, outside, PROMPTS[0], 20, certain, 3) == tokens_of(
        bench, "autoregressive", count=20
    )
    nucleus = Sampling(temperature=0.9, top_p=1e-6)
    assert tokens_of(bench, outside, PROMPTS[0], 20, nucleus, 3) == tokens_of(
        bench, "autoregressive", count=20
    )


def test_global_random_numbers_are_left_alone_between_tokens_too(bench, outside):
    request = generate_request(PROMPTS[0], 12, sampling=DRAWN, seed=5)
    alone = [e.tokens for e in outside.generate(Session(bench.stack), request)]
    torch.manual_seed(3)
    expected = torch.rand(len(alone)).tolist()
    torch.manual_seed(3)
    before = np.random.get_state()[1].copy(), random.getstate()
    between, emitted = [], []
    for emission in outside.generate(Session(bench.stack), request):
        between.append(float(torch.rand(())))
        emitted.append(emission.tokens)
    assert emitted == alone
    assert between == expected
    assert np.array_equal(before[0], np.random.get_state()[1])
    assert before[1] == random.getstate()


def test_two_requests_in_turn_do_not_disturb_each_other(bench, outside):
    alone = [tokens_of(bench, outside, prompt, 12, DRAWN, n) for n, prompt in enumerate(PROMPTS)]
    running = [
        outside.generate(
            Session(bench.stack),
            generate_request(prompt, 12, doc_id=n, sampling=DRAWN, seed=n),
        )
        for n, prompt in enumerate(PROMPTS)
    ]
    tokens = [[] for _ in PROMPTS]
    while running_now := [n for n in range(len(PROMPTS)) if running[n] is not None]:
        for n in running_now:
            emission = next(running[n], None)
            if emission is None:
                running[n] = None
            else:
                tokens[n].extend(emission.tokens)
    assert [tuple(ids) for ids in tokens] == alone


def test_stopping_early_unwinds_it_and_leaves_the_model_whole(bench, outside, monkeypatch):
    unwound = []

    class Watched(type(bench.stack.model)):
        def generate(self, *args, **kwargs):
            try:
                return super().generate(*args, **kwargs)
            finally:
                unwound.append(1)

    monkeypatch.setattr(bench.stack.model, "__class__", Watched)
    request = generate_request(PROMPTS[0], 50)
    for times, taken in enumerate((0, 1, 3)):
        running = outside.generate(Session(bench.stack), request)
        for _ in range(taken):
            next(running)
        before = len(unwound)
        running.close()
        assert len(unwound) > before or not times
    assert bench.stack.model.config.num_hidden_layers == 6
    assert tokens_of(bench, outside, count=8) == tokens_of(bench, "autoregressive", count=8)


def test_a_failure_within_is_raised_to_who_asked_and_leaves_the_model_whole(bench, outside, monkeypatch):
    layer, calls = bench.stack.model.model.layers[0], []

    def fail(*_):
        calls.append(1)
        if len(calls) == 6:
            raise MemoryError("no room for this token")

    hook = layer.register_forward_hook(fail)
    try:
        with pytest.raises(MemoryError, match="no room for this token"):
            bench.run(outside, count=40)
    finally:
        hook.remove()
    assert bench.stack.model.config.num_hidden_layers == 6
    assert tokens_of(bench, outside, count=8) == tokens_of(bench, "autoregressive", count=8)


@pytest.mark.parametrize("sampling", [Sampling(), DRAWN], ids=["greedy", "drawn"])
def test_scores_are_those_of_the_engine(bench, outside, sampling, monkeypatch):
    import lsbench.strategy.whole_model_score as module

    monkeypatch.setattr(module, "_SCORED_ROWS", 5)
    window = ScoreWindow(
        context=PROMPTS[0], continuation=tokens_of(bench, "autoregressive", count=12, seed=4)
    )
    samplers = [None if sampling.greedy else Sampler(sampling, 4) for _ in range(2)]
    ours = bench.make("autoregressive").score(Session(bench.stack), window, samplers[0])
    theirs = outside.score(Session(bench.stack), window, samplers[1])
    assert theirs.choices == ours.choices
    assert theirs.logprobs == pytest.approx(ours.logprobs, abs=1e-6)
    assert theirs.depth is None


def test_nothing_is_said_on_the_side(bench, outside, caplog, capfd):
    logging.getLogger("transformers").propagate = True
    try:
        bench.run(outside, count=6)
    finally:
        logging.getLogger("transformers").propagate = False
    assert caplog.text == ""
    assert capfd.readouterr().err == ""


# -- refusals ---------------------------------------------------------------------------------------------


def test_an_exit_must_leave_something_to_verify(refusal):
    assert "names layer 6" in refusal("hf_assistant_early_exit:exit_layer=6")


@pytest.mark.parametrize("model_type", ["gpt_neox", "gpt2", "opt", "falcon", "stablelm", "cohere2", "new"])
def test_architectures_that_ignore_fewer_layers_are_refused_by_name(bench, model_type):
    from lsbench.errors import BadInput

    strategy = bench.make("hf_assistant_early_exit:exit_layer=2")
    with pytest.raises(BadInput, match=f"{model_type}.*llama.*self_speculative"):
        strategy.check_model(model_type)
    bench.make("hf_generate").check_model(model_type)
    bench.make("hf_prompt_lookup").check_model(model_type)


def test_those_that_honour_it_are_just_those_whose_decoder_reads_it(bench):
    from lsbench_strategies.hf_assistant_early_exit import HONOURED

    origin = find_spec("transformers.models").submodule_search_locations[0]

    def reads_it(model_type):
        folder = {"gemma3_text": "gemma3"}.get(model_type, model_type)
        source = (Path(origin) / folder / f"modeling_{folder}.py").read_text()
        return "self.layers[: self.config.num_hidden_layers]" in source

    assert all(reads_it(model_type) for model_type in HONOURED)
    assert not any(reads_it(model_type) for model_type in ("gpt_neox", "stablelm", "cohere2"))
