from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsbench.measurement.pairing import comparable_in_time, pair_up
from lsbench.measurement.timing import (
    noise,
    percentiles,
    speedup_so_far,
    speedups,
    tokens_per_second,
    tpot,
    units,
)

BASELINE = "autoregressive"


def pairs_of(records):
    return comparable_in_time(pair_up(records, BASELINE, "s")).pairs


def test_tpot_counts_decoded_tokens_only(make_record):
    assert tpot(make_record(tokens=5, decode_s=2.0)) == pytest.approx(0.5)
    assert tpot(make_record(tokens=1, decode_s=0.0)) is None
    assert tpot(make_record(token_ids=None)) is None
    assert tpot(make_record(decode_s=None)) is None


def test_tokens_per_second_is_a_ratio_of_totals(make_record):
    records = [
        make_record(tokens=11, decode_s=1.0),
        make_record(tokens=31, decode_s=9.0),
        make_record(tokens=1, decode_s=0.0),
    ]
    assert tokens_per_second(records) == pytest.approx(40 / 10)
    assert tokens_per_second(records[2:]) is None
    assert tokens_per_second([]) is None


def test_percentiles():
    found = percentiles([None, *map(float, range(101))])
    assert found is not None
    assert (found.p50, found.p95) == (50.0, 95.0)
    assert percentiles([None]) is None


def test_speedups_are_ratios_of_totals_by_hand(make_record):
    records = [
        make_record(BASELINE, 0, tokens=11, decode_s=1.0, ttft_s=0.5),
        make_record("s", 0, tokens=21, decode_s=1.0, ttft_s=0.5),
        make_record(BASELINE, 1, tokens=5, decode_s=3.0, ttft_s=1.0),
        make_record("s", 1, tokens=3, decode_s=0.1, ttft_s=1.0),
    ]
    found = speedups(pairs_of(records))
    assert found is not None
    decode, whole = found
    assert decode.value == pytest.approx((4.0 / 14) / (1.1 / 22))
    assert whole.value == pytest.approx((5.5 / 16) / (2.6 / 24))
    assert decode.value == pytest.approx(speedup_so_far(pairs_of(records)))
    assert decode.ci95 is None
    assert whole.ci95 is None
    assert decode.verdict == "no significant difference"
    assert speedups([]) is None
    assert speedup_so_far([]) is None


@pytest.mark.parametrize(
    ("factor", "verdict"), [(0.5, "faster"), (2.0, "slower"), (1.0, "no significant difference")]
)
def test_verdict_follows_the_interval(make_record, factor: float, verdict: str):
    records = []
    for doc_id in range(8):
        wobble = 1 + 0.02 * (-1) ** doc_id
        records.append(make_record(BASELINE, doc_id, decode_s=1.0))
        records.append(make_record("s", doc_id, decode_s=factor * wobble))
    found = speedups(pairs_of(records))
    assert found is not None
    decode = found[0]
    assert decode.value == pytest.approx(1 / factor, rel=0.01)
    assert decode.ci95 is not None
    assert decode.ci95[0] <= decode.value <= decode.ci95[1]
    assert decode.verdict == verdict


def test_repeats_of_a_prompt_are_resampled_together(make_record):
    """Four prompts with many repeats are still four prompts: no interval."""
    records = [
        make_record(label, doc_id, repeat=repeat)
        for label in (BASELINE, "s")
        for doc_id in range(4)
        for repeat in range(10)
    ]
    found = speedups(pairs_of(records))
    assert found is not None
    assert found[0].ci95 is None


def test_noise_by_hand(make_record):
    # Odd requests 0.1 s a token, even ones 0.12: differ by 0.02 of 0.11 together.
    records = [make_record(doc_id=i, tokens=11, decode_s=1.0 if i % 2 == 0 else 1.2) for i in range(6)]
    assert noise(records) == pytest.approx(0.02 / 0.11)
    assert noise(records[:3]) is None
    assert noise([*records[:3], make_record(doc_id=9, tokens=1)]) is None


def test_a_slower_replica_is_no_noise(make_record):
    """Two replicas in turn, one twice as slow: odd and even requests are those of one each."""
    records = [make_record(doc_id=i, tokens=11, decode_s=1.0 + i % 2, replica=i % 2) for i in range(8)]
    assert noise(records) == pytest.approx(0)
    assert noise([record.model_copy(update={"replica": 0}) for record in records]) > 0.5


@given(st.lists(st.floats(0.01, 10), min_size=4, max_size=12), st.floats(0.1, 10))
def test_noise_does_not_depend_on_the_machine_speed(seconds: list[float], slower: float):
    from lsbench.records import SampleRecord

    def run(factor: float) -> list[SampleRecord]:
        return [
            SampleRecord(
                strategy="a", options={}, label="a", task="t", doc_id=i, kind="generate",
                arguments_sha256="", prompt="", prompt_tokens=1, token_ids=(1, 2, 3), decode_s=factor * value,
            )
            for i, value in enumerate(seconds)
        ]  # fmt: skip

    first, second = noise(run(1.0)), noise(run(slower))
    assert first is not None
    assert first >= 0
    assert second == pytest.approx(first, rel=1e-6, abs=1e-9)


def batch(make_record, label, number, decode, **changes):
    """Records of one batch whose sequences took ``decode`` seconds each, ten decoded tokens a sequence."""
    return [
        make_record(
            label, 10 * number + i, tokens=11, decode_s=s, batch=number, batch_size=len(decode), **changes
        )
        for i, s in enumerate(decode)
    ]


def test_a_batch_takes_as_long_as_its_last_sequence(make_record):
    records = [*batch(make_record, BASELINE, 0, (1.0, 4.0)), *batch(make_record, BASELINE, 1, (2.0, 1.0))]
    assert tokens_per_second(records) == pytest.approx(40 / 6)


def test_a_batch_is_one_timing_whatever_its_sequences(make_record):
    slow, fast = (3.0, 4.0, 2.0), (1.0, 2.0, 2.0)
    records = [
        record
        for number in range(6)
        for label, decode in ((BASELINE, slow), ("s", fast))
        for record in batch(make_record, label, number, [d + number / 10 for d in decode])
    ]
    pairs = pairs_of(records)
    assert (len(pairs), units(pairs)) == (18, 6)
    found = speedups(pairs)
    assert found is not None
    assert found[0].value == pytest.approx((6 * 4 + 1.5) / (6 * 2 + 1.5))
    assert speedups(pairs[:12])[0].ci95 is None  # four batches, though twelve prompts
    baseline = [record for record in records if record.label == BASELINE]
    assert noise(baseline) == pytest.approx((12.9 - 12.6) / 90 * (180 / 25.5))


def test_repeats_of_a_batch_are_resampled_together(make_record):
    records = [
        record
        for repeat in range(3)
        for number in range(5)
        for label in (BASELINE, "s")
        for record in batch(make_record, label, number, (1.0, 2.0), repeat=repeat)
    ]
    assert units(pairs_of(records)) == 5


def test_halves_of_a_batch_from_two_replicas_are_two_timings(make_record):
    first, second = batch(make_record, BASELINE, 0, (2.0, 4.0))
    moved = second.model_copy(update={"replica": 1})
    assert tokens_per_second([first, second]) == pytest.approx(20 / 4)
    assert tokens_per_second([first, moved]) == pytest.approx(20 / 6)
