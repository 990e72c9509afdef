import math

import pytest

from lsbench.measurement.parity import about_parity, finding, parity
from lsbench.metrics import Parity

LABEL = "self_speculative"


@pytest.fixture
def look(make_record):
    def make(doc_id=0, label=LABEL, **fields):
        nothing = {"token_ids": None, "text": None, "stop_reason": None, "ttft_s": None, "decode_s": None}
        return make_record(label, doc_id, kind="parity", **nothing, **fields)

    return make


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "identical"),
        ({"first_difference": 0, "margin": 0.0, "noise": 0.0}, "numerical_tie"),
        ({"first_difference": 3, "margin": 0.01, "noise": 0.02}, "numerical_tie"),
        ({"first_difference": 3, "margin": 0.02, "noise": 0.02}, "numerical_tie"),
        ({"first_difference": 3, "margin": 0.021, "noise": 0.02}, "violation"),
        ({"first_difference": 3, "margin": math.nan, "noise": 0.02}, "violation"),
        ({"first_difference": 3, "margin": 0.01, "noise": math.nan}, "violation"),
        ({"first_difference": 3}, "violation"),
        ({"error": "out of memory"}, "violation"),
    ],
)
def test_what_a_comparison_finds(look, fields, expected):
    assert finding(look(**fields)) == expected


def test_counts_are_of_one_strategys_comparisons(look, make_record):
    tie = {"first_difference": 3, "margin": 0.01, "noise": 0.02}
    wrong = {"first_difference": 3, "margin": 0.5, "noise": 0.02}
    records = [
        make_record(LABEL, 0),
        look(0),
        look(1, **tie),
        look(2, **wrong),
        look(3, **wrong),
        look(4, error="no room"),
        look(0, "other", **wrong),
        look(5),
    ]
    assert parity(records, LABEL) == Parity(compared=6, identical=2, numerical_ties=1, violations=3)
    assert parity(records, "other") == Parity(compared=1, identical=0, numerical_ties=0, violations=1)


def test_without_comparisons_there_is_no_parity(make_record):
    assert parity([make_record(LABEL, 0)], LABEL) is None
    assert about_parity([make_record(LABEL, 0)], LABEL) == []


def test_each_difference_is_told_with_its_margin_violations_first(look):
    records = [
        look(0),
        look(1, first_difference=3, margin=0.0123, noise=0.02),
        look(2, first_difference=0, margin=1.5, noise=0.02, repeat=2),
        look(3, first_difference=9),
        look(4, error="no room"),
    ]
    assert [text.removeprefix("self_speculative: its output for humaneval document ") for text in
            about_parity(records, LABEL)] == [
        "2, repeat 2 parts from the baseline's at token 1, a violation: the two tokens' logits are 1.5 "
        "apart, and rounding explains 0.02 at most.",
        "3 parts from the baseline's at token 10, where one of the two ends: a violation.",
        "4 could not be compared with the baseline's (no room).",
        "1 parts from the baseline's at token 4, a numerical tie: the two tokens' logits are 0.0123 apart, "
        "within the 0.02 that rounding explains.",
    ]  # fmt: skip


def test_of_many_differences_the_first_few_are_told(look):
    records = [look(doc_id, first_difference=0, margin=1.0, noise=0.1) for doc_id in range(7)]
    said = about_parity(records, LABEL)
    assert len(said) == 4
    assert said[-1] == "self_speculative: 4 more violations; samples.jsonl has their margins."
