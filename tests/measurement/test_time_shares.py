import pytest

from lsbench.measurement.time_shares import time_shares
from lsbench.records import LoopTimes, StepCost

L = 10


def cost(width, layer_s, head_s, fixed_s, **alone):
    return StepCost(
        width=width, context=50, layer_s=layer_s, attention_s=None, mlp_s=None, head_s=head_s,
        fixed_s=fixed_s, **alone,
    )  # fmt: skip


ALONE = cost(1, 2.0, 5.0, 1.0, check_s=0.5, fill_s=0.25, draw_s=3.0)
COSTS = (ALONE, cost(5, 4.0, 7.0, 1.5))
GREEDY = (ALONE.model_copy(update={"draw_s": 0.0}), COSTS[1])
COUNTED = {"checks": 0, "spare_heads": 0, "filled": 0, "older_rows": 0, "own_passes": 0, "ridden": 0}


def shares_of(records, costs=GREEDY):
    shares, reason = time_shares(records, costs, L)
    assert reason is None
    assert sum(value for value in shares.model_dump().values() if value is not None) == pytest.approx(1)
    return shares


def test_plain_decoding_by_hand(make_record):
    """Three decoded tokens of 20 s layers, 5 s head and 1 s rest, in 100 s."""
    found = shares_of([make_record(layers_run=(10.0,) * 4, decode_s=100.0, **COUNTED)])
    wanted = {"layers": 0.6, "head": 0.15, "fixed": 0.03, "other": 0.22, "draft_layers": 0, "draft_heads": 0}
    wanted |= {"checks": 0, "kv_fill": 0, "sampling": 0}
    assert found.model_dump() == pytest.approx(wanted)
    drawn = shares_of([make_record(layers_run=(10.0,) * 4, decode_s=100.0, **COUNTED)], COSTS)
    assert (drawn.sampling, drawn.other) == pytest.approx((0.09, 0.13))


def test_looks_and_fills_by_hand(make_record):
    """Two heads made for looks alone and six looks; eight fills."""
    counted = {**COUNTED, "checks": 6, "spare_heads": 2, "filled": 8}
    found = shares_of([make_record(layers_run=(10.0, 4.0, 4.0, 4.0), decode_s=100.0, **counted)])
    assert (found.layers, found.checks, found.kv_fill) == pytest.approx((0.24, 0.13, 0.02))


def test_drafting_and_verifying_by_hand(make_record):
    """Two cycles of four drafts at six layers, verified five at a time; all drafts accepted; drawn."""
    record = make_record(
        tokens=11, layers_run=(10.0,) * 11, decode_s=400.0, drafted=8, accepted=8, verify_passes=2,
        draft_layers=48.0, verify_layers=52.0, draft_heads=4.0, **COUNTED,
    )  # fmt: skip
    found = shares_of([record], COSTS)
    seconds = {name: share * 400 for name, share in found.model_dump().items()}
    assert seconds["draft_layers"] == pytest.approx(48 * 2.0)
    assert seconds["draft_heads"] == pytest.approx(4 * 5.0)
    assert seconds["layers"] == pytest.approx(2 * (6 * 2.0 + 4 * 4.0))
    assert seconds["head"] == pytest.approx(2 * 7.0)
    assert seconds["fixed"] == pytest.approx(8 * 1.0 + 2 * 1.5)
    assert seconds["sampling"] == pytest.approx((8 + 2) * 3.0)


def test_a_draft_without_a_model_takes_no_steps(make_record):
    record = make_record(
        tokens=11, layers_run=(10.0,) * 11, decode_s=200.0, drafted=8, accepted=8, verify_passes=2,
        draft_layers=0.0, verify_layers=100.0, draft_heads=0.0, **COUNTED,
    )  # fmt: skip
    found = shares_of([record])
    assert (found.draft_layers, found.draft_heads) == (0, 0)
    assert (found.layers, found.fixed) == pytest.approx((0.4, 3 / 200))


def test_a_batch_by_hand(make_record):
    """Two sequences: three steps of both, one of which stops at layer 4 once, then a step of one alone."""
    both = {"batch": 0, "batch_size": 2, "ttft_s": 10.0, **COUNTED}
    found = shares_of(
        [
            make_record(doc_id=0, tokens=5, layers_run=(10.0,) * 5, decode_s=200.0, **both),
            make_record(doc_id=1, tokens=4, layers_run=(10.0, 10.0, 4.0, 10.0), decode_s=150.0, **both),
        ]
    )
    seconds = {name: share * 200 for name, share in found.model_dump().items()}
    # Between one token and five a layer costs 0.5 s more for each, the head as much, the rest an eighth.
    pair, single = 2.5, 2.0
    assert seconds["layers"] == pytest.approx(10 * pair + (4 * pair + 6 * single) + 10 * pair + 10 * single)
    assert seconds["head"] == pytest.approx(3 * 5.5 + 5.0)
    assert seconds["fixed"] == pytest.approx(3 * 1.125 + 1.0)
    assert (found.draft_layers, found.checks, found.kv_fill, found.sampling) == (0, 0, 0, 0)


def test_heads_that_a_batch_looked_at_together_are_not_told(make_record):
    record = make_record(
        layers_run=(10.0, 4.0, 4.0, 4.0), decode_s=100.0, batch=0, **{**COUNTED, "checks": 3}
    )
    assert shares_of([record]).checks is None


def test_a_loop_that_was_watched_is_told(make_record):
    records = [make_record("hf_generate", layers_run=None)]
    watched = (
        LoopTimes(label="other", decode_s=1.0, layers_s=0.1, head_s=0.1),
        LoopTimes(label="hf_generate", decode_s=8.0, layers_s=4.0, head_s=1.0),
    )
    shares, reason = time_shares(records, (), L, watched)
    assert reason is None
    assert {name: share for name, share in shares.model_dump().items() if share is not None} == {
        "layers": 0.5, "head": 0.125, "other": 0.375,
    }  # fmt: skip
    batched = [make_record("hf_generate", layers_run=None, batch=0, batch_size=2)]
    assert time_shares(batched, (), L, watched)[0] is None


def test_what_was_not_counted_is_not_told_and_stays_in_the_rest(make_record):
    found = shares_of([make_record(layers_run=(10.0,) * 4, decode_s=100.0)], (cost(1, 2.0, 5.0, 1.0),))
    assert (found.checks, found.kv_fill, found.sampling) == (None, None, None)
    assert (found.layers, found.head, found.fixed, found.other) == pytest.approx((0.6, 0.15, 0.03, 0.22))


def test_costs_that_were_too_high_show_in_the_rest(make_record):
    assert shares_of([make_record(layers_run=(10.0,) * 4, decode_s=60.0, **COUNTED)]).other < 0


@pytest.mark.parametrize(
    ("changes", "costs", "says"),
    [
        ({"layers_run": None}, GREEDY, "loop of its own"),
        ({"batch": 0, "batch_size": 2, "drafted": 3}, GREEDY, "which of their drafts"),
        ({"batch": 0, "batch_size": 2}, GREEDY[:1], "step of several tokens"),
        ({}, (), "was not measured"),
        ({"decode_s": 0.0, "token_ids": (1,)}, GREEDY, "nothing was decoded"),
        ({"drafted": 3, "accepted": 1, "verify_passes": 2}, GREEDY, "its drafts ran"),
    ],
)
def test_where_nothing_can_be_told_the_reason_is(make_record, changes, costs, says):
    shares, reason = time_shares([make_record(**{"layers_run": (10.0,) * 4, **changes})], costs, L)
    assert shares is None
    assert says in reason
