from __future__ import annotations

import pytest

from lsbench.engine import ATTENTION, MLP, DepthPlan, sublayer


def test_an_exit_runs_every_layer_up_to_it():
    assert DepthPlan.exit_at(3, 2).run == (True, True, True, True, False, False)
    assert DepthPlan.exit_at(3, 3).is_full
    assert not DepthPlan.exit_at(3, 2).is_full


def test_a_skip_set_leaves_out_what_it_names():
    plan = DepthPlan.skipping(2, [sublayer(1, MLP), sublayer(2, ATTENTION)], "mask")
    assert plan.run == (True, False, False, True)
    assert plan.kv_fill == "mask"
    assert plan.num_layers == 2
    assert plan.flags.tolist() == [True, False, False, True]
    assert DepthPlan.skipping(2, ()) == DepthPlan.full(2)


@pytest.mark.parametrize("exit_layer", [0, 4, -1])
def test_an_exit_outside_the_model_is_refused(exit_layer):
    with pytest.raises(ValueError, match=rf"1\.\.3, got {exit_layer}"):
        DepthPlan.exit_at(3, exit_layer)


@pytest.mark.parametrize("index", [-1, 6])
def test_a_sublayer_outside_the_model_is_refused(index):
    with pytest.raises(ValueError, match=r"0\.\.5"):
        DepthPlan.skipping(3, [0, index])


def test_flags_that_are_no_plan_are_refused():
    with pytest.raises(ValueError, match="two flags for every layer, got 3"):
        DepthPlan((True, True, True))
    with pytest.raises(ValueError, match="got 0"):
        DepthPlan(())
    with pytest.raises(ValueError, match="not 'forget'"):
        DepthPlan((True, True), "forget")  # type: ignore[arg-type]


def test_the_flags_of_a_plan_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        DepthPlan.full(2).flags[0] = False
