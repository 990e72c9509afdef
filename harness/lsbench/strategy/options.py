"""Options of a strategy: a pydantic model whose every field carries bounds, help, and its search space."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from lsbench.option_text import write_value
from lsbench.spec import StrategyChoice
from lsbench.strategy.complaint import complaint

if TYPE_CHECKING:
    from lsbench.strategy import Strategy


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


@dataclass(frozen=True)
class Drafters:
    """Search among the strategies that can draft, whoever registered them; for an option that names one.

    A drafter's own search spaces belong to the search with it, as ``option.key``.
    """

    def names(self) -> tuple[str, ...]:
        """Those that are worth trying here and now: see the registry's ``drafting_strategies``."""
        from lsbench.strategy.registry import drafting_strategies

        return drafting_strategies()


SearchSpace = IntRange | FloatRange | Choice | Drafters


class StrategyReference(StrategyChoice):
    """An option whose value is another strategy: ``draft=NAME,draft.key=value`` for an option ``draft``.

    The registry refuses what the named strategy does not take before anything is made.
    """

    def resolve(self) -> Strategy:
        """The strategy, made.

        Raises:
            BadInput: as the registry's ``resolve``.
        """
        from lsbench.strategy.registry import resolve

        return resolve(self)

    def __str__(self) -> str:
        """As the command line spells it."""
        return self.label


class StrategyOptions(BaseModel):
    """Base of every options model: immutable, unknown keys refused, numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def search_spaces(cls) -> dict[str, SearchSpace]:
        """The search space of each option that has one."""
        return {
            name: cast(SearchSpace, extra["search"])
            for name, extra in cls._declared().items()
            if "search" in extra
        }

    @classmethod
    def reference_fields(cls) -> tuple[str, ...]:
        """The options whose value is another strategy."""
        fields = cls.model_fields.items()
        return tuple(name for name, field in fields if field.annotation is StrategyReference)

    @classmethod
    def cost_only(cls) -> frozenset[str]:
        """The options declared to change what decoding costs and nothing else."""
        return frozenset(name for name, extra in cls._declared().items() if extra.get("changes") == "cost")

    @classmethod
    def _declared(cls) -> dict[str, dict[str, Any]]:
        """What ``option`` noted of each option beside its type, default, help and bounds."""
        extras = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        return {
            name: cast("dict[str, Any]", extra) for name, extra in extras.items() if isinstance(extra, dict)
        }


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


def read_options(
    model: type[StrategyOptions], given: Mapping[str, JsonValue], prefix: str = ""
) -> StrategyOptions:
    """The options that were given, each of exactly its type: ``true`` is no number, ``"4"`` is no number.

    Args:
        model: of the strategy.
        given: by name; an option of a strategy that the option ``draft`` names is ``draft.key``.
        prefix: what stands before every name where a person wrote it, such as ``draft.``.

    Raises:
        OptionError: a value that is ill-typed, out of range or in conflict with another, or one missing.
    """
    folded = dict(given)
    for name in model.reference_fields():
        _fold(model, folded, name, prefix)
    try:
        # Strict JSON tells text, numbers and booleans apart, and takes a list for a tuple.
        return model.model_validate_json(json.dumps(folded), strict=True)
    except ValidationError as error:
        raise OptionError(complaint(error, model.model_fields, given, prefix)) from error


def nested_options(
    model: type[StrategyOptions], given: Mapping[str, JsonValue], name: str
) -> dict[str, JsonValue]:
    """The options of the strategy that the option ``name`` refers to, by their own names.

    An option that ``model`` itself declares as ``draft.key`` is not among them: it is one that any strategy
    referred to is given.
    """
    begin = f"{name}."
    return {
        key.removeprefix(begin): value
        for key, value in given.items()
        if key.startswith(begin) and key not in model.model_fields
    }


def _fold(model: type[StrategyOptions], given: dict[str, JsonValue], name: str, prefix: str) -> None:
    """Put a reference and the options of what it refers to in one place, in ``given`` itself."""
    field = model.model_fields[name]
    options = nested_options(model, given, name)
    for key in options:
        del given[f"{name}.{key}"]
    if name not in given:
        if not options or not isinstance(field.default, StrategyReference):
            return
        given[name] = field.default.name
        options = {**field.default.options, **options}
    strategy = given[name]
    if not isinstance(strategy, str):
        raise OptionError(f"{prefix}{name} must be the name of a strategy, not {write_value(strategy)}")
    given[name] = {"name": strategy, "options": options}
