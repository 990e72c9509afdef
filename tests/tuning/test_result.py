"""What a search comes to, as its folder keeps it."""

import pytest

from lsbench.errors import BadInput, DamagedResults
from lsbench.tuning.outcome import decide
from lsbench.tuning.result import OUTCOME, agreement_of, make_result, read_result, write_result


@pytest.fixture
def finals(make_trial):
    return [
        make_trial(0, documents="final", speedup=1.25, speedup_ci95=(1.2, 1.3)),
        make_trial(1, documents="final", speedup=1.1, speedup_ci95=(1.05, 1.15), origin="default"),
    ]


def test_a_search_that_pays_says_after_how_many_tokens(finals):
    result = make_result("tune", decide(finals), finals, search_s=600, baseline_seconds_per_token=0.05)
    assert result.default is finals[1]
    assert result.payback is not None
    # 0.05 s less 0.04 s is 0.01 s a token.
    assert result.payback.tokens == 60_000
    assert result.payback.fewest is not None
    assert result.payback.most is not None
    assert result.payback.fewest < 60_000 < result.payback.most
    assert "60,000 generated tokens" in result.payback.words


def test_what_is_not_faster_for_certain_never_pays(finals):
    unsure = [finals[0].model_copy(update={"speedup_ci95": (0.9, 1.6)})]
    result = make_result("tune", decide(unsure), unsure, search_s=600, baseline_seconds_per_token=0.05)
    assert not result.beats_baseline
    assert result.payback is not None
    assert result.payback.tokens is None
    assert "does not pay" in result.payback.words


def test_nothing_timed_has_no_payback():
    result = make_result("tune", decide([]), [], search_s=5, baseline_seconds_per_token=0.05)
    assert result.best is None
    assert result.payback is None


def test_predictions_are_paired_with_what_was_timed_for_tuning(make_trial, finals):
    speeds = {0: 1.0, 1: 1.2, 2: 1.4}
    predicted = [
        make_trial(n, kind="predicted", speedup=None, predicted_speedup=s + 0.01) for n, s in speeds.items()
    ]
    timed = [make_trial(n, speedup=s) for n, s in speeds.items()]
    agreement = agreement_of([*predicted, *timed, *finals])
    assert agreement is not None
    assert agreement.pairs == 3
    assert agreement.rank_correlation == pytest.approx(1)
    assert agreement.median_error == pytest.approx(0.01 / 1.2)
    assert agreement_of([*predicted, *timed[:2]]) is None


def test_a_timed_trial_may_carry_its_own_prediction(make_trial):
    timed = [make_trial(n, speedup=1 + n, predicted_speedup=3.0 - n) for n in range(3)]
    agreement = agreement_of(timed)
    assert agreement is not None
    assert agreement.rank_correlation == pytest.approx(-1)
    alike = [make_trial(n, speedup=1.5, predicted_speedup=3.0 - n) for n in range(3)]
    agreement = agreement_of(alike)
    assert agreement is not None
    assert agreement.rank_correlation is None


def test_what_is_written_is_read(tmp_path, finals):
    assert read_result(tmp_path) is None
    result = make_result("tune", decide(finals), finals, search_s=600, swing=0.01, over_default=(1.0, 1.2))
    write_result(tmp_path, result)
    assert read_result(tmp_path) == result


def test_what_is_damaged_or_of_another_schema_is_refused(tmp_path, finals):
    path = tmp_path / OUTCOME
    path.write_text('{"schema": 1}')
    with pytest.raises(DamagedResults, match="tune_id"):
        read_result(tmp_path)
    result = make_result("tune", decide(finals), finals, search_s=600)
    write_result(tmp_path, result)
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 9', 1))
    with pytest.raises(BadInput, match="schema 9"):
        read_result(tmp_path)
