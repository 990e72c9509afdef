"""What a search tries, with a searcher that says what the test wants."""

from itertools import chain

import pytest

from lsbench.spec import StrategyChoice, parse_strategy
from lsbench.tuning.proposals import Proposals
from lsbench.tuning.searchers import Drawn, Grid
from lsbench.tuning.skip_sets import SkipSets, ranking
from lsbench.tuning.space_building import build_space
from support.tune_folder import trial

LAYERS = 6


@pytest.fixture(scope="module")
def space():
    return build_space(StrategyChoice(name="static_exit"), LAYERS)


def point(layer, fill="recompute"):
    return {"exit_layer": layer, "kv_fill": fill}


class Says:
    """Proposes these points, whatever is known, and remembers what was."""

    def __init__(self, *points):
        self.points = points
        self.known = []

    def propose(self, known, number):
        self.known.append(list(known))
        return iter(self.points)


def told(number, layer, value, **changes):
    where = point(layer)
    return trial(
        number, f"static_exit:exit_layer={layer}", kind="predicted", point=where, objective=value, **changes
    )


def all_of(proposals, value=lambda choice: 1.0):
    found = []
    while (proposal := proposals.next()) is not None:
        found.append(proposal)
        proposals.tell(proposal.number, value(proposal.choice))
    return found


def test_what_cannot_run_or_was_tried_is_no_trial(space):
    searcher = Says(point(3), point(99), point(3), point(4), point(4, "mask"), point(3, "mask"))
    found = all_of(Proposals(space, searcher, [point(2)], most=10))
    assert [each.choice.label for each in found] == [
        "static_exit:exit_layer=2",
        "static_exit:exit_layer=3",
        "static_exit:exit_layer=4",
        "static_exit:exit_layer=4,kv_fill=mask",
        "static_exit:exit_layer=3,kv_fill=mask",
    ]
    assert [each.number for each in found] == [0, 1, 2, 3, 4]
    assert [each.origin for each in found] == ["start", *["searcher"] * 4]


def test_there_are_no_more_trials_than_were_asked_for(space):
    assert len(all_of(Proposals(space, Drawn(space, 0), (), most=4))) == 4


def test_the_searcher_knows_what_came_of_all_that_was_tried(space):
    searcher = Says(point(5), point(6))
    proposals = Proposals(space, searcher, [point(2), point(3)], most=4)
    all_of(proposals, lambda choice: float(choice.options["exit_layer"]))
    assert searcher.known[-1] == [(point(2), 2.0), (point(3), 3.0), (point(5), 5.0)]


def test_what_is_still_being_tried_is_not_known_and_not_proposed_again(space):
    searcher = Says(point(5), point(6))
    proposals = Proposals(space, searcher, [], most=4)
    first, second = proposals.next(), proposals.next()
    assert (first.point, second.point) == (point(5), point(6))
    assert searcher.known == [[], []]


def test_the_default_comes_first_even_outside_the_space(space):
    default = parse_strategy("static_exit:exit_layer=6,kv_fill=mask")
    narrowed = build_space(parse_strategy("static_exit:kv_fill=recompute"), LAYERS)
    first = Proposals(narrowed, Says(), [], most=3, default=default).next()
    assert (first.choice, first.origin, first.point) == (default, "default", {})
    inside = Proposals(space, Says(), [], most=3, default=default).next()
    assert inside.point == point(6, "mask")


def test_a_default_that_leaves_to_itself_what_the_space_decides_lies_nowhere():
    skip_sets = SkipSets(ranking([("2.mlp", 1.0, 1.0), ("3.mlp", 2.0, 1.0)]), "choices")
    space = build_space(StrategyChoice(name="dynamic_skip"), LAYERS, skip_sets=skip_sets)
    first = Proposals(space, Says(), [], most=3, default=space.default()).next()
    assert "skip_set" not in first.choice.options
    assert None not in first.choice.options.values()
    assert first.point == {}


def test_earlier_trials_are_known_and_not_repeated_and_a_gap_is_filled_first(space):
    searcher = Says(point(2), point(3), point(4), point(5))
    earlier = [told(0, 2, 0.5), told(2, 4, 0.7)]
    proposals = Proposals(space, searcher, [], most=4, earlier=earlier)
    found = all_of(proposals)
    assert [(each.number, each.point["exit_layer"]) for each in found] == [(1, 3), (3, 5)]
    assert searcher.known[0] == [(point(2), 0.5), (point(4), 0.7)]


def test_after_the_end_nothing_is_proposed(space):
    proposals = Proposals(space, Drawn(space, 0), [], most=5)
    proposals.next()
    proposals.end()
    assert proposals.next() is None


def test_a_grid_ends_when_all_was_tried(space):
    found = all_of(Proposals(space, Grid(space, 3), [], most=100, origin="grid"))
    assert len(found) == 9
    assert len({each.choice.label for each in found}) == 9
    assert {each.origin for each in found} == {"grid"}


def test_random_points_follow_from_seed_and_number_alone(space):
    def labels(seed, known=()):
        return [next(iter(Drawn(space, seed).propose(known, number))) for number in range(8)]

    assert labels(1) == labels(1, [(point(2), 1.0)])
    assert labels(1) != labels(2)
    drawn = chain.from_iterable(each.items() for each in labels(1))
    assert len({value for key, value in drawn if key == "exit_layer"}) > 1
