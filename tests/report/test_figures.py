import pytest

from lsbench.metrics import Percentiles
from lsbench.report import figures


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (0, "0"),
        (25.13, "25.1"),
        (9.996, "10.0"),
        (136.4, "136"),
        (1234.4, "1,234"),
        (0.01234, "0.0123"),
        (-0.5, "−0.500"),
        (1.5e-9, "1.50e-09"),
        (float("nan"), "nan"),
    ],
)
def test_three_significant_digits(value, text):
    assert figures.significant(value) == text


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (None, None, "—"),
        (0.931, (0.912, 0.949), "0.93× (0.91–0.95)"),
        (1.21, None, "1.21×"),
        (12.34, (11.96, 12.51), "12.3× (12.0–12.5)"),
        (1.004, (1.001, 1.007), "1.004× (1.001–1.007)"),  # never "1.00–1.01" for what excludes 1
        (1.0, (1.0, 1.0), "1.00× (1.00–1.00)"),
        (0.012, None, "0.012×"),
    ],
)
def test_ratio_shows_on_which_side_of_one_it_lies(value, interval, text):
    assert figures.ratio(value, interval) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (0, "0%"),
        (1, "100%"),
        (0.714, "71%"),
        (0.9999, ">99.9%"),
        (0.994, "99.4%"),
        (0.0001, "<0.1%"),
        (0.004, "0.4%"),
    ],
)
def test_share_is_whole_only_when_exact(value, text):
    assert figures.share(value) == text


def test_share_carries_its_interval():
    assert figures.share(0.71, (0.69, 1)) == "71% (69–100%)"


def test_times_are_milliseconds():
    assert figures.milliseconds(0.0398) == "39.8 ms"
    assert figures.milliseconds(1.2345) == "1,234 ms"
    assert figures.milliseconds(None) == "—"
    assert figures.percentiles(Percentiles(p50=0.1214, p95=0.31)) == "121 / 310 ms"


def test_sizes_in_binary_units():
    assert figures.size(512) == "512 B"
    assert figures.size(3 * 2**20) == "3.00 MiB"
    assert figures.size(5 * 2**40) == "5,120 GiB"


def test_a_difference_that_rounds_to_nothing_has_no_sign():
    assert figures.signed(-0.0001, 3) == "0.000"
    assert figures.signed(-0.0123, 3) == "−0.012"
    assert figures.signed(0.0123, 3) == "+0.012"


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations(seconds, text):
    assert figures.duration(seconds) == text


def test_bandwidths_are_decimal():
    assert figures.rate(34.41e9) == "34.4 GB/s"
    assert figures.rate(3.35e12) == "3,350 GB/s"
    assert figures.rate(None) == figures.NONE
