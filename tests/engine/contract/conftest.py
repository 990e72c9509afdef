"""The KV contract's scenarios and its check, for the tests of this folder."""

from __future__ import annotations

from typing import Any

import pytest

from support.kv_contract.check import Check
from support.kv_contract.reference import Decisions, Reference
from support.kv_contract.scenarios import (
    Cut,
    Decided,
    DraftBegun,
    Planned,
    Scenario,
    Scripted,
    Verified,
    hard_scenarios,
    scenarios,
)


@pytest.fixture(scope="session")
def contract() -> Any:
    """``contract.scenarios(layers, batch, most)`` draws one; ``contract.check(tiny, scenario)`` runs it."""

    class Contract:
        Decisions, Reference, Scripted = Decisions, Reference, Scripted
        Planned, Decided, Verified, Cut, Scenario = Planned, Decided, Verified, Cut, Scenario
        DraftBegun = DraftBegun
        scenarios = staticmethod(scenarios)
        hard_scenarios = staticmethod(hard_scenarios)

        @staticmethod
        def check(tiny: Any, scenario: Scenario) -> None:
            Check(tiny, scenario).run()

    return Contract
