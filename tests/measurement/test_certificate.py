import numpy as np
import pytest
from scipy.stats import chi2

from lsbench.measurement.certificate import (
    LEVEL,
    POWER,
    about_certificate,
    certificates,
    detectable_shift,
)

LABEL = "self_speculative"


@pytest.fixture
def look(make_record):
    def make(doc_id=0, label=LABEL, **fields):
        nothing = {"token_ids": None, "text": None, "stop_reason": None, "ttft_s": None, "decode_s": None}
        return make_record(label, doc_id, kind="certificate", **nothing, **fields)

    return make


def even(count):
    return tuple((n + 0.5) / count for n in range(count))


def test_even_places_fit_and_pearsons_statistic_is_theirs(look):
    places = (*even(100), *[0.05] * 10)
    found = certificates([look(0, places=places[:60]), look(1, places=places[60:])], [LABEL])[LABEL]
    test = found.outputs
    statistic = (20 - 11) ** 2 / 11 + 9 * (10 - 11) ** 2 / 11
    assert (test.tokens, test.cells, test.degrees_of_freedom) == (110, 10, 9)
    assert test.statistic == pytest.approx(statistic)
    assert test.p_value == pytest.approx(chi2.sf(statistic, 9))
    assert (found.refuted, found.draws, found.drawn, found.spots) == (False, None, 0, 0)
    assert found.p_value == test.corrected_p_value == test.p_value


def test_tables_of_draws_are_added_up(look):
    tables = (((10, 8.0), (6, 8.0)), ((20, 20.0), (9, 6.0), (5, 8.0)))
    records = [
        look(0, draws=50, cells=tables[:1]),
        look(1, draws=50, cells=tables[1:]),
        look(2, places=even(9)),
    ]
    found = certificates(records, [LABEL])[LABEL]
    statistic = 4 / 8 + 4 / 8 + 9 / 6 + 9 / 8
    assert (found.draws.cells, found.draws.degrees_of_freedom, found.draws.tokens) == (5, 3, 50)
    assert found.draws.statistic == pytest.approx(statistic)
    assert (found.outputs, found.drawn, found.spots) == (None, 100, 2)


def test_one_test_more_in_the_run_makes_each_harder_to_fail(look):
    shifted = tuple(place**1.35 for place in even(400))
    alone = certificates([look(places=shifted)], [LABEL])
    assert alone[LABEL].refuted
    labels = [LABEL, *(f"other{n}" for n in range(9))]
    records = [look(places=shifted), *(look(label=label, places=even(400)) for label in labels[1:])]
    among = certificates(records, labels)
    assert among[LABEL].tests == 10
    assert among[LABEL].outputs.p_value == alone[LABEL].p_value
    assert among[LABEL].p_value == pytest.approx(10 * alone[LABEL].p_value)
    assert not among["other3"].refuted


def test_what_is_too_little_or_was_not_sampled_is_not_certified(look):
    records = [look(0, places=even(49)), look(0, "other", error="no room")]
    found = certificates(records, [LABEL, "other", "third"])
    assert found == {LABEL: None, "other": None, "third": None}
    assert about_certificate(LABEL, None, records) == [
        f"{LABEL}: too few tokens were sampled to test its claim to be lossless."
    ]
    assert "1 of its 1 sampled outputs could not be looked at" in about_certificate("other", None, records)[0]
    assert about_certificate("third", None, records) == []


def test_the_note_says_what_was_tested_and_what_would_have_been_found(look):
    records = [look(0, places=even(100), draws=64, cells=(((10, 8.0), (6, 8.0)),))]
    found = certificates(records, [LABEL])[LABEL]
    (said,) = about_certificate(LABEL, found, records)
    assert "100 tokens of its outputs (chi-square 0.0 on 9, p = 1, finds a shift of " in said
    assert f"finds a shift of {found.outputs.detectable_shift:.0%} of them" in said
    assert "16 tokens of 64 draws after 1 beginning (chi-square 1.0 on 1, p = 0.32" in said


@pytest.mark.parametrize(("cells", "tokens"), [(10, 1000), (10, 5000), (4, 300)])
def test_a_shift_as_large_as_told_is_found_as_often_as_told(cells, tokens):
    shift = detectable_shift(cells - 1, tokens, LEVEL)
    even = np.full(cells, 1 / cells)
    # The least that a shift can show: spread over all cells.
    moved = even + np.where(np.arange(cells) % 2, 1, -1) * 2 * shift / cells
    seen = np.random.default_rng(5).multinomial(tokens, moved, size=20000)
    statistics = ((seen - tokens / cells) ** 2 / (tokens / cells)).sum(axis=1)
    assert (chi2.sf(statistics, cells - 1) < LEVEL).mean() == pytest.approx(POWER, abs=0.03)


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_promised():
    """At the smallest cells there are, where the approximation is worst: 64 draws at each of three spots."""
    draw = np.random.default_rng(7)
    runs, refuted = 0, 0
    for _ in range(20):
        statistics, freedom = np.zeros(20000), 0
        for _ in range(3):
            chances = np.sort(draw.dirichlet(np.ones(12) / 2))[::-1]
            often = list(chances[chances * 64 >= 5])
            if (rest := 1 - sum(often)) * 64 >= 5:
                often.append(rest)
            elif often:
                often[-1] += rest
            if len(often) < 2:
                continue
            expected = 64 * np.array(often)
            seen = draw.multinomial(64, expected / 64, size=len(statistics))
            statistics += ((seen - expected) ** 2 / expected).sum(axis=1)
            freedom += len(often) - 1
        runs, refuted = runs + len(statistics), refuted + int((chi2.sf(statistics, freedom) < LEVEL).sum())
    assert refuted / runs < 2 * LEVEL
