"""Tree-structured Parzen estimators, through Ray Tune's HyperOpt search."""

import pytest

from lsbench.spec import StrategyChoice, parse_strategy
from lsbench.tuning.proposals import Proposals
from lsbench.tuning.searchers import Drawn, TreeParzen
from lsbench.tuning.skip_sets import SkipSets, ranking
from lsbench.tuning.space_building import build_space

pytestmark = pytest.mark.slow  # Ray Tune takes seconds to import

LAYERS = 10
IDLE = {3, 5, 6}
"""Layers that change nothing, so that a draft should leave out just these."""
FIXED = (
    "dynamic_skip:difficulty=previous_entropy,max_skip_ratio=0.9,granularity=sublayer,"
    "rungs=1,kv_fill=propagate"
)


def quality_speed(choice: StrategyChoice) -> float:
    """What a draft that leaves these parts out would bring, an MLP weighing twice an attention."""
    parts = [str(item).split(".") for item in choice.options["skip_set"]]
    saved = sum(2 if kind == "mlp" else 1 for _, kind in parts) / (3 * LAYERS)
    agreement = 0.9 ** sum(int(layer) not in IDLE for layer, _ in parts)
    tokens = sum(agreement**place for place in range(5))
    return tokens / (4 * (1 - saved) + 1)


@pytest.fixture(scope="module")
def space():
    # Influence that misleads: every part looks alike, so that the order tells nothing.
    parts = [
        (f"{layer}.{kind}", weight, weight)
        for layer in range(LAYERS, 1, -1)
        for kind, weight in (("mlp", 2.0), ("attention", 1.0))
    ]
    return build_space(parse_strategy(FIXED), LAYERS, skip_sets=SkipSets(ranking(parts), "choices", 0.85))


def best_of(searcher, space, trials=36):
    proposals = Proposals(space, searcher, [], trials)
    best = 0.0
    while (proposal := proposals.next()) is not None:
        value = quality_speed(proposal.choice)
        proposals.tell(proposal.number, value)
        best = max(best, value)
    return best


def test_it_finds_better_skip_sets_than_drawing_does(space):
    seeds = range(2)
    learned = [best_of(TreeParzen(space, seed, 10), space) for seed in seeds]
    drawn = [best_of(Drawn(space, seed), space) for seed in seeds]
    assert min(learned) > max(drawn)


def test_what_is_proposed_follows_from_seed_number_and_what_is_known(space):
    known = [(space.start, 1.0), ({**space.start, space.dimensions[0].key: True}, 2.0)]
    first = next(TreeParzen(space, 3, 1).propose(known, 2))
    assert next(TreeParzen(space, 3, 1).propose(known, 2)) == first
    others = [next(TreeParzen(space, seed, 9).propose(known, 2)) for seed in range(4, 9)]
    assert any(other != first for other in others)


def test_points_of_every_kind_come_back_as_they_went():
    space = build_space(StrategyChoice(name="self_speculative"), LAYERS)
    searcher = TreeParzen(space, 0, 1)
    known = [(point, float(place)) for place, point in enumerate(space.starting_points())]
    for place in range(4):
        point = next(searcher.propose(known, len(known)))
        assert space.point_of(space.to_choice(point)) if space.refusal(point) is None else True
        known.append((point, float(place)))
    with pytest.raises(ValueError, match="learns nothing"):
        next(searcher.propose([(space.start, float("nan"))], 1))


def test_what_follows_hyperopts_own_proposal_lies_near_the_best_that_is_known(space):
    worse = dict.fromkeys(space.start, True)
    points = TreeParzen(space, 0, 1).propose([(worse, 0.5), (space.start, 1.0)], 2)
    next(points)
    near = [
        sum(space.start[key] != point[key] for key in space.start)
        for point, _ in zip(points, range(10), strict=False)
    ]
    assert set(near) == {0, 1}
