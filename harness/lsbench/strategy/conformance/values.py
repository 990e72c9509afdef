"""Other values that an option could have: from its search space, its examples, its type and its bounds."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Any, Literal, Union, cast, get_args, get_origin

from pydantic import JsonValue
from pydantic.fields import FieldInfo

from lsbench.strategy.options import Choice, Drafters, FloatRange, IntRange, SearchSpace, StrategyOptions
from lsbench.strategy.registry import strategy_names

_FEW = 8
"""A range of so few whole numbers is tried number by number."""


def other_values(model: type[StrategyOptions], name: str, num_layers: int) -> tuple[JsonValue, ...]:
    """Values to change an option to, the most telling first; some may be refused.

    Args:
        model: the strategy's options.
        name: one of them.
        num_layers: L of the model at hand, the end of ranges that are open.
    """
    field = model.model_fields[name]
    found: list[JsonValue] = list(cast("list[JsonValue]", field.examples or []))
    space = model.search_spaces().get(name)
    if space is not None:
        found += searched(space, num_layers)
    if name in model.reference_fields():
        found += strategy_names()
    for argument in _alternatives(field.annotation):
        found += _of_type(argument, field)
    return _distinct(found)


def searched(space: SearchSpace, num_layers: int) -> list[JsonValue]:
    """The ends of a search space and something between them; all of those to choose from."""
    match space:
        case Choice(values=values):
            return list(values)
        case Drafters():
            return list(space.names())
        case FloatRange(low=low, high=high):
            return [low, high, low + (high - low) / 2]
        case IntRange(low=low, high=end):
            high = num_layers if end is None else end
            if high - low <= _FEW:
                return list(range(low, high + 1))
            return [low, high, (low + high) // 2]


def out_of_bounds(field: FieldInfo) -> list[JsonValue]:
    """The nearest numbers that an option's declared bounds leave out."""
    numbers = {int, float} & set(_alternatives(field.annotation))
    if not numbers:
        return []
    step = 1 if int in numbers else 1e-6
    found: list[JsonValue] = []
    for item in field.metadata:
        for bound, outside in (("ge", -step), ("gt", 0), ("le", step), ("lt", 0)):
            if hasattr(item, bound):
                found.append(getattr(item, bound) + outside)
    return found


def wrong_types(field: FieldInfo) -> list[JsonValue]:
    """Values of a type that an option does not have; nothing where any text will do."""
    kinds = _alternatives(field.annotation)
    if str in kinds or Any in kinds:
        return []
    return ["no such value"]


def _alternatives(annotation: object) -> list[object]:
    """The members of a union, or the one type."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [part for argument in get_args(annotation) for part in _alternatives(argument)]
    return [annotation]


def _of_type(annotation: object, field: FieldInfo) -> list[JsonValue]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if annotation is bool:
        return [True, False]
    if annotation is not int and annotation is not float:
        return []
    bounds = [
        getattr(item, bound)
        for item in field.metadata
        for bound in ("ge", "gt", "le", "lt")
        if hasattr(item, bound)
    ]
    given: object = field.default
    default = given if isinstance(given, int | float) and not isinstance(given, bool) else None
    if annotation is int:
        near = [default + 1, default - 1, 2 * default] if default is not None else [1, 2]
        return [int(value) for value in (*near, *bounds)]
    near = [default / 2, 2 * default, (default + 1) / 2] if default is not None else [0.5]
    middle = [sum(bounds) / 2] if len(bounds) == 2 else []
    return [float(value) for value in (*near, *middle, *bounds)]


def _distinct(values: Iterable[JsonValue]) -> tuple[JsonValue, ...]:
    """In order, each once; ``1`` and ``True`` are different values."""
    return tuple({repr(value): value for value in values}.values())
