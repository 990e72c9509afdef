"""Options of a strategy: a pydantic model whose every field carries bounds, help, and its search space."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from lsbench.strategy.complaint import complaint


@dataclass(frozen=True)
class IntRange:
    """Search whole numbers from ``low`` to ``high``, both included; None is the model's number of layers."""

    low: int
    high: int | None


@dataclass(frozen=True)
class FloatRange:
    """Search numbers from ``low`` to ``high``."""

    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """Search among ``values``."""

    values: tuple[str | int | float | bool | None, ...]


SearchSpace = IntRange | FloatRange | Choice


class StrategyOptions(BaseModel):
    """Base of every options model: immutable, unknown keys refused, numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def search_spaces(cls) -> dict[str, SearchSpace]:
        """The search space of each option that has one."""
        spaces: dict[str, SearchSpace] = {}
        for name, field in cls.model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and "search" in extra:
                spaces[name] = cast(SearchSpace, extra["search"])
        return spaces

    @classmethod
    def cost_only(cls) -> frozenset[str]:
        """The options declared to change what decoding costs and nothing else."""
        found: set[str] = set()
        for name, field in cls.model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and extra.get("changes") == "cost":
                found.add(name)
        return frozenset(found)


def option(
    default: Any = PydanticUndefined,
    *,
    help: str,
    search: SearchSpace | None = None,
    examples: Sequence[JsonValue] = (),
    changes: Literal["output", "cost"] = "output",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> Any:
    """Declare an option.

    Args:
        default: its value when the user gives none; leave it out to make the option required.
        help: one line for ``lsbench ls strategies``.
        search: where ``lsbench tune`` looks; None keeps the option fixed.
        examples: values worth trying. ``lsbench check-strategy`` changes every option to see that it acts,
            and needs them where neither the type nor ``search`` says what else it could be.
        changes: ``cost`` declares that the option never changes tokens, scores, depth or drafts, only what
            they cost (``lsbench check-strategy`` then holds it to that).
        ge, gt, le, lt: bounds.
    """
    extra: dict[str, Any] = {} if search is None else {"search": search}
    if changes == "cost":
        extra["changes"] = changes
    field: FieldInfo = Field(
        default,
        description=help,
        examples=list(examples) or None,
        json_schema_extra=extra or None,
        ge=ge,
        gt=gt,
        le=le,
        lt=lt,
    )
    return field


class OptionError(ValueError):
    """A value that an option does not take; the text says in one line what it would take."""


def read_options(model: type[StrategyOptions], given: Mapping[str, JsonValue]) -> StrategyOptions:
    """The options that were given, each of exactly its type: ``true`` is no number, ``"4"`` is no number.

    Raises:
        OptionError: a value that is ill-typed, out of range or in conflict with another, or one missing.
    """
    try:
        # Strict JSON tells text, numbers and booleans apart, and takes a list for a tuple.
        return model.model_validate_json(json.dumps(dict(given)), strict=True)
    except ValidationError as error:
        raise OptionError(complaint(error, model.model_fields, given)) from error
