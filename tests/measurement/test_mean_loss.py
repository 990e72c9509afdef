"""p-values of a mean loss: never too small, whatever the losses are."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from lsbench.measurement.mean_loss import binomial_tail, hoeffding_bentkus


def test_a_binomial_tail_by_hand():
    assert binomial_tail([0] * 9 + [1], 0.3) == pytest.approx(0.7**10 + 10 * 0.3 * 0.7**9)
    assert hoeffding_bentkus([0.0] * 20, 0.1) == pytest.approx(0.9**20)
    assert hoeffding_bentkus([0.5] * 20, 0.5) == pytest.approx(1.0)
    assert hoeffding_bentkus([1.0] * 20, 0.5) == 1.0


def test_ten_losses_of_a_tenth_are_one():
    """Rounding must not make a tail longer by one loss, nor shorter."""
    small, level = [0.1] * 10 + [0.0] * 90, 0.2
    assert math.fsum(small[:3]) != 0.3 or sum(small) != 1.0
    assert hoeffding_bentkus(small, level) <= math.e * float(binom.cdf(1, 100, level)) + 1e-15


@pytest.mark.parametrize("kind", ["coins", "uniform", "rare", "constant"])
def test_p_values_are_valid_where_the_mean_is_at_the_level(kind):
    """Under the hypothesis, P(p <= u) <= u: 500 samples of 50, at levels where a mistake would show."""
    random = np.random.default_rng(11)
    level = 0.2
    draws = {
        "coins": lambda: (random.random(50) < level).astype(float),
        "uniform": lambda: random.random(50) * 2 * level,
        "rare": lambda: (random.random(50) < level / 0.9) * 0.9,
        "constant": lambda: np.full(50, level),
    }[kind]
    values = np.array([hoeffding_bentkus(draws().tolist(), level) for _ in range(500)])
    for u in (0.05, 0.1, 0.3):
        assert (values <= u).sum() <= binom.ppf(0.9999, 500, u)


def test_exact_coins_are_sharper_and_still_valid():
    random = np.random.default_rng(5)
    losses = [(random.random(60) < 0.15).astype(float).tolist() for _ in range(600)]
    exact = np.array([binomial_tail(each, 0.15) for each in losses])
    assert all(binomial_tail(each, 0.15) <= hoeffding_bentkus(each, 0.15) + 1e-12 for each in losses[:60])
    assert (exact <= 0.1).sum() <= binom.ppf(0.9999, 600, 0.1)


@pytest.mark.parametrize(
    ("losses", "level"),
    [([], 0.1), ([0.5, 1.1], 0.1), ([-0.1], 0.1), ([math.nan], 0.1), ([0.5], 0), ([0.5], 1)],
)
def test_what_is_no_loss_is_refused(losses, level):
    with pytest.raises(ValueError, match="loss"):
        hoeffding_bentkus(losses, level)
    with pytest.raises(ValueError, match=r"loss|binomial"):
        binomial_tail(losses, level)


def test_a_binomial_test_takes_no_shares():
    with pytest.raises(ValueError, match="0 and 1 only"):
        binomial_tail([0.5, 0, 1], 0.2)
