from typing import Literal

import pytest

from lsbench.strategy import (
    Choice,
    Drafters,
    FloatRange,
    IntRange,
    StrategyOptions,
    StrategyReference,
    option,
)
from lsbench.strategy.conformance.values import other_values, out_of_bounds, searched, wrong_types


class Options(StrategyOptions):
    layer: int = option(3, help="a", search=IntRange(1, None), ge=1)
    many: int = option(64, help="a", ge=0, le=1000)
    share: float = option(0.5, help="a", gt=0, lt=1)
    way: Literal["left", "right"] | None = option(None, help="a")
    fast: bool = option(False, help="a")
    file: str = option("auto", help="a", examples=["other"])
    layers: Literal["auto"] | tuple[int, ...] = option("auto", help="a", examples=[[1, 2]])
    draft: StrategyReference = option(help="a")


@pytest.mark.parametrize(
    ("name", "some"),
    [
        ("layer", {1, 2, 3, 4, 5, 6, 7}),
        ("many", {63, 65, 128, 0, 1000}),
        ("share", {0.25, 0.75}),
        ("way", {"left", "right"}),
        ("fast", {True, False}),
        ("file", {"other"}),
        ("draft", {"static_exit", "dynamic_skip"}),
    ],
)
def test_every_type_has_other_values(name, some):
    assert some <= set(other_values(Options, name, 7))


def test_examples_come_first():
    assert other_values(Options, "layers", 7) == ([1, 2], "auto")


def test_a_search_space_is_tried_at_its_ends_and_within():
    assert searched(IntRange(2, 5), 30) == [2, 3, 4, 5]
    assert searched(IntRange(1, None), 30) == [1, 30, 15]
    assert searched(FloatRange(0.2, 0.6), 30) == pytest.approx([0.2, 0.6, 0.4])
    assert searched(Choice(("a", None, 3)), 30) == ["a", None, 3]
    assert {"static_exit", "dynamic_skip"} <= set(searched(Drafters(), 30))


@pytest.mark.parametrize(
    ("name", "outside"), [("layer", [0]), ("many", [-1, 1001]), ("share", [0, 1]), ("way", []), ("fast", [])]
)
def test_what_is_out_of_bounds_is_refused(name, outside):
    found = out_of_bounds(Options.model_fields[name])
    assert sorted(found) == outside
    for value in found:
        with pytest.raises(ValueError, match=name):
            Options.model_validate({"draft": {"name": "static_exit"}, name: value})


def test_a_wrong_type_is_known_where_there_is_one():
    assert wrong_types(Options.model_fields["layer"])
    assert wrong_types(Options.model_fields["way"])
    assert not wrong_types(Options.model_fields["file"])
