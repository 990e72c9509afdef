"""The KV contract where ranges of sub-layers run in compiled code: in float32, as far as that can tell."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsbench.engine import DepthPlan
from lsbench.engine.native import prepare
from support.families.models import LAYERS, TinyFamily, made_family
from support.families.reference import LayerReference
from support.kv_contract.check import Check
from support.kv_contract.scenarios import Planned, Scenario, hard_scenarios, scenarios

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not prepare().available, reason=prepare().detail)]

TOLERANCE = 2e-3


@lru_cache
def _tiny(name: str) -> TinyFamily:
    made = made_family(name, torch.float32, hidden_size=24, intermediate_size=40)
    assert made.stack.native is not None
    return made


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen3"])
def test_hard_scenarios_hold_it(name):
    for scenario in hard_scenarios(LAYERS).values():
        Check(_tiny(name), scenario, LayerReference, TOLERANCE).run()


def test_a_rider_meets_what_is_inexact_in_a_step_that_is_inexact_already():
    """What is left of a range must be found anew when an exact position joins rows that no longer are."""
    full = DepthPlan.full(LAYERS)
    inexact_from_3 = DepthPlan.exit_at(LAYERS, 2, "propagate")
    pending_at_2 = DepthPlan.skipping(LAYERS, [4])
    inexact_from_1 = DepthPlan((False, False, True, True, *(False,) * (2 * LAYERS - 4)), "propagate")
    steps = tuple(
        Planned(((token,),), plan)
        for token, plan in enumerate((inexact_from_3, pending_at_2, inexact_from_1, full, full))
    )
    Check(_tiny("llama"), Scenario(((3, 1, 4),), 16, steps), LayerReference, TOLERANCE).run()


@pytest.mark.parametrize("name", ["llama", "mistral"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_scenarios_hold_it(name, data):
    batch = data.draw(st.integers(1, 2))
    Check(_tiny(name), data.draw(scenarios(LAYERS, batch, 8)), LayerReference, TOLERANCE).run()
