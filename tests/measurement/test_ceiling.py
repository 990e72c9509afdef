import pytest

from lsbench.measurement.ceiling import (
    Work,
    bandwidth_fraction,
    ceiling,
    cost_at,
    cycle_bytes,
    cycle_seconds,
    work_of,
)
from lsbench.measurement.notes import about_bandwidth, about_ceiling
from lsbench.records import StepCost

L = 10
LABEL = "method"


def cost(width, layer_s, head_s, fixed_s):
    return StepCost(
        width=width, context=50, layer_s=layer_s, attention_s=None, mlp_s=None, head_s=head_s, fixed_s=fixed_s
    )


ALONE = cost(1, 2.0, 5.0, 1.0)
COSTS = (cost(5, 4.0, 7.0, 1.5), ALONE, cost(3, 3.0, 5.0, 1.0))
TOKEN_S = 10 * 2.0 + 5.0 + 1.0


@pytest.fixture
def baseline(make_record):
    return [make_record("autoregressive", n, layers_run=(10.0,) * 4) for n in range(3)]


@pytest.fixture
def drafting(make_record):
    """Ten tokens after the first in two cycles of four drafts, at six layers each; eight accepted."""

    def make(**changes):
        told = {"drafted": 8, "accepted": 8, "verify_passes": 2, "draft_layers": 48.0, "verify_layers": 52.0}
        return make_record(LABEL, 0, tokens=11, layers_run=(10.0,) * 11, **{**told, **changes})

    return make


def test_fewer_layers_save_their_time_and_nothing_else(make_record, baseline):
    records = [
        make_record(LABEL, 0, layers_run=(10.0, 4.0, 4.0, 5.5)),
        make_record(LABEL, 1, tokens=2, layers_run=(10.0, 6.5)),
    ]
    best = TOKEN_S / (5 * 2.0 + 5.0 + 1.0)
    found = ceiling(records, baseline, [ALONE], L, 1.5)
    assert found.speedup == pytest.approx(best)
    assert found.achieved_fraction == pytest.approx(1.5 / best)
    assert ceiling(records, baseline, COSTS, L, 1.5) == found


def test_full_depth_cannot_be_faster(make_record, baseline):
    records = [make_record(LABEL, 0, layers_run=(10.0,) * 4)]
    assert ceiling(records, baseline, COSTS, L, 0.9).speedup == pytest.approx(1)
    assert ceiling(records, baseline, COSTS, L, 0.9).achieved_fraction == pytest.approx(0.9)


def test_draft_and_verify_by_hand(drafting, baseline):
    # Each cycle: four draft steps of six layers; then one of five tokens, of which the last runs six layers
    # alone and all run the other four together.
    draft = 4 * (6 * 2.0 + 5.0 + 1.0)
    verify = 6 * 2.0 + 4 * 4.0 + 7.0 + 1.5
    assert work_of([drafting()], L) == Work(5, 4, 6, 6, 10)
    found = ceiling([drafting()], baseline, COSTS, L, 1.0)
    assert found.speedup == pytest.approx(5 * TOKEN_S / (draft + verify))


def test_a_draft_that_reads_a_part_of_the_head_pays_for_that_part(drafting, baseline):
    # Eight drafted tokens, each with a quarter of the head.
    record = drafting(draft_heads=2.0)
    assert work_of([record], L) == Work(5, 4, 6, 6, 10, draft_head=0.25)
    draft = 4 * (6 * 2.0 + 0.25 * 5.0 + 1.0)
    verify = 6 * 2.0 + 4 * 4.0 + 7.0 + 1.5
    found = ceiling([record], baseline, COSTS, L, 1.0)
    assert found.speedup == pytest.approx(5 * TOKEN_S / (draft + verify))
    # Layers of 3 bytes and a head of 8: four drafts of six layers and a quarter of the head, then everything.
    assert cycle_bytes(work_of([record], L), 3, 8) == 4 * (6 * 3 + 2) + 10 * 3 + 8


def test_requests_with_different_heads_count_by_what_they_drafted(drafting):
    # One that says nothing of heads read all of it for each of its eight tokens.
    assert work_of([drafting(draft_heads=2.0), drafting()], L).draft_head == pytest.approx((2 + 8) / 16)


def test_layers_that_verifying_cannot_take_over_run_again(drafting, baseline):
    # A skip set: six layers run, but only the first two before the first that was left out.
    record = drafting(verify_layers=2 * (5 * 10 - 4 * 2.0))
    assert work_of([record], L) == Work(5, 4, 6, 2, 10)
    draft = 4 * (6 * 2.0 + 5.0 + 1.0)
    verify = 2 * 2.0 + 8 * 4.0 + 7.0 + 1.5
    found = ceiling([record], baseline, COSTS, L, 1.0)
    assert found.speedup == pytest.approx(5 * TOKEN_S / (draft + verify))


