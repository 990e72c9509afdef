import pytest

from lsbench.measurement.ceiling import Work, ceiling, cost_at, cycle_seconds, work_of
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
