"""Members of a batch in a loop of the strategy's own, and in turns."""

import pytest
import torch

from lsbench.strategy import Emitted, Member, Strategy
from lsbench.strategy.members import emissions
from support.requests import generate_request


def batch(*counts):
    """Members without a session, who want so many tokens."""
    return [Member(None, generate_request((place,), count)) for place, count in enumerate(counts)]


class Turns(Strategy):
    """Gives the prompt's token again and again; what was done is told to ``said``."""

    batchable = False

    def __init__(self, said=None, fails=()):
        super().__init__(self.Options())
        self.said, self.fails = [] if said is None else said, fails

    def generate(self, session, request):
        (mine,) = request.prompt_tokens
        if mine in self.fails:
            raise RuntimeError(f"{mine} cannot begin")
        return self._tokens(mine, request)

    def _tokens(self, mine, request):
        try:
            for _ in range(request.max_new_tokens):
                self.said.append((mine, torch.is_inference_mode_enabled()))
                yield Emitted((mine,), None)
        finally:
            self.said.append((mine, "left"))


class Loop(Turns):
    """Gives each its own token, those who have ended included, until told to fail."""

    batchable = True
    fails_at = 10**9
    strays_to = None

    def generate_together(self, members):
        for step in range(max(member.request.max_new_tokens for member in members)):
            if step == self.fails_at:
                raise RuntimeError("out of cheese")
            for place in range(len(members)):
                yield place, Emitted((place,), None)
            if self.strays_to is not None:
                yield self.strays_to, Emitted((0,), None)


def taken(strategy, members, most=None):
    """Who had something in order, each ended at its limit, or after so many."""
    order, counts = [], [0] * len(members)
    for place, said in emissions(strategy, members):
        if isinstance(said, Exception):
            order.append((place, str(said)))
            members[place].ended = True
            continue
        order.append(place)
        counts[place] += 1
        member = members[place]
        member.ended = counts[place] >= min(member.request.max_new_tokens, (most or {}).get(place, 99))
    return order


def test_how_a_strategy_batches_is_told_by_what_it_defines():
    class Alone(Loop):
        batchable = False

    assert [each.batching() for each in (Strategy, Turns, Loop, Alone)] == ["steps", "turns", "loop", "turns"]


def test_turns_go_round_until_each_has_ended():
    assert taken(Turns(), batch(3, 1, 2)) == [0, 1, 2, 0, 2, 0]
    assert taken(Turns(), batch(3, 9, 0), {1: 2}) == [0, 1, 0, 1, 0]
    assert taken(Turns(), []) == []


def test_who_cannot_begin_is_told_so_and_the_others_go_on():
    assert taken(Turns(fails=(1,)), batch(2, 2, 2)) == [0, (1, "1 cannot begin"), 2, 0, 2]


def test_who_has_ended_is_left_at_once_and_each_finds_torch_in_the_same_mode():
    said = []
    taken(Turns(said), batch(2, 1))
    assert said == [(0, True), (1, True), (1, "left"), (0, True), (0, "left")]
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("strategy", [Turns, Loop])
def test_closing_it_unwinds_all_who_are_under_way(strategy):
    said = []
    coming = emissions(strategy(said), batch(3, 3, 3))
    assert [next(coming)[0] for _ in range(5)] == [0, 1, 2, 0, 1]
    coming.close()
    assert [who for who, what in said if what == "left"] == ([0, 1, 2] if strategy is Turns else [])


def test_of_a_loop_who_has_ended_is_passed_over_and_it_ends_with_the_last():
    assert taken(Loop(), batch(3, 1, 2)) == [0, 1, 2, 0, 2, 0]


def test_what_fails_in_a_loop_fails_for_all_who_have_not_ended():
    strategy = Loop()
    strategy.fails_at = 2
    assert taken(strategy, batch(4, 1, 3)) == [0, 1, 2, 0, 2, (0, "out of cheese"), (2, "out of cheese")]


@pytest.mark.parametrize(
    ("stray", "words"), [(-1, "member -1; the batch has 0 to 1"), (2, "member 2"), ("a", "str")]
)
def test_a_loop_that_emits_for_nobody_is_told(stray, words):
    strategy = Loop()
    strategy.strays_to = stray
    first, second, (_, said), _ = taken(strategy, batch(3, 3))
    assert (first, second) == (0, 1)
    assert words in said
