"""Skip ladders: nested, within their budget of bytes, and ordered by influence per byte."""

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lsbench.engine import DecoderStack
from lsbench.errors import BadInput
from lsbench_strategies.skip_ladder import build_ladder, rank_units, rebuilt_ladder

WEIGHTS = (10, 30) * 5


@st.composite
def models(draw: st.DrawFn) -> tuple[list[float], list[int]]:
    """Influence and bytes of the sub-layers of some model."""
    layers = draw(st.integers(1, 12))
    influence = draw(st.lists(st.floats(0, 2), min_size=2 * layers, max_size=2 * layers))
    attention, mlp = draw(st.tuples(st.integers(1, 1000), st.integers(1, 1000)))
    if draw(st.booleans()):
        return influence, [attention, mlp] * layers
    return influence, draw(st.lists(st.integers(1, 1000), min_size=2 * layers, max_size=2 * layers))


class TestRanking:
    def test_least_influence_per_byte_comes_first(self) -> None:
        # Per byte: attention 0.04, MLP 0.01; attention 0.02, MLP 0.03.
        assert rank_units([0.4, 0.3, 0.2, 0.9], [10, 30, 10, 30], "sublayer", 0) == ((1,), (2,), (3,), (0,))

    def test_a_heavier_part_of_the_same_influence_goes_first(self) -> None:
        assert rank_units([0.2, 0.2], [10, 30], "sublayer", 0) == ((1,), (0,))

    def test_a_layer_has_the_influence_and_bytes_of_both_its_parts(self) -> None:
        assert rank_units([0.1, 0.9, 0.5, 0.4], [10, 30, 10, 30], "layer", 0) == ((2, 3), (0, 1))

    def test_kept_layers_are_never_among_them(self) -> None:
        assert set(rank_units([0.0] * 6, [1] * 6, "layer", 1)) == {(2, 3), (4, 5)}
        assert set(rank_units([0.0] * 6, [1] * 6, "sublayer", 2)) == {(4,), (5,)}

    @given(models(), st.sampled_from(["layer", "sublayer"]), st.integers(0, 12))
    def test_every_part_after_the_kept_ones_is_ranked_once(self, model, granularity, kept: int) -> None:
        influence, weights = model
        order = rank_units(influence, weights, granularity, kept)
        assert sorted(j for unit in order for j in unit) == list(range(2 * kept, len(weights)))
        ratios = [sum(influence[j] for j in unit) / sum(weights[j] for j in unit) for unit in order]
        assert ratios == sorted(ratios)


