from __future__ import annotations

import pytest

from lsbench.measurement.pairing import comparable_in_time, pair_up

BASELINE = "autoregressive"


def test_pairs_match_by_request_whatever_the_order(make_record):
    records = [
        make_record("s", 1, repeat=1),
        make_record(BASELINE, 0),
        make_record("s", 0),
        make_record(BASELINE, 1, repeat=1),
        make_record("other", 0),
        make_record(BASELINE, 0, task="gsm8k"),
        make_record("s", 0, task="gsm8k"),
        make_record("s", 5, kind="score", token_ids=None),
        make_record("s", 5, kind="fidelity", token_ids=None),
    ]
    pairing = pair_up(records, BASELINE, "s")
    assert pairing.left_out == {}
    for pair in pairing.pairs:
        assert pair.baseline.label == BASELINE
        assert pair.strategy.label == "s"
        assert pair.baseline.key[1:] == pair.strategy.key[1:]
    assert {pair.prompt for pair in pairing.pairs} == {
        ("humaneval", 0, 0),
        ("humaneval", 1, 0),
        ("gsm8k", 0, 0),
    }


def test_unfinished_and_failed_requests_have_no_pair(make_record):
    records = [
        make_record(BASELINE, 0),
        make_record("s", 1),
        make_record(BASELINE, 2),
        make_record("s", 2, error="boom"),
    ]
    pairing = pair_up(records, BASELINE, "s")
    assert pairing.pairs == ()
    assert pairing.left_out == {
        "run under one of the two only": 2,
        "failed under one of the two or both": 1,
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"segment": 1}, "resumed"),
        ({"replica": 1}, "replicas"),
        ({"attempt": 2}, "run again"),
        ({"tokens": 1}, "second token"),
        ({"token_ids": None}, "second token"),
        ({"decode_s": None}, "not timed"),
        ({"decode_s": 0.0}, "not timed"),
        ({"ttft_s": None}, "not timed"),
    ],
)
@pytest.mark.parametrize("which", [BASELINE, "s"])
def test_incomparable_timings_are_left_out_with_the_reason(make_record, changes, reason: str, which: str):
    records = [make_record(label, 0, **(changes if label == which else {})) for label in (BASELINE, "s")]
    records += [make_record(BASELINE, 1), make_record("s", 1)]
    timed = comparable_in_time(pair_up(records, BASELINE, "s"))
    assert [pair.prompt[1] for pair in timed.pairs] == [1]
    ((words, count),) = timed.left_out.items()
    assert reason in words
    assert count == 1


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, 4),
        ({"error": "RuntimeError: x", "token_ids": None}, 2),
        ({"segment": 1}, 2),
        ({"attempt": 2}, 2),
        ({"replica": 1}, 2),
        ({"token_ids": (1,), "decode_s": 0.0}, 4),
    ],
)
def test_a_batch_enters_whole_or_not_at_all(make_record, changes, left):
    records = [
        make_record(label, doc, batch=doc // 2, batch_size=2, **(changes if (label, doc) == ("s", 3) else {}))
        for label in ("autoregressive", "s")
        for doc in range(4)
    ]
    pairing = comparable_in_time(pair_up(records, "autoregressive", "s"))
    assert len(pairing.pairs) == left
    assert sum(pairing.left_out.values()) == 4 - left


def test_a_batch_that_two_replicas_divided_is_no_timing(make_record):
    """Both sides of each pair come from one replica, the two halves of the batch do not."""
    records = [
        make_record(label, doc, batch=0, batch_size=2, replica=doc)
        for label in ("autoregressive", "s")
        for doc in range(2)
    ]
    pairing = comparable_in_time(pair_up(records, "autoregressive", "s"))
    assert pairing.pairs == ()
    assert list(pairing.left_out) == ["decoded in a batch that did not run whole"]
