import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsbench.tuning.payback import payback_interval, payback_words, tokens_to_pay_back

seconds = st.floats(1e-6, 1e5)


@given(search=seconds, before=seconds, after=seconds)
def test_it_is_the_least_number_that_pays(search, before, after):
    tokens = tokens_to_pay_back(search, before, after)
    if after >= before:
        assert tokens is None
        return
    assert tokens is not None
    slack = search * 1e-9
    assert tokens * (before - after) >= search - slack
    assert (tokens - 1) * (before - after) < search + slack


def test_by_hand():
    assert tokens_to_pay_back(600, 0.03, 0.02) == 60_000
    assert tokens_to_pay_back(0, 0.03, 0.02) == 0
    assert tokens_to_pay_back(600, 0.02, 0.02) is None
    assert payback_interval(600, 0.03, (0.9, 1.5)) == (60_000, None)
    # A saving too small for its tokens to be counted.
    assert tokens_to_pay_back(1e300, 2.0**-1073, 2.0**-1074) is None


@pytest.mark.parametrize("times", [(-1, 1, 1), (1, math.nan, 1), (1, 1, math.inf)])
def test_times_must_be_times(times):
    with pytest.raises(ValueError, match="times"):
        tokens_to_pay_back(*times)


def test_words():
    assert payback_words(60_000, 0.03) == (
        "The search pays for itself after 60,000 generated tokens (30.0 minutes of decoding as before)."
    )
    assert "(100 seconds" in payback_words(1000, 0.1)
    assert "(2.8 hours" in payback_words(100_000, 0.1)
    assert "(11.6 days" in payback_words(10_000_000, 0.1)
    assert "does not pay" in payback_words(None, 0.03)