class TestLadder:
    @given(
        models(), st.sampled_from(["layer", "sublayer"]), st.floats(0.01, 0.99), st.none() | st.integers(1, 8)
    )
    def test_is_nested_and_within_its_budget_on_every_rung(
        self, model, granularity, ratio: float, rungs: int | None
    ) -> None:
        influence, weights = model
        order = rank_units(influence, weights, granularity, 0)
        try:
            ladder = build_ladder(order, weights, ratio, rungs).rungs
        except BadInput:
            assume(False)
        bytes_saved = [sum(weights[j] for j in rung) for rung in ladder]
        assert ladder[0] == frozenset()
        assert all(smaller < larger for smaller, larger in pairwise(ladder))
        assert max(bytes_saved) <= ratio * sum(weights) * (1 + 1e-6)
        assert len(ladder) - 1 == rungs or (rungs is None and 1 <= len(ladder) - 1 <= 3)
        for unit in order:
            assert all(len(set(unit) & rung) in (0, len(unit)) for rung in ladder)

    @given(models(), st.floats(0.01, 0.99), st.integers(1, 8))
    def test_a_rung_above_its_share_of_bytes_is_one_unit_above_the_rung_before(
        self, model, ratio: float, rungs: int
    ) -> None:
        influence, weights = model
        order = rank_units(influence, weights, "sublayer", 0)
        try:
            ladder = build_ladder(order, weights, ratio, rungs).rungs
        except BadInput:
            assume(False)
        whole = sum(weights[j] for j in ladder[-1])
        for number, rung in enumerate(ladder):
            share = whole * number / rungs * (1 + 1e-6)
            assert sum(weights[j] for j in rung) <= share or len(rung) == len(ladder[number - 1]) + 1

    def test_equal_parts_are_shared_out_evenly(self) -> None:
        order = [(2 * layer, 2 * layer + 1) for layer in (4, 1, 3, 0, 2)]
        ladder = build_ladder(order, WEIGHTS, 0.8, 4).rungs
        assert [sorted({j // 2 for j in rung}) for rung in ladder] == [
            [],
            [4],
            [1, 4],
            [1, 3, 4],
            [0, 1, 3, 4],
        ]

    def test_what_no_longer_fits_is_passed_over_for_what_does(self) -> None:
        order = [(1,), (3,), (0,), (2,)]
        # Of 200 bytes, 50 may go: an MLP of 30 and two attentions of 10, but no second MLP.
        assert build_ladder(order, WEIGHTS, 0.25, 3).rungs[-1] == {1, 0, 2}

    def test_counts_bytes_and_not_parts(self) -> None:
        attention, mlp = [(j,) for j in range(0, 10, 2)], [(j,) for j in range(1, 10, 2)]
        assert len(build_ladder(attention, WEIGHTS, 0.2, 1).rungs[-1]) == 4
        assert len(build_ladder(mlp, WEIGHTS, 0.2, 1).rungs[-1]) == 1

    def test_a_heavy_first_part_does_not_leave_a_rung_empty(self) -> None:
        assert build_ladder([(1,), (0,), (2,)], WEIGHTS, 0.25, 3).rungs[1:] == (
            frozenset({1}),
            frozenset({0, 1}),
            frozenset({0, 1, 2}),
        )

    def test_thirds_make_a_whole(self) -> None:
        weights = [7] * 30
        order = [(j,) for j in range(30)]
        assert [len(rung) for rung in build_ladder(order, weights, 0.1 * 3, 3).rungs] == [0, 3, 6, 9]

    def test_room_for_nothing_is_refused_with_what_the_lightest_part_takes(self) -> None:
        with pytest.raises(BadInput, match=r"max_skip_ratio=0\.04 leaves out nothing: .* 0\.050 of"):
            build_ladder([(0,), (1,)], WEIGHTS, 0.04, None)

    def test_more_rungs_than_sets_are_refused(self) -> None:
        with pytest.raises(BadInput, match=r"thresholds asks for 3 different skip sets, .* room for 2"):
            build_ladder([(0,), (2,)], WEIGHTS, 0.5, 3, "thresholds")

    def test_rungs_not_asked_for_are_as_many_as_there_is_room_for(self) -> None:
        assert len(build_ladder([(0,), (2,)], WEIGHTS, 0.5, None).rungs) == 3
        assert len(build_ladder([(0,), (2,), (4,), (6,), (8,)], WEIGHTS, 0.5, None).rungs) == 4


class TestRebuilding:
    @given(models(), st.floats(0.01, 0.99), st.integers(1, 6), st.randoms())
    def test_another_order_gives_as_many_rungs_within_the_same_budget(
        self, model, ratio: float, rungs: int, random
    ) -> None:
        influence, weights = model
        order = list(rank_units(influence, weights, "sublayer", 0))
        try:
            ladder = build_ladder(order, weights, ratio, rungs)
        except BadInput:
            assume(False)
        assert rebuilt_ladder(order, weights, ratio, rungs) == ladder
        random.shuffle(order)
        again = rebuilt_ladder(order, weights, ratio, rungs).rungs
        assert len(again) == rungs + 1
        assert again[0] == frozenset()
        assert all(smaller <= larger for smaller, larger in pairwise(again))
        assert 0 < sum(weights[j] for j in again[-1]) <= ratio * sum(weights) * (1 + 1e-6)

    def test_where_fewer_parts_fit_the_last_rungs_are_alike(self) -> None:
        assert build_ladder([(0,), (2,), (4,)], WEIGHTS, 0.15, 3).rungs[1:] == ({0}, {0, 2}, {0, 2, 4})
        assert rebuilt_ladder([(1,), (0,), (2,)], WEIGHTS, 0.15, 3).rungs == (frozenset(), {1}, {1}, {1})


def test_an_mlp_of_a_real_block_weighs_more_than_its_attention(stack: DecoderStack) -> None:
    attention, mlp = stack.sublayer_bytes[0::2], stack.sublayer_bytes[1::2]
    # Query and output are 32 x 32, key and value 32 x 16; gate, up and down 32 x 80; eight bytes each.
    assert attention == (8 * (2 * 32 * 32 + 2 * 32 * 16),) * 6
    assert mlp == (8 * 3 * 32 * 80,) * 6
