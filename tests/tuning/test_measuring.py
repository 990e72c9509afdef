"""What came of a trial, and what the searcher is told of it."""

import pytest

from lsbench.records import SampleRecord
from lsbench.tuning.measuring import PENALTY, failed, of_records, speed_over, worth


def record(label, doc, seconds, tokens=11, kind="generate", **changes):
    fields = {
        "strategy": label,
        "options": {},
        "label": label,
        "task": "t",
        "doc_id": doc,
        "kind": kind,
        "arguments_sha256": "",
        "prompt": "",
        "prompt_tokens": 3,
    }
    if kind == "generate":
        fields |= {"token_ids": tuple(range(tokens)), "ttft_s": 0.1, "decode_s": seconds}
    return SampleRecord(**{**fields, **changes})


def both(count=6, fast=0.5, agreement=(True,) * 9 + (False,)):
    for doc in range(count):
        yield record("base", doc, 1.0)
        yield record("new", doc, fast, drafted=8, accepted=6)
        yield record("new", doc, None, kind="fidelity", agreement=agreement)


def test_a_timed_trial_is_paired_with_the_baseline():
    found = of_records(list(both()), "base", "new", None)
    assert found["status"] == "ok"
    assert found["speedup"] == pytest.approx(2)
    assert found["tpot_ratio"] == pytest.approx(0.5)
    assert found["speedup_ci95"] == pytest.approx((2, 2))
    assert (found["quality"], found["quality_name"]) == (pytest.approx(0.9), "token_agreement")
    assert found["acceptance"] == pytest.approx(0.75)
    assert found["prompts"] == 6
    assert found["objective"] == found["speedup"]


def test_a_failure_anywhere_is_a_failed_trial_with_its_reason():
    records = [*both(), record("new", 9, None, token_ids=None, ttft_s=None, error="RuntimeError: no\nmemory")]
    found = of_records(records, "base", "new", None)
    assert found == {"status": "failed", "reason": "t 9: RuntimeError: no memory", "objective": PENALTY}


def test_outputs_of_a_single_token_say_nothing():
    records = [record("base", 0, 0.0, tokens=1), record("new", 0, 0.0, tokens=1)]
    assert of_records(records, "base", "new", None)["status"] == "failed"


@pytest.mark.parametrize("floor", [0.5, 0.98])
def test_what_misses_the_floor_is_worth_less_than_what_holds_it_and_more_than_a_failure(floor):
    holding = worth(0.3, 0.99, 0.985, floor)
    close = worth(9.0, 0.99, floor - 0.01, floor)
    far = worth(9.0, 0.4, floor - 0.3, floor)
    unknown = worth(9.0, None, None, floor)
    slow = worth(0.01, 0.0, 0.0, floor)
    assert holding == 0.3
    assert holding > close > far > unknown > PENALTY
    assert slow > PENALTY


def test_a_floor_is_held_by_the_bound_and_by_the_value_only_without_one():
    assert worth(2.0, 0.99, 0.9, 0.98) < 0
    assert worth(2.0, 0.99, None, 0.98) == 2.0
    assert worth(2.0, 0.1, 0.1, None) == 2.0


def test_reasons_are_one_line():
    assert failed("a\n  b", "timed_out") == {"status": "timed_out", "reason": "a b", "objective": PENALTY}


def test_the_speed_of_one_over_another_is_paired():
    records = [*both(fast=0.5), *(record("other", doc, 0.75) for doc in range(6))]
    assert speed_over(records, "other", "new") == pytest.approx((1.5, 1.5))
