import pytest

from lsbench.measurement.notes import about_ceiling, about_lengths, about_pairs
from lsbench.measurement.statistics import verdict
from lsbench.metrics import Ceiling, Remainder, Speed, Speedup
from lsbench.records import SampleRecord


@pytest.mark.parametrize(("reached", "doubted"), [(0.9, False), (1.1, False), (2.78, True)])
def test_more_than_the_work_left_out_could_give_is_doubted(reached, doubted):
    said = about_ceiling("dynamic_skip", Ceiling(speedup=1.14, achieved_fraction=reached))
    assert bool(said) == doubted
    assert not doubted or ("dynamic_skip" in said[0] and "278%" in said[0])


@pytest.mark.parametrize(
    ("interval", "told"),
    [
        ((0.99, 1.02), False),
        ((1.004, 1.02), True),
        ((0.97, 0.995), True),
        ((1.02, 1.04), False),
        ((0.9, 0.95), False),
        (None, False),
    ],
)
def test_an_interval_that_hardly_leaves_out_1_is_explained(interval, told):
    speedup = Speedup(value=1.0, ci95=interval, verdict=verdict(interval))
    speed = Speed(
        speedup=speedup, end_to_end_speedup=None, tokens_per_second=9.0, ttft_s=None, tpot_s=None,
        generated_tokens=99, pairs=30,
    )  # fmt: skip
    said = about_pairs("twin", speed, {})
    assert bool(said) == told
    assert not told or (said[0].startswith("twin: ") and speedup.verdict == "no significant difference")


def test_without_a_ceiling_there_is_nothing_to_doubt():
    assert about_ceiling("hf_generate", None) == []


@pytest.mark.parametrize(("other", "told"), [(0.02, False), (0.2, False), (0.47, True)])
def test_time_that_no_part_explains_is_told(other, told):
    """A machine that stands still for minutes within one strategy's sample shows nowhere else."""
    rest = Remainder(checks=0.1, kv_fill=0.0, sampling=0.0, other=other)
    said = about_ceiling("dynamic_exit", Ceiling(speedup=1.3, achieved_fraction=0.9 - other, remainder=rest))
    assert bool(said) == told
    assert not told or "47% of its time is in none of the parts" in said[0]


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [([10, 30], [12, 20], None), ([100, 20], [10, 10], "6.0 times longer"), ([5], [20], "4.0 times shorter")],
)
def test_outputs_of_much_different_lengths_are_told(ours, theirs, told):
    def generated(lengths: list[int]) -> list[SampleRecord]:
        return [SampleRecord.model_construct(token_ids=tuple(range(length))) for length in lengths]

    said = about_lengths("static_exit", generated(ours), generated(theirs))
    assert bool(said) == (told is not None)
    assert told is None or told in said[0]
    assert about_lengths("static_exit", generated(ours), []) == []
