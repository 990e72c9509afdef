"""Strategies by name: found through the entry-point group ``lsbench.strategies``, loaded on use.

A plugin that fails to load is named with its error and its distribution, and never stops the others.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from pydantic import ValidationError

from lsbench.errors import BadInput, nearest, unknown
from lsbench.spec import StrategyChoice
from lsbench.strategy import Strategy

GROUP = "lsbench.strategies"


@dataclass(frozen=True)
class StrategyEntry:
    """A registered name.

    Attributes:
        name: as users write it.
        distribution: the installed package that registered it, with its version.
        target: ``module:Class``.
        strategy: the class, or None when it cannot be used.
        error: why it cannot be used, in one line, or None.
    """

    name: str
    distribution: str
    target: str
    strategy: type[Strategy] | None
    error: str | None


def strategy_names() -> tuple[str, ...]:
    """Every registered name, sorted; nothing is imported."""
    return tuple(sorted(_registered()))


def list_strategies() -> tuple[StrategyEntry, ...]:
    """Every registered strategy, loaded; the broken ones carry their error."""
    return tuple(_load(name, found) for name, found in sorted(_registered().items()))


def load_strategy(name: str) -> type[Strategy]:
    """The class registered as ``name``.

    Raises:
        BadInput: unknown name, a plugin that fails to load, or a name that two packages took.
    """
    registered = _registered()
    if name not in registered:
        raise unknown("strategy", name, registered)
    entry = _load(name, registered[name])
    if entry.strategy is None:
        raise BadInput(f"Strategy {name!r} of {entry.distribution} cannot be used: {entry.error}")
    return entry.strategy


def resolve(choice: StrategyChoice) -> Strategy:
    """A strategy with its options checked; no model is needed.

    Raises:
        BadInput: unknown name or option (with the nearest valid one), or a value out of range or ill-typed.
    """
    strategy = load_strategy(choice.name)
    model = strategy.Options
    for key in choice.options:
        if key not in model.model_fields:
            close = nearest(key, model.model_fields)
            hint = f" Did you mean {close!r}?" if close else ""
            known = ", ".join(model.model_fields) or "none"
            raise BadInput(f"Strategy {choice.name!r} has no option {key!r}.{hint} Its options: {known}.")
    try:
        options = model.model_validate(choice.options)
    except ValidationError as error:
        raise BadInput(f"--strategy {choice.name}: {_explain(error, choice)}") from error
    return strategy(options)


def _registered() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry_point in entry_points(group=GROUP):
        # The same distribution may be seen twice (an editable install beside its metadata folder).
        if all(other.value != entry_point.value for other in found[entry_point.name]):
            found[entry_point.name].append(entry_point)
    return dict(found)


def _load(name: str, found: list[EntryPoint]) -> StrategyEntry:
    distribution = " and ".join(_distribution(entry_point) for entry_point in found)
    target = " and ".join(entry_point.value for entry_point in found)
    if len(found) > 1:
        error = f"the name is registered twice, by {distribution}; uninstall one of them"
        return StrategyEntry(name, distribution, target, None, error)
    try:
        loaded: object = found[0].load()
    except Exception as failure:  # whatever a third party's import may raise must not stop the others
        return StrategyEntry(name, distribution, target, None, f"{type(failure).__name__}: {_line(failure)}")
    if not (isinstance(loaded, type) and issubclass(loaded, Strategy)):
        return StrategyEntry(name, distribution, target, None, f"{target} is not a subclass of Strategy")
    options: object = getattr(loaded, "Options", None)
    if not (isinstance(options, type) and hasattr(options, "search_spaces")):
        return StrategyEntry(name, distribution, target, None, f"{target}.Options is not a StrategyOptions model")
    return StrategyEntry(name, distribution, target, loaded, None)


def _distribution(entry_point: EntryPoint) -> str:
    dist = entry_point.dist
    return f"{dist.name} {dist.version}" if dist is not None else "an unknown package"


def _explain(error: ValidationError, choice: StrategyChoice) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][:1]) or "options"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"option {where!r} is required"
    if not first["loc"]:
        return message
    return f"option {where!r}: {message} (got {choice.options.get(where)!r})"


def _line(failure: Exception) -> str:
    return (str(failure).strip().splitlines() or ["no message"])[0]
