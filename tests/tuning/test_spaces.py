"""Points of a space: every one is flat and whole, and stands for options that the strategy itself accepts."""

import itertools

import numpy as np
import pytest

from lsbench.errors import BadInput
from lsbench.spec import StrategyChoice, parse_strategy
from lsbench.strategy.registry import resolve
from lsbench.tuning.coordinates import holds
from lsbench.tuning.space_building import build_space

LAYERS = 12


def space_of(text: str, **narrowed):
    return build_space(parse_strategy(text), LAYERS, narrowed)


@pytest.mark.parametrize("text", ["static_exit", "dynamic_exit", "dynamic_skip", "self_speculative"])
def test_drawn_points_are_whole_and_their_trials_are_taken_by_the_strategy(text):
    space = space_of(text)
    keys = [dimension.key for dimension in space.dimensions]
    assert len(set(keys)) == len(keys)
    random = np.random.default_rng(3)
    labels = set()
    for _ in range(30):
        point = space.draw_trial(random)
        assert list(point) == keys
        assert all(value is None or isinstance(value, str | int | float) for value in point.values())
        choice = space.to_choice(point)
        resolve(choice).check(LAYERS)
        labels.add(choice.label)
    assert len(labels) > 10


def test_draws_are_seeded():
    space = space_of("self_speculative")
    first, again, other = (space.draw(np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first == again != other


def test_what_does_not_apply_changes_nothing():
    space = space_of("self_speculative")
    point = {**space.start, "draft": "static_exit", "draft.exit_layer@static_exit": 7}
    choice = space.to_choice(point)
    assert choice.options == {"draft": "static_exit", "draft.exit_layer": 7}
    elsewhere = {**point, "draft.confidence@dynamic_exit": "entropy", "draft.rungs@dynamic_skip?": True}
    assert space.to_choice(elsewhere) == choice
    assert space.applicable(elsewhere) == space.applicable(point)
    assert "draft.confidence@dynamic_exit" not in space.applicable(point)


def test_an_option_left_to_its_default_is_not_given():
    space = space_of("dynamic_exit")
    assert space.to_choice(space.start) == StrategyChoice(name="dynamic_exit")
    opened = {**space.start, "threshold?": True, "threshold": 0.654321}
    assert space.to_choice(opened).options == {"threshold": 0.6543}


def test_an_invalid_point_has_a_reason_and_is_no_trial(register):
    from pydantic import model_validator

    from lsbench.strategy import Choice, IntRange, Strategy, StrategyOptions, option

    class Options(StrategyOptions):
        low: int = option(1, help="below high", search=IntRange(1, 6))
        high: int = option(3, help="above low", search=IntRange(1, 6))
        kind: str = option("a", help="which", search=Choice(("a", "b")))

        @model_validator(mode="after")
        def _ordered(self):
            if self.low >= self.high:
                raise ValueError(f"low={self.low} is not below high={self.high}")
            return self

    register("between", type("Between", (Strategy,), {"Options": Options, "policy": lambda s, r: None}))
    space = build_space(StrategyChoice(name="between"), LAYERS)
    wrong = {**space.start, "low": 4, "high": 2}
    assert "low=4 is not below high=2" in (space.refusal(wrong) or "")
    with pytest.raises(BadInput, match="low=4"):
        space.to_choice(wrong)
    grid = list(space.grid(6))
    trials = list(space.trials(grid))
    # low runs to 5 and high from 2: the ends that no setting takes were left out of the space.
    assert (len(grid), len(trials)) == (5 * 5 * 2, 15 * 2)
    assert all(point["low"] < point["high"] for point, _ in trials)
    random = np.random.default_rng(0)
    assert all(space.refusal(space.draw_trial(random)) is None for _ in range(20))


def test_a_space_in_which_nothing_can_run_says_why():
    space = space_of("static_exit")
    impossible = type(space)("static_exit", 0, space.dimensions, space.assignments)
    with pytest.raises(BadInput, match=r"none can run; the last: .*exit_layer"):
        impossible.draw_trial(np.random.default_rng(0))


def test_a_grid_has_every_combination_once_and_follows_conditions():
    space = space_of("static_exit:kv_fill=mask")
    assert [point["exit_layer"] for point in space.grid(3)] == [1, 6, 12]
    drafts = space_of("self_speculative:draft=static_exit,adaptive=false,draft.vocab=full,draft.kv_fill=mask")
    points = list(drafts.grid(3))
    seen = {(p["draft.exit_layer"], p["num_speculations"], p["draft_stop"]) for p in points}
    assert seen == set(itertools.product((1, 6, 12), (1, 6, 12), (0.0, 0.45, 0.9)))
    assert len(points) == len(seen)
    # Left to its default an optional range is one setting, given it is as many as there are points.
    gated = space_of("dynamic_exit:confidence=entropy,kv_fill=mask,threshold_decay=0.1,min_layer=2")
    assert [point["threshold?"] for point in gated.grid(4)] == [False, True, True, True, True]


def test_starting_points_are_trials_and_begin_with_the_default():
    for text in ("static_exit", "dynamic_exit", "dynamic_skip", "self_speculative"):
        space = space_of(text)
        points = space.starting_points(most=6)
        labels = [space.to_choice(point).label for point in points]
        assert 1 < len(points) <= 6
        assert len(set(labels)) == len(labels)
        assert all(point.keys() == space.start.keys() for point in points)
        default = space.default()
        assert (default is None) == (text == "static_exit")
        assert default is None or labels[0] == default.label


def test_every_drafter_and_what_is_handed_in_is_among_the_starting_points():
    space = space_of("self_speculative")
    mine = space.point_of(parse_strategy("self_speculative:draft=static_exit,draft.exit_layer=5"))
    points = space.starting_points([mine], most=8)
    assert points[1] == mine
    assert {point["draft"] for point in points} == {"static_exit", "dynamic_exit", "dynamic_skip"}


def test_corners_lie_a_quarter_along_and_open_one_optional_range_at_a_time():
    space = space_of("self_speculative:draft=static_exit,draft.kv_fill=mask,draft_stop=0")
    corners = {(p["draft.exit_layer"], p["num_speculations"]) for p in space.corners()}
    assert corners == {(9, 9), (9, 4), (4, 9), (4, 4)}
    optional = space_of("dynamic_exit")
    opened = [
        [key for key in point if key.endswith("?") and point[key]]
        for point in optional.corners()
        if point != optional.start
    ]
    assert opened
    assert all(len(gates) == 1 for gates in opened)


@pytest.mark.parametrize("text", ["dynamic_exit", "dynamic_skip", "self_speculative", "hf_prompt_lookup"])
def test_a_choice_leads_back_to_its_point(text):
    space = space_of(text)
    random = np.random.default_rng(1)
    for point in [*space.starting_points(), *(space.draw_trial(random) for _ in range(20))]:
        choice = space.to_choice(point)
        again = space.point_of(choice)
        assert space.to_choice(again) == choice
        assert again.keys() == space.start.keys()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("static_exit:exit_layer=3", "is no dynamic_exit"),
        ("dynamic_exit:threshold=0.1", "threshold is not a number from 0.3 to 1"),
        ("dynamic_exit:kv_fill=mask", "kv_fill is fixed to another value"),
        ("dynamic_exit:candidate_layers=[3]", "it gives candidate_layers"),
    ],
)
def test_a_choice_outside_the_space_is_refused(text, reason):
    with pytest.raises(BadInput, match=reason):
        space_of("dynamic_exit:kv_fill=recompute").point_of(parse_strategy(text))


def test_conditions_stand_after_what_they_depend_on():
    space = space_of("self_speculative")
    before: dict[str, object] = {}
    for dimension in space.dimensions:
        assert all(key in before for key, _ in dimension.when)
        before[dimension.key] = None
    assert holds((), {})
    assert not holds((("draft", "static_exit"),), {"draft": "dynamic_exit"})