def test_where_verifying_does_not_tell_the_draft_is_taken_over_whole(drafting):
    assert work_of([drafting(verify_layers=None)], L) == Work(5, 4, 6, 6, 10)


def test_a_draft_without_a_model_costs_nothing_but_the_wider_step(drafting, baseline):
    record = drafting(draft_layers=0.0, verify_layers=100.0)
    assert work_of([record], L) == Work(5, 4, 0, 0, 10)
    found = ceiling([record], baseline, COSTS, L, 1.0)
    assert found.speedup == pytest.approx(5 * TOKEN_S / (10 * 4.0 + 7.0 + 1.5))


def test_drafts_that_are_all_rejected_cost_more_than_they_give(drafting, baseline):
    record = drafting(accepted=0, verify_passes=10, drafted=40, draft_layers=240.0, verify_layers=260.0)
    assert ceiling([record], baseline, COSTS, L, 0.2).speedup < 0.5


def test_nothing_drafted_is_plain_decoding(drafting, baseline):
    record = drafting(drafted=0, accepted=0, verify_passes=10, draft_layers=0.0, verify_layers=100.0)
    assert ceiling([record], baseline, COSTS, L, 1.0).speedup == pytest.approx(1)


def test_a_width_is_read_off_the_line_between_its_neighbours():
    assert cost_at(COSTS, 1) == cost_at([ALONE], 9)
    assert cost_at(COSTS, 4).layer_s == pytest.approx(3.5)
    assert cost_at(COSTS, 4).head_s == pytest.approx(6)
    assert cost_at(COSTS, 4).fixed_s == pytest.approx(1.25)
    assert cost_at(COSTS, 1.5).layer_s == pytest.approx(2.25)
    assert cost_at(COSTS, 7).layer_s == pytest.approx(5)
    assert cycle_seconds(Work(1, 0, 0, 0, 10), COSTS) == TOKEN_S


def test_what_cannot_be_told_has_no_ceiling(make_record, baseline, drafting):
    records = [make_record(LABEL, 0, layers_run=(10.0, 4.0, 4.0, 4.0))]
    assert ceiling(records, baseline, COSTS, L, 1.2) is not None
    assert ceiling(records, baseline, COSTS, L, None) is None
    assert ceiling(records, baseline, (), L, 1.2) is None
    assert ceiling([make_record(LABEL, 0, layers_run=None)], baseline, COSTS, L, 1.2) is None
    assert ceiling([make_record(LABEL, 0, layers_run=(10.0,))], baseline, COSTS, L, 1.2) is None
    assert ceiling([], baseline, COSTS, L, 1.2) is None
    assert ceiling([drafting(draft_layers=None)], baseline, COSTS, L, 1.2) is None
    assert ceiling([drafting()], baseline, [ALONE], L, 1.2) is None
    outside = [make_record("hf_generate", 0, layers_run=None)]
    assert ceiling(records, outside, COSTS, L, 1.2) is None


@pytest.fixture
def besides(make_record):
    def make(**counts):
        zero = dict.fromkeys(("checks", "spare_heads", "filled", "older_rows", "own_passes", "ridden"), 0)
        return make_record(LABEL, 0, layers_run=(10.0, 4.0, 4.0, 4.0), **{**zero, **counts})

    return make


MEASURED = [ALONE.model_copy(update={"check_s": 0.25, "fill_s": 0.5, "draw_s": 0.75}), COSTS[0], COSTS[2]]


def whole_s(speedup):
    """What three tokens of four layers took, in the seconds of the costs."""
    return 3 * TOKEN_S / speedup


def test_the_rest_is_what_was_done_times_what_it_costs(besides, baseline):
    speedup = 0.9
    # Six rows in two sub-layers: three together.
    record = besides(checks=6, spare_heads=3, filled=18, older_rows=10, own_passes=4, ridden=2)
    found = ceiling([record], baseline, MEASURED, L, speedup)
    rest, whole = found.remainder, whole_s(speedup)
    more = cost_at(MEASURED, 1 + 3).layer_s - ALONE.layer_s
    assert rest.checks == pytest.approx((6 * 0.25 + 3 * ALONE.head_s) / whole)
    assert rest.kv_fill == pytest.approx((18 * 0.5 + 4 / 2 * ALONE.layer_s + 2 / 2 * more) / whole)
    assert rest.sampling == 0
    assert found.achieved_fraction + sum(rest.model_dump().values()) == pytest.approx(1)


def test_folders_of_before_do_not_say_how_many_rode_together(besides, baseline):
    alone, unknown = (
        ceiling([besides(older_rows=6, ridden=ridden)], baseline, MEASURED, L, 0.9) for ridden in (6, None)
    )
    assert unknown.remainder == alone.remainder
    assert alone.remainder.kv_fill > 0


