import time

import pytest

from lsbench.execution.generation import BrokenStrategy, generate
from lsbench.strategy import Emitted, Strategy

pytestmark = pytest.mark.usefixtures("one_thread")
L = 4.0


@pytest.fixture
def run(tiny_stack, tiny_tokenizer):
    return lambda strategy, request: generate(tiny_stack, tiny_tokenizer, strategy, request)


class Sleepy(Strategy):
    """Takes 60 ms to the first token and 20 ms to each block of three after it."""

    def generate(self, session, request):
        time.sleep(0.06)
        yield Emitted((50,), (L,))
        while True:
            time.sleep(0.02)
            yield Emitted((51, 52, 53), (L, L, L))


def test_the_first_token_is_timed_with_prefill_and_decoding_from_there(run, request_for):
    began = time.perf_counter()
    made = run(Sleepy(Sleepy.Options()), request_for(max_new_tokens=10))
    wall = time.perf_counter() - began
    assert made.ttft_s >= 0.06
    assert made.decode_s >= 3 * 0.02
    assert made.ttft_s + made.decode_s <= wall
    assert made.decode_s < wall - 0.06


def test_tokens_are_counted_not_emissions(run, request_for):
    made = run(Sleepy(Sleepy.Options()), request_for(max_new_tokens=10))
    assert made.token_ids == (50, *(51, 52, 53) * 3)
    assert made.layers_run == (L,) * 10
    assert made.stop_reason == "max_new_tokens"


def test_what_goes_over_the_limit_is_cut(run, request_for):
    made = run(Sleepy(Sleepy.Options()), request_for(max_new_tokens=6))
    assert made.token_ids == (50, 51, 52, 53, 51, 52)
    assert len(made.layers_run) == 6


def test_a_block_is_cut_where_decoding_token_by_token_would_have_stopped(
    run, request_for, scripted, tiny_tokenizer
):
    text = "one two three é four\n\nfive"
    tokens = tiny_tokenizer.encode(text, add_special_tokens=False)
    for stops in (("o t",), ("é",), ("\n\n",), ("ee", "wo"), (" f",)):
        asked = request_for(max_new_tokens=len(tokens), stop_strings=stops)
        single = run(scripted(*(((t,), (L,)) for t in tokens)), asked)
        assert single.stop_reason == "stop_string"
        assert single.text == text[: min(text.index(s) for s in stops if s in text)]
        for width in (2, 3, 5, len(tokens)):
            blocks = [tuple(tokens[i : i + width]) for i in range(0, len(tokens), width)]
            made = run(scripted(*(Emitted(b, (L,) * len(b), "accepted", len(b) + 1) for b in blocks)), asked)
            assert (made.token_ids, made.text, made.stop_reason, made.layers_run) == (
                single.token_ids,
                single.text,
                single.stop_reason,
                single.layers_run,
            )
            assert made.accepted == len(single.token_ids)


def test_drafts_are_counted_as_they_were_emitted(run, request_for, scripted):
    made = run(
        scripted(
            Emitted((50,), (L,)),
            Emitted((51, 52), (L, L), "accepted", drafted=4),
            Emitted((53,), (L,), "verified"),
            Emitted((54,), (L,), "verified", drafted=3),
        ),
        request_for(max_new_tokens=5),
    )
    assert (made.drafted, made.accepted, made.verify_passes) == (7, 2, 2)


def test_a_pass_whose_drafts_hold_a_stop_is_counted_with_all_it_drafted(run, request_for, scripted):
    made = run(
        scripted(
            Emitted((50,), (L,)),
            Emitted((51, 1, 52), (L, L, L), "accepted", drafted=4),
            Emitted((53,), (L,), "verified"),
        ),
        request_for(max_new_tokens=9, stop_token_ids=(1,)),
    )
    assert (made.stop_reason, made.token_ids) == ("eos", (50, 51, 1))
    assert (made.drafted, made.accepted, made.verify_passes) == (4, 2, 1)


