"""Faults that show only where several ranks share the model, planted in plugins that are otherwise whole."""

import pytest

FAULTS = {
    "draws how many tokens to draft from a clock": """
import itertools
from lsbench.strategy.drafting import Draft, speculate

class Guess(Draft):
    turns = itertools.count()

    def propose(self, session, last, count, sampler):
        # What a clock says differs between ranks; a counter that they share does for certain.
        for _ in range(1 + next(self.turns) % 3):
            yield Drafted(7)

class Planted(Full):
    def generate(self, session, request):
        yield from speculate(session, request, Guess(), 3)
""",
    "chooses tokens by random numbers without a seed": """
class Planted(Full):
    def generate(self, session, request):
        for emitted in super().generate(session, request):
            yield Emitted((random.randrange(61),), emitted.depth)
""",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_told(verdict, fault) -> None:
    result = verdict("ranks", FAULTS[fault])
    assert result.status == "failed"
    assert "stack.agreement.number" in result.detail
    assert "\n" not in result.detail


def test_what_depth_is_chosen_by_chance_is_rank_0s(verdict) -> None:
    source = """
class Chance(DepthPolicy):
    def should_exit(self, layer, view):
        return random.random() < 0.5

class Planted(Half):
    def policy(self, request):
        return Chance()
"""
    # Ranks agree with one another; that the next process decides otherwise is what "seeds" finds.
    result = verdict("ranks", source)
    assert result.status == "failed"
    assert "rank 0 of 2 gives other tokens than one process" in result.detail


def test_a_plugin_without_a_fault_is_fine(verdict) -> None:
    assert verdict("ranks", "class Planted(Half):\n    pass\n").status == "held"
