"""Speed while a run goes on is what it will be in the end, in whatever order records come."""

import random

import pytest

from lsbench.measurement.pairing import comparable_in_time, pair_up
from lsbench.measurement.so_far import SpeedSoFar
from lsbench.measurement.timing import speedup_so_far
from lsbench.records import SampleRecord


def record(label: str, doc: int, decode_s: float, **more) -> SampleRecord:
    given = {"schema": 1, "strategy": label, "options": {}, "label": label, "task": "t", "doc_id": doc}
    given |= {"kind": "generate", "arguments_sha256": "0", "prompt": "p", "prompt_tokens": 3}
    given |= {"token_ids": (1, 2, 3), "ttft_s": 0.1, "decode_s": decode_s, **more}
    return SampleRecord(**given)


RECORDS = [
    *(record("b", doc, 2.0 + doc, replica=doc % 2) for doc in range(4)),
    *(record("s", doc, 1.0, replica=doc % 2) for doc in range(3)),
    record("s", 3, 0.01, replica=0),  # elsewhere than its baseline
    *(record(label, 10 + place, 1.0, batch=0, batch_size=2) for label in "bs" for place in range(2)),
]


@pytest.mark.parametrize("seed", range(3))
def test_the_order_in_which_records_come_does_not_matter(seed):
    shuffled = random.Random(seed).sample(RECORDS, len(RECORDS))
    speed = SpeedSoFar("b", ["s"])
    for each in shuffled:
        speed.add(each)
    expected = speedup_so_far(comparable_in_time(pair_up(RECORDS, "b", "s")).pairs)
    assert speed.of("s") == pytest.approx(expected)
    assert SpeedSoFar("b", ["s"], shuffled).of("s") == pytest.approx(expected)
    assert speed.of("b") is None


def test_nothing_is_said_before_there_is_a_pair():
    speed = SpeedSoFar("b", ["s"])
    speed.add(record("b", 0, 2.0))
    assert speed.of("s") is None
    speed.add(record("s", 0, 1.0))
    assert speed.of("s") == pytest.approx(2.0)
    speed.add(record("s", 1, 1.0))
    assert speed.of("s") == pytest.approx(2.0)
