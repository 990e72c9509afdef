"""Options: what each type takes, said in words a person can act on."""

import math
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError, field_validator, model_validator

from lsbench.strategy import Choice, FloatRange, IntRange, StrategyOptions, option
from lsbench.strategy.options import OptionError, read_options


class Every(StrategyOptions):
    """One option of each kind."""

    whole: int = option(3, help="h", search=IntRange(1, None), ge=1)
    bounded: int = option(3, help="h", ge=1, le=8)
    few: int = option(3, help="h", le=8)
    share: float | None = option(None, help="h", search=FloatRange(0.1, 0.5), gt=0, lt=1)
    flag: bool = option(False, help="h", search=Choice((True, False)))
    word: str = option("x", help="h")
    fill: Literal["recompute", "propagate", "mask"] = option("mask", help="h")
    maybe: Literal["auto", 2] = option("auto", help="h")
    numbers: Literal["auto"] | tuple[float, ...] = option("auto", help="h")
    layers: tuple[int, ...] = option((), help="h")
    mixed: Literal["auto"] | tuple[int | str, ...] | str = option("auto", help="h")
    inner: tuple[Annotated[int, Field(ge=1)], ...] = option((), help="h")
    table: dict[str, int] = option({}, help="h")
    checked: int = option(2, help="h")

    @field_validator("checked")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("only even numbers halve")
        assert value < 100, "too large"
        return value

    @model_validator(mode="after")
    def _together(self) -> "Every":
        if self.few == 1 and self.flag:
            raise ValueError("few=1 has no effect with flag=true")
        return self


class Required(StrategyOptions):
    """One that must be given."""

    depth: int = option(help="how deep", ge=1)


def complaint(model: type[StrategyOptions], **given: Any) -> str:
    with pytest.raises(OptionError) as caught:
        read_options(model, given)
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"whole": "abc"}, "whole must be a whole number of at least 1, not abc"),
        ({"whole": 0}, "whole must be a whole number of at least 1, not 0"),
        ({"whole": 2.5}, "whole must be a whole number of at least 1, not 2.5"),
        ({"whole": True}, "whole must be a whole number of at least 1, not true"),
        ({"whole": None}, "whole must be a whole number of at least 1, not null"),
        ({"whole": ""}, 'whole must be a whole number of at least 1, not ""'),
        ({"whole": "4"}, 'whole must be a whole number of at least 1, not "4"'),
        ({"whole": [1]}, "whole must be a whole number of at least 1, not [1]"),
        ({"bounded": 9}, "bounded must be a whole number from 1 to 8, not 9"),
        ({"few": 9}, "few must be a whole number of at most 8, not 9"),
        ({"share": 1}, "share must be a number above 0 and below 1, not 1"),
        ({"share": "much"}, "share must be a number above 0 and below 1, not much"),
        ({"share": math.nan}, "share must be a number above 0 and below 1, not .nan"),
        ({"share": math.inf}, "share must be a number above 0 and below 1, not .inf"),
        ({"share": True}, "share must be a number above 0 and below 1, not true"),
        ({"flag": "on"}, "flag must be true or false, not on"),
        ({"flag": 1}, "flag must be true or false, not 1"),
        ({"word": 3}, "word must be text, not 3"),
        (
            {"fill": "propogate"},
            "fill must be recompute, propagate or mask, not propogate. Did you mean propagate?",
        ),
        ({"fill": 3}, "fill must be recompute, propagate or mask, not 3"),
        ({"maybe": 3}, "maybe must be auto or 2, not 3"),
        ({"numbers": "autoo"}, "numbers must be auto or a list of numbers, not autoo. Did you mean auto?"),
        ({"numbers": 0.3}, "numbers must be auto or a list of numbers, not 0.3"),
        ({"numbers": [0.3, "a"]}, "numbers must be auto or a list of numbers, not [0.3,a]"),
        ({"numbers": [math.nan]}, "numbers must be auto or a list of numbers, not [.nan]"),
        ({"layers": [1, 2.5]}, "layers must be a list of whole numbers, not [1,2.5]"),
        ({"layers": [True]}, "layers must be a list of whole numbers, not [true]"),
        ({"mixed": [1.5]}, "mixed must be auto, a list of whole numbers or texts, or text, not [1.5]"),
        ({"mixed": {"a": 1}}, 'mixed must be auto, a list of whole numbers or texts, or text, not {"a": 1}'),
        ({"inner": [0]}, "inner must be a list of whole numbers of at least 1, not [0]"),
        ({"checked": 3}, "checked=3: only even numbers halve"),
        ({"checked": 100}, "checked=100: too large"),
        ({"few": 1, "flag": True}, "few=1 has no effect with flag=true"),
    ],
)
def test_a_wrong_value_is_answered_with_what_would_be_right(given: dict[str, Any], says: str) -> None:
    assert complaint(Every, **given) == says


def test_a_type_without_words_still_gets_one_line() -> None:
    message = complaint(Every, table={"a": "b"})
    assert message.startswith("table: ")
    assert "\n" not in message


def test_a_long_value_is_cut() -> None:
    assert len(complaint(Every, whole="x" * 10_000)) < 200


def test_a_missing_option_is_named_with_its_help() -> None:
    assert complaint(Required) == "depth is required (how deep)"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"whole": 1, "share": 0.5, "flag": True, "word": "on", "fill": "recompute", "maybe": 2},
        {"share": None, "numbers": [0.1, 1], "layers": [], "mixed": [12, "13.mlp"], "table": {"a": 1}},
        {"mixed": "file.yaml"},
    ],
)
def test_right_values_are_taken(given: dict[str, Any]) -> None:
    options = read_options(Every, given)
    for key, value in given.items():
        assert getattr(options, key) == (tuple(value) if isinstance(value, list) else value)


def test_options_never_change() -> None:
    options = read_options(Every, {})
    with pytest.raises(ValidationError):
        options.whole = 4  # type: ignore[attr-defined]


def test_search_spaces_are_those_declared() -> None:
    assert Every.search_spaces() == {
        "whole": IntRange(1, None),
        "share": FloatRange(0.1, 0.5),
        "flag": Choice((True, False)),
    }
