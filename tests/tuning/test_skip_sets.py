"""Skip sets as coordinates: beginnings of a ranking, or each part by itself."""

import numpy as np
import pytest

from lsbench.errors import BadInput
from lsbench.spec import parse_strategy
from lsbench.tuning.domains import Among, Whole
from lsbench.tuning.skip_sets import Ranked, SkipSets, ranking
from lsbench.tuning.space_building import build_space

LAYERS = 6
# An MLP weighs three times an attention here; layer 3 matters least.
PARTS = [
    (f"{layer}.{part}", 0.1 + 0.2 * abs(layer - 3) + (0.05 if part == "mlp" else 0.0), weight)
    for layer in range(1, LAYERS + 1)
    for part, weight in (("attention", 1.0), ("mlp", 3.0))
]
RANKED = ranking(PARTS)


def test_the_ranking_is_by_influence_per_byte():
    assert ranking([("1", 0.2, 1.0), ("2", 0.3, 3.0), ("3", 0.1, 1.0)]) == (
        Ranked("2", 0.3, 3.0),
        Ranked("3", 0.1, 1.0),
        Ranked("1", 0.2, 1.0),
    )
    assert [each.item for each in RANKED[:3]] == ["3.mlp", "3.attention", "2.mlp"]


def test_candidates_weigh_no_more_than_asked():
    total = sum(part[2] for part in PARTS)
    for most in (0.05, 0.2, 0.5, 1.0):
        chosen = SkipSets(RANKED, most=most).candidates
        assert chosen == RANKED[: len(chosen)]
        assert sum(each.weight_bytes for each in chosen) <= most * total or len(chosen) == 1
    assert SkipSets(RANKED, most=1.0).candidates == RANKED


def test_a_ladder_is_one_coordinate():
    space = build_space(parse_strategy("dynamic_skip"), LAYERS, skip_sets=SkipSets(RANKED, "ladder"))
    keys = [d.key for d in space.dimensions if d.option == "skip_set"]
    assert keys == ["skip_set:parts"]
    found = space.to_choice({**space.start, "skip_set:parts": 3}).options["skip_set"]
    assert found == ["3.mlp", "3.attention", "2.mlp"]
    # Layer by layer these parts cannot be left out, so that the option is settled.
    assert "granularity" not in [d.key for d in space.dimensions]


def test_choices_decide_on_each_part_in_the_order_of_leaving_out():
    space = build_space(parse_strategy("dynamic_skip"), LAYERS, skip_sets=SkipSets(RANKED, "choices"))
    point = {**space.start, **{d.key: False for d in space.dimensions if d.option == "skip_set"}}
    assert "nothing would be left out" in (space.refusal(point) or "")
    point |= {"skip_set:2.mlp": True, "skip_set:3.mlp": True}
    assert space.to_choice(point).options["skip_set"] == ["3.mlp", "2.mlp"]
    random = np.random.default_rng(0)
    sets = {str(space.to_choice(space.draw_trial(random)).options["skip_set"]) for _ in range(30)}
    assert len(sets) > 10


def test_a_drafts_skip_set_is_searched_where_it_is_the_draft():
    space = build_space(parse_strategy("self_speculative"), LAYERS, skip_sets=SkipSets(RANKED, "ladder"))
    (parts,) = [d for d in space.dimensions if d.option == "draft.skip_set"]
    assert parts.domain == Whole(1, len(SkipSets(RANKED).candidates))
    assert parts.when == (("draft", "dynamic_skip"),)
    skipping = space.to_choice({**space.start, "draft": "dynamic_skip", parts.key: 1})
    assert skipping.options["draft.skip_set"] == ["3.mlp"]
    static = space.to_choice({**space.start, "draft": "static_exit"})
    assert "draft.skip_set" not in static.options


def test_beginnings_of_the_ranking_start_the_search():
    space = build_space(parse_strategy("dynamic_skip"), LAYERS, skip_sets=SkipSets(RANKED, "choices"))
    starts = [space.to_choice(point).options["skip_set"] for point in space.starting_points(most=4)]
    for found in starts:
        assert found == [each.item for each in RANKED[: len(found)]]
    assert len({len(found) for found in starts}) > 1


def test_a_skip_set_leads_back_to_its_point():
    for form in ("ladder", "choices"):
        space = build_space(parse_strategy("dynamic_skip"), LAYERS, skip_sets=SkipSets(RANKED, form))
        point = space.point_of(parse_strategy("dynamic_skip:skip_set=[3.mlp,3.attention]"))
        assert space.to_choice(point).options["skip_set"] == ["3.mlp", "3.attention"]
        with pytest.raises(BadInput, match="skip_set is"):
            space.point_of(parse_strategy("dynamic_skip:skip_set=[6.attention]"))


def test_a_skip_set_that_is_fixed_or_narrowed_is_not_searched():
    sets = SkipSets(RANKED, "choices")
    fixed = build_space(parse_strategy("dynamic_skip:skip_set=[3.mlp,3.attention]"), LAYERS, skip_sets=sets)
    assert not [d for d in fixed.dimensions if d.option == "skip_set"]
    given = {"skip_set": Among(("auto", ["3.mlp"]))}
    narrowed = build_space(parse_strategy("dynamic_skip"), LAYERS, given, sets)
    assert [d.domain for d in narrowed.dimensions if d.option == "skip_set"] == [given["skip_set"]]
