"""Random mixes of prefill, forward, verify and truncate hold the KV contract, to 1e-9 in float64."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MODERATE = settings(deadline=None, max_examples=6, suppress_health_check=list(HealthCheck))
DEEP = settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
SHAPES = ("biased", "grouped", "linear_rope", "llama3_rope", "tied")


@pytest.mark.parametrize(
    "shape",
    [pytest.param(name, marks=() if name in ("biased", "tied") else pytest.mark.slow) for name in SHAPES],
)
def test_hard_scenarios_hold_the_contract(shape, tiny, contract):
    model = tiny(shape)
    for scenario in contract.hard_scenarios(model.num_layers).values():
        contract.check(model, scenario)


def _holds(tiny, contract, data, batch, most):
    model = tiny(data.draw(st.sampled_from(SHAPES), label="shape"))
    contract.check(model, data.draw(contract.scenarios(model.num_layers, batch, most)))


@MODERATE
@given(data=st.data())
def test_one_sequence_holds_the_contract(tiny, contract, data):
    _holds(tiny, contract, data, batch=1, most=8)


@MODERATE
@given(data=st.data())
def test_a_batch_holds_the_contract(tiny, contract, data):
    _holds(tiny, contract, data, data.draw(st.integers(2, 3)), most=6)


@pytest.mark.slow
@DEEP
@given(data=st.data())
def test_the_contract_holds_in_long_sessions(tiny, contract, data):
    _holds(tiny, contract, data, data.draw(st.integers(1, 3)), most=12)