def test_drafts_are_drawn_besides(drafting, baseline):
    record = drafting(checks=0, spare_heads=0, filled=0, older_rows=0, own_passes=0, ridden=0)
    rest = ceiling([record], baseline, MEASURED, L, 1.0).remainder
    tokens = len(record.token_ids) - 1
    assert rest.sampling == pytest.approx(record.drafted * 0.75 / (tokens * TOKEN_S))


def test_looks_of_a_draft_read_its_part_of_the_head(drafting, baseline):
    record = drafting(
        draft_heads=2.0, checks=6, spare_heads=4, filled=0, older_rows=0, own_passes=0, ridden=0
    )
    rest = ceiling([record], baseline, MEASURED, L, 1.0).remainder
    whole = (len(record.token_ids) - 1) * TOKEN_S
    assert rest.checks == pytest.approx((4 * 0.25 * ALONE.head_s + 6 * 0.25) / whole)


def test_without_costs_or_counts_the_rest_is_not_broken_down(besides, baseline, make_record):
    uncounted = make_record(LABEL, 0, layers_run=(10.0, 4.0, 4.0, 4.0))
    assert ceiling([besides()], baseline, COSTS, L, 1.0).remainder is None
    assert ceiling([besides(), uncounted], baseline, MEASURED, L, 1.0).remainder is None
    assert ceiling([besides(older_rows=2)], baseline, MEASURED[:1], L, 1.0).remainder is None
    assert (
        ceiling([besides(older_rows=2, own_passes=2)], baseline, MEASURED[:1], L, 1.0).remainder is not None
    )


def test_shares_that_make_more_than_the_whole_are_said_to(besides, baseline):
    few, many = (ceiling([besides(filled=n)], baseline, MEASURED, L, 1.0) for n in (1, 200))
    assert many.remainder.other < 0
    assert not any("make" in said for said in about_ceiling(LABEL, few))
    (said,) = about_ceiling(LABEL, many)
    assert f"make {1 - many.remainder.other:.0%} of it" in said


# -- what memory allows -------------------------------------------------------------------------------------

READING = [cost.model_copy(update={"layer_bytes": 30.0, "head_bytes": 100}) for cost in COSTS]


def test_the_baselines_step_against_reading_all_weights(baseline):
    # Ten layers and the head: 400 bytes, 40 seconds at 10 a second; the step takes TOKEN_S.
    assert bandwidth_fraction(baseline, READING, L, 40.0) == pytest.approx(10 / TOKEN_S)
    assert bandwidth_fraction(baseline, READING, L, None) is None
    assert bandwidth_fraction(baseline, COSTS, L, 40.0) is None
    assert bandwidth_fraction(baseline, (), L, 40.0) is None


def test_steps_that_the_costs_are_not_of_have_no_share(make_record):
    outside = [make_record("hf_generate", 0, layers_run=None)]
    assert bandwidth_fraction(outside, READING, L, 40.0) is None
    together = [make_record("autoregressive", 0, layers_run=(10.0,) * 4, batch=0, batch_size=2)]
    assert bandwidth_fraction(together, READING, L, 40.0) is None


def test_a_ceiling_of_fewer_layers_reads_their_weights_alone(make_record, baseline):
    record = make_record(LABEL, 0, layers_run=(10.0, 4.0, 4.0, 4.0))
    found = ceiling([record], baseline, READING, L, 1.5, 40.0)
    assert found.bandwidth_fraction == pytest.approx((4 * 30 + 100) / 40 / (4 * 2.0 + 5.0 + 1.0))
    assert ceiling([record], baseline, READING, L, 1.5).bandwidth_fraction is None
    assert ceiling([record], baseline, COSTS, L, 1.5, 40.0).bandwidth_fraction is None


def test_verifying_reads_every_weight_once_however_many_tokens(drafting, baseline):
    work = work_of([drafting()], L)
    read = 4 * (6 * 30 + 100) + 10 * 30 + 100
    assert cycle_bytes(work, 30.0, 100) == read
    found = ceiling([drafting()], baseline, READING, L, 1.0, 40.0)
    assert found.bandwidth_fraction == pytest.approx(read / 40 / cycle_seconds(work, READING))
    lookup = work_of([drafting(draft_layers=0.0, verify_layers=100.0)], L)
    assert cycle_bytes(lookup, 30.0, 100) == 10 * 30 + 100


@pytest.mark.parametrize(("fraction", "told"), [(None, False), (0.6, False), (1.1, False), (1.3, True)])
def test_steps_faster_than_memory_are_doubted(fraction, told):
    said = about_bandwidth(fraction)
    assert len(said) == told
    assert not told or "130%" in said[0]
