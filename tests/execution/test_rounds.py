import pytest

from lsbench.execution.rounds import shortest


class Watch:
    """A clock that stands still unless it is moved."""

    def __init__(self):
        self.now = 0

    def now_ns(self):
        return self.now


@pytest.fixture
def watch():
    return Watch()


def taking(watch, *nanoseconds):
    """Something that takes each of these in turn, the last of them for ever."""
    left, calls = list(nanoseconds), []

    def run():
        calls.append(1)
        watch.now += left.pop(0) if len(left) > 1 else left[0]

    run.calls = calls
    return run


def test_the_shortest_counts_and_the_first_does_not(watch):
    runs = {"a": taking(watch, 1, 900, 300, 500, 400), "b": taking(watch, 1, 50, 80)}
    assert shortest(runs, watch, 0) == {"a": 300 / 1e9, "b": 50 / 1e9}


def test_things_take_turns_and_are_undone_untimed(watch):
    order = []
    runs = {name: lambda name=name: order.append(name) for name in "ab"}

    def undo():
        order.append("undo")
        watch.now += 5000

    assert shortest(runs, watch, 0, undo) == {"a": 0, "b": 0}
    assert order == ["a", "undo", "b", "undo"] * 4


@pytest.mark.parametrize(("budget_s", "times"), [(0, 4), (10.5e-6, 12), (1e9, 41)])
def test_it_goes_on_until_the_budget_is_spent(watch, budget_s, times):
    run = taking(watch, 1000)
    shortest({"a": run}, watch, budget_s)
    assert len(run.calls) == times


def test_who_shares_a_model_ends_after_the_round_that_rank_0_says(watch):
    told = []
    runs = {"a": taking(watch, 5)}
    shortest(runs, watch, 0, is_enough=lambda enough: told.append(enough) or len(told) == 6)
    assert len(runs["a"].calls) == len(told) == 6
    assert told == [False] * 3 + [True] * 3
