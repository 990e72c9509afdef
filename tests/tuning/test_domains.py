"""Values of one coordinate."""

import numpy as np
import pytest

from lsbench.tuning.domains import Among, Real, Whole, alike, among


def test_draws_stay_within_and_reach_every_value():
    random = np.random.default_rng(0)
    assert {Whole(2, 5).draw(random) for _ in range(100)} == {2, 3, 4, 5}
    assert {Among(("a", None, 3)).draw(random) for _ in range(100)} == {"a", None, 3}
    drawn = [Real(0.25, 0.75).draw(random) for _ in range(200)]
    assert min(drawn) >= 0.25
    assert max(drawn) <= 0.75
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.05)


def test_spread_values_are_even_and_different():
    assert Whole(1, 31).spread(3) == (1, 16, 31)
    assert Whole(1, 3).spread(10) == (1, 2, 3)
    assert Whole(1, 9).spread(1) == (5,)
    assert Real(0, 1).spread(5) == (0, 0.25, 0.5, 0.75, 1)
    assert Among(("a", "b", "c")).spread(2) == ("a", "b", "c")
    with pytest.raises(ValueError, match="0 points"):
        Real(0, 1).spread(0)


def test_numbers_of_a_searcher_are_read_as_plain_ones():
    found = [
        Whole(1, 9).read(np.int64(4)),  # type: ignore[arg-type]
        Real(0, 1).read(np.float64(0.123456)),  # type: ignore[arg-type]
        Among((False, True)).read(np.bool_(True)),  # type: ignore[arg-type]
    ]
    assert found == [4, 0.1235, True]
    assert [type(value) for value in found] == [int, float, bool]


def test_rounding_never_leaves_the_range():
    assert Real(0.12344, 0.5).read(0.12344) == 0.12344
    assert Real(0.1, 0.12346).read(0.12346) == 0.12346


def test_values_of_different_kinds_are_told_apart():
    mixed = among([1, True, 1.0, "1", 1])
    assert mixed == Among((1, True, 1.0, "1"))
    assert [type(mixed.read(token)) for token in mixed.tokens] == [int, bool, float, str]
    assert alike(1, 1)
    assert not alike(1, True)


def test_lists_have_plain_tokens():
    lists = Among(("auto", [4, 8], ["3.mlp"]))
    assert lists.tokens == ("auto", "[4,8]", "[3.mlp]")
    assert [lists.read(token) for token in lists.tokens] == list(lists.values)
    assert lists.token([4, 8]) == "[4,8]"


def test_tokens_of_values_that_are_none_are_refused():
    for domain, value in ((Whole(1, 3), 4), (Whole(1, 3), True), (Real(0, 1), 1.5), (Among(("a",)), "b")):
        with pytest.raises(ValueError, match="n"):
            domain.token(value)
    assert Whole(1, 3).nearest(9) == 3
    assert Whole(1, 3).nearest(None) is None
    assert Real(0, 1).nearest(-1) == 0
    assert Among(("a", "b")).nearest("b") == "b"
    assert Among(("a", "b")).nearest("c") == "a"