def test_each_token_has_its_time_its_origin_and_its_confidence(run, request_for):
    class Drafting(Strategy):
        def generate(self, session, request):
            yield Emitted((50,), (L,))
            time.sleep(0.02)
            yield Emitted((51, 52), (L, L), "accepted", drafted=3, confidence=(0.5, None))
            yield Emitted((53,), (L,), "verified")
            yield Emitted((54,), (L,), "verified", drafted=0)
            time.sleep(0.02)
            yield Emitted((55, 1, 56), (L, L, L), "accepted", drafted=4, confidence=(None, 0.75, 1.0))

    made = run(Drafting(Drafting.Options()), request_for(max_new_tokens=9, stop_token_ids=(1,)))
    first, *accepted, own, alone, last, end = made.token_s
    assert made.token_ids == (50, 51, 52, 53, 54, 55, 1)
    assert (first, end) == (made.ttft_s, pytest.approx(made.ttft_s + made.decode_s, abs=1e-9))
    assert {*accepted, own} == {own}
    assert first + 0.02 <= own < alone < alone + 0.02 <= last == end
    assert made.drafted_tokens == (False, True, True, False, False, True, True)
    assert made.draft_passes == ((3, 2), (0, 0), (4, 2))
    assert made.confidences == (None, 0.5, None, None, None, None, 0.75)
    assert (made.drafted, made.accepted) == tuple(map(sum, zip(*made.draft_passes, strict=True)))


def test_accepted_tokens_without_a_count_of_drafts_have_no_passes(run, request_for, scripted):
    made = run(
        scripted(Emitted((50,), (L,)), Emitted((51, 52), (L, L), "accepted")), request_for(max_new_tokens=3)
    )
    assert made.drafted_tokens == (False, True, True)
    assert (made.draft_passes, made.drafted, made.confidences) == (None, None, None)


@pytest.mark.parametrize(
    ("confidence", "words"),
    [((0.5, 0.5), "1 tokens with 2 confidences"), (("sure",), "sure"), ((float("nan"),), "nan")],
)
def test_a_confidence_that_is_none_is_told(confidence, words, run, request_for, scripted):
    with pytest.raises(BrokenStrategy, match=words):
        run(scripted(Emitted((50,), (L,), confidence=confidence)), request_for(max_new_tokens=1))


def test_counts_of_a_strategy_that_drafts_nothing_are_absent_not_zero(run, request_for, scripted):
    made = run(scripted(Emitted((50, 51), None)), request_for(max_new_tokens=2))
    assert (made.drafted, made.accepted, made.verify_passes, made.layers_run) == (None, None, None, None)
    assert (made.drafted_tokens, made.draft_passes, made.confidences) == (None, None, None)


@pytest.mark.parametrize(
    ("emissions", "words"),
    [
        ([], "ended after 0 tokens"),
        ([((50,), (L,))], "ended after 1 token"),
        ([((), ())], "no token"),
        ([((50, 51), (L,))], "2 tokens with 1 depth"),
        ([((50,), (-1.0,))], "depth"),
        ([((50,), (float("nan"),))], "depth"),
        ([((50,), ("deep",))], "depth"),
        ([((350,), (L,))], "350"),
        ([((-1,), (L,))], "-1"),
        ([((50.0,), (L,))], "50.0"),
    ],
)
def test_a_strategy_that_breaks_the_contract_is_told_how(emissions, words, run, request_for, scripted):
    with pytest.raises(BrokenStrategy, match=words):
        run(scripted(*emissions), request_for(max_new_tokens=4))


def test_token_ids_of_numpy_and_torch_are_whole_numbers_too(run, request_for, scripted):
    import numpy as np
    import torch

    made = run(
        scripted(((np.int64(50),), (np.float64(L),)), ((torch.tensor(51),), (torch.tensor(2.5),))),
        request_for(max_new_tokens=2),
    )
    assert made.token_ids == (50, 51)
    assert made.layers_run == (L, 2.5)
    assert {type(token) for token in made.token_ids} == {int}
    assert {type(depth) for depth in made.layers_run} == {float}


def test_autoregressive_decoding_is_timed_and_measured(run, request_for, contender, tiny_stack):
    made = run(contender("autoregressive").strategy, request_for(max_new_tokens=20))
    assert len(made.token_ids) == 20
    assert made.ttft_s > 0
    assert made.decode_s > 0
    # 4 layers, keys and values, 2 heads of width 8, float64, at least 22 positions and not many more.
    assert 4 * 2 * 2 * 8 * 8 * 22 <= made.kv_bytes <= 4 * 2 * 2 * 8 * 8 * 64
