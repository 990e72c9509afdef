"""Calibrated thresholds hold what they promise, where the true risk is known."""

import numpy as np
import pytest
from scipy.stats import binom

from lsbench.errors import BadInput
from lsbench.tuning.risk import calibrate, prompts_needed

RISK, DELTA = 0.1, 0.1
SETS, PROMPTS = 500, 120
THRESHOLDS = np.linspace(0.5, 0.95, 10)


def population(pass_or_fail: bool) -> np.ndarray:
    """[20000 prompts, thresholds] losses that fall as the threshold rises: the truth that samples are of.

    The true risks step across the tolerance, two of them just beyond it: those a wrong rule would take.
    """
    random = np.random.default_rng(17)
    means = np.array([0.40, 0.28, 0.20, 0.15, 0.12, 0.105, 0.08, 0.05, 0.02, 0.005])
    hardness = random.random((20_000, 1))
    if pass_or_fail:
        return (hardness < means).astype(float)
    # A share of a prompt's tokens: most lose none, some more than half.
    return (hardness < means / 0.8) * random.uniform(0.6, 1.0, (20_000, 1))


def drawn(losses: np.ndarray):
    """Calibration sets, each of independent prompts."""
    random = np.random.default_rng(23)
    for _ in range(SETS):
        rows = losses[random.integers(len(losses), size=PROMPTS)]
        yield {float(t): rows[:, column].tolist() for column, t in enumerate(THRESHOLDS)}


def naive(sample: dict[float, list[float]]) -> float | None:
    """The smallest threshold whose mean loss on the sample is tolerable: what one does without a test."""
    good = [threshold for threshold, losses in sample.items() if np.mean(losses) <= RISK]
    return min(good, default=None)


@pytest.mark.slow  # 500 calibration sets, a second each
@pytest.mark.parametrize("pass_or_fail", [True, False])
def test_the_guarantee_holds_and_the_naive_rule_breaks_it(pass_or_fail):
    losses = population(pass_or_fail)
    true_risk = dict(zip(map(float, THRESHOLDS), losses.mean(axis=0), strict=True))
    assert min(true_risk.values()) < RISK < max(true_risk.values())
    wrong = chosen = naively_wrong = 0
    for sample in drawn(losses):
        found = calibrate(sample, RISK, DELTA, pass_or_fail=pass_or_fail).threshold
        chosen += found is not None
        wrong += found is not None and true_risk[found] > RISK
        guess = naive(sample)
        naively_wrong += guess is not None and true_risk[guess] > RISK
    # One share delta may be wrong; chance may add to that once in ten thousand such tests.
    allowed = int(binom.ppf(0.9999, SETS, DELTA))
    assert wrong <= allowed
    assert naively_wrong > allowed
    # A guarantee that refuses everything is of no use.
    assert chosen > 0.9 * SETS


def test_the_smallest_threshold_before_the_first_that_fails_is_taken():
    careful, middle, bold = [0.0] * 100, [0.0] * 98 + [1.0] * 2, [0.0] * 60 + [1.0] * 40
    found = calibrate({0.5: bold, 0.9: careful, 0.7: middle}, 0.1, 0.1)
    assert found.threshold == 0.7
    assert [(c.threshold, c.controlled) for c in found.candidates] == [(0.9, True), (0.7, True), (0.5, False)]
    assert found.candidates[1].mean_loss == pytest.approx(0.02)
    assert "threshold=0.7 holds a mean loss of at most 0.1 with confidence 0.9" in found.words
    # Nothing is tested after a failure, however good it looks: that is what keeps delta.
    odd = calibrate({0.5: careful, 0.9: careful, 0.7: bold}, 0.1, 0.1)
    assert odd.threshold == 0.9
    assert [c.controlled for c in odd.candidates] == [True, False, None]


def test_nothing_holds():
    found = calibrate({0.5: [1.0] * 50, 0.9: [0.5] * 50}, 0.1, 0.1)
    assert found.threshold is None
    assert found.words == "No threshold holds a mean loss of at most 0.1 with confidence 0.9, on 50 prompts."


def test_few_prompts_cannot_prove_anything():
    needed = prompts_needed(0.05, 0.1)
    assert needed == 45
    assert calibrate({0.9: [0.0] * needed}, 0.05, 0.1).threshold == 0.9
    short = calibrate({0.9: [0.0] * (needed - 1)}, 0.05, 0.1)
    assert short.threshold is None
    assert "even without any loss it takes 45 prompts" in short.words


@pytest.mark.parametrize(
    ("losses", "risk", "delta", "message"),
    [
        ({0.9: [0.0]}, 0.0, 0.1, "--risk 0 must lie between 0 and 1"),
        ({0.9: [0.0]}, 0.1, 1.0, "--delta 1 must lie between 0 and 1"),
        ({}, 0.1, 0.1, "No threshold to calibrate"),
    ],
)
def test_bad_input(losses, risk, delta, message):
    with pytest.raises(BadInput, match=message):
        calibrate(losses, risk, delta)
