"""Generation arguments: read, overridden with a note, or refused."""

import pytest

from lsbench.errors import BadInput
from lsbench.evaluation.generation import read_generation
from lsbench.spec import Sampling


@pytest.fixture
def read(tokenizer, spec_for):
    def reader(arguments, **options):
        return read_generation("t", arguments, spec_for("t", folder=None, **options), tokenizer, (1,))

    return reader


@pytest.mark.parametrize("name", ["max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"])
def test_every_name_of_the_token_limit_is_read(read, name):
    assert read({"until": [], name: 17}).max_new_tokens == 17


def test_without_a_limit_lm_evals_default_holds(read):
    assert read({"until": []}).max_new_tokens == 256


def test_the_command_line_limit_wins_over_both_kinds(read):
    both = read({"until": [], "max_gen_toks": 17, "max_length": 30}, max_new_tokens=5)
    assert (both.max_new_tokens, both.max_length) == (5, None)
    assert read({"until": [], "max_length": 30}).max_length == 30


@pytest.mark.parametrize(
    ("until", "strings"),
    [("\n", ("\n",)), (["a", "b", "a", ""], ("a", "b")), (None, ()), ([], ())],
)
def test_stop_strings(read, until, strings):
    wanted = read({"until": until})
    assert (wanted.stop_strings, wanted.stop_token_ids) == (strings, (1,))


def test_a_special_token_stops_by_its_id(read, tokenizer):
    wanted = read({"until": ["<|im_end|>", "</s>", "\n\n"]})
    assert wanted.stop_strings == ("\n\n",)
    assert wanted.stop_token_ids == (1, tokenizer.convert_tokens_to_ids("<|im_end|>"))


@pytest.mark.parametrize(
    ("arguments", "sampling"),
    [
        ({}, Sampling()),
        ({"do_sample": False, "temperature": 0.9}, Sampling()),
        ({"temperature": 0.9, "top_p": 0.5, "top_k": 7}, Sampling(temperature=0.9, top_p=0.5, top_k=7)),
        ({"do_sample": True, "temperature": 0.2}, Sampling(temperature=0.2)),
        ({"do_sample": True, "top_k": -1}, Sampling(temperature=1.0)),
        ({"num_beams": 1, "repetition_penalty": 1, "top_p": None}, Sampling()),
    ],
)
def test_the_tasks_own_sampling_is_honoured(read, arguments, sampling):
    assert read({"until": [], **arguments}).sampling == sampling


def test_a_flag_wins_and_the_clash_is_reported(read):
    wanted = read({"do_sample": True, "temperature": 0.2, "top_p": 0.9}, temperature=0.8, top_p=0.5, top_k=3)
    assert wanted.sampling == Sampling(temperature=0.8, top_p=0.5, top_k=3)
    assert wanted.notes == (
        "Task 't' asks for temperature 0.2; --temperature 0.8 is used instead.",
        "Task 't' asks for top_p 0.9; --top-p 0.5 is used instead.",
    )


def test_a_flag_that_agrees_or_meets_no_wish_is_no_clash(read):
    assert read({"do_sample": True, "temperature": 0.2}, temperature=0.2).notes == ()
    assert read({"until": []}, temperature=0.7, top_p=0.9, top_k=5).notes == ()
    assert read({"do_sample": False}, temperature=0.7).notes != ()


def test_sampling_without_a_usable_temperature_is_reported(read):
    (missing,) = read({"do_sample": True}).notes
    assert "names no temperature" in missing
    (zero,) = read({"do_sample": True, "temperature": 0}).notes
    assert "greedy" in zero


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_beams", 10), ("repetition_penalty", 1.1), ("min_new_tokens", 4), ("bad_words_ids", [[1]])],
)
def test_what_cannot_be_honoured_is_refused_by_name(read, name, value):
    with pytest.raises(BadInput, match=rf"'t' asks for generation argument {name}="):
        read({"until": [], name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", "hot"), ("do_sample", "no"), ("top_k", 1.5), ("max_gen_toks", True), ("until", [1])],
)
def test_values_of_the_wrong_kind_are_refused(read, name, value):
    with pytest.raises(BadInput, match=name):
        read({name: value})


def test_values_out_of_range_are_refused(read):
    with pytest.raises(BadInput, match=r"top_p 1\.5"):
        read({"top_p": 1.5})
