"""Random mixes of prefill, forward, verify and truncate hold the KV contract in every family."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.families.models import VARIANTS, tiny_family
from support.families.reference import LayerReference
from support.kv_contract.check import Check
from support.kv_contract.scenarios import hard_scenarios, scenarios

QUICK = ("gemma2", "gpt_neox")
UNHURRIED = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def _holds(name: str, data: st.DataObject) -> None:
    tiny = tiny_family(name)
    batch = data.draw(st.integers(1, 2), label="sequences")
    Check(tiny, data.draw(scenarios(tiny.num_layers, batch, 7)), LayerReference).run()


def test_hard_scenarios_hold_the_contract(tiny_of) -> None:
    for scenario in hard_scenarios(tiny_of.num_layers).values():
        Check(tiny_of, scenario, LayerReference).run()


@pytest.mark.parametrize("name", QUICK)
@settings(max_examples=2, **UNHURRIED)
@given(data=st.data())
def test_a_few_random_scenarios_hold_the_contract(name: str, data: st.DataObject) -> None:
    _holds(name, data)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
@settings(max_examples=3, **UNHURRIED)
@given(data=st.data())
def test_random_scenarios_hold_the_contract(name: str, data: st.DataObject) -> None:
    _holds(name, data)
