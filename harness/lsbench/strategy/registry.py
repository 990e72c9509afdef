"""Strategies by name: found through the entry-point group ``lsbench.strategies``, loaded on use.

A plugin that fails to load is named with its error and its distribution, and never stops the others.
"""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import cast

from pydantic import JsonValue

from lsbench.errors import BadInput, LsbenchError, nearest, unknown
from lsbench.spec import StrategyChoice
from lsbench.strategy import Strategy
from lsbench.strategy.options import (
    OptionError,
    StrategyOptions,
    StrategyReference,
    nested_options,
    read_options,
)

GROUP = "lsbench.strategies"
_TARGET = re.compile(r"[\w.]+:[\w.]+")


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


def drafting_strategies() -> tuple[str, ...]:
    """The strategies that another may draft with and gain by it, and that can be searched.

    Left out are those that follow a policy and claim to be lossless, which run the whole model for every
    token, and those with a required option that has no search space.
    """
    return tuple(
        entry.name
        for entry in list_strategies()
        if entry.strategy is not None
        and entry.strategy.can_draft()
        and (entry.strategy.draft is not Strategy.draft or not entry.strategy.lossless)
        and _searchable(entry.strategy.Options)
    )


def _searchable(options: type[StrategyOptions]) -> bool:
    spaces = options.search_spaces()
    return all(name in spaces for name, field in options.model_fields.items() if field.is_required())


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
    known = _option_names(choice.name, choice.options)
    for key in choice.options:
        if key not in known:
            close = nearest(key, known)
            hint = f" Did you mean {close!r}?" if close else ""
            listed = ", ".join(known) or "none"
            raise BadInput(f"Strategy {choice.name!r} has no option {key!r}.{hint} Its options: {listed}.")
    strategy, options = _checked(choice, "", choice.name)
    try:
        return strategy(options)
    except LsbenchError:
        raise
    except Exception as failure:  # a third party's constructor
        raise BadInput(f"Strategy {choice.name!r} cannot be made: {_line(failure)}") from failure


def _option_names(name: str, given: Mapping[str, JsonValue]) -> list[str]:
    """Every option there is to give to a strategy, those of the strategies that its options name included."""
    model = load_strategy(name).Options
    names = list(model.model_fields)
    for reference in model.reference_fields():
        default = model.model_fields[reference].default
        named = given.get(reference, default.name if isinstance(default, StrategyReference) else None)
        if isinstance(named, str):
            inner = _option_names(named, nested_options(model, given, reference))
            names.extend(f"{reference}.{key}" for key in inner)
    return names


def _checked(choice: StrategyChoice, prefix: str, asked: str) -> tuple[type[Strategy], StrategyOptions]:
    """The class and its options, after those of every strategy that it refers to were checked too.

    Args:
        choice: what to check; its options' names are known.
        prefix: what stands before them where a person wrote them.
        asked: the strategy that the person named.
    """
    strategy = load_strategy(choice.name)
    try:
        options = read_options(strategy.Options, choice.options, prefix)
    except OptionError as error:
        raise BadInput(f"--strategy {asked}: {error}") from error
    for name in strategy.Options.reference_fields():
        _checked(cast(StrategyReference, getattr(options, name)), f"{prefix}{name}.", asked)
    return strategy, options


def _registered() -> dict[str, list[EntryPoint]]:
    return _installed(tuple((folder, _changed(folder)) for folder in sys.path))


@lru_cache(maxsize=1)
def _installed(_where: tuple[tuple[str, int], ...]) -> dict[str, list[EntryPoint]]:
    """What is installed where ``_where`` says: a look-up reads the metadata of every package there is."""
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry_point in entry_points(group=GROUP):
        found[entry_point.name].append(entry_point)
    return dict(found)


def _changed(folder: str) -> int:
    """When something was last put in or taken out, in nanoseconds; 0 where there is no such folder."""
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return 0


def _load(name: str, found: list[EntryPoint]) -> StrategyEntry:
    distribution = " and ".join(_distribution(entry_point) for entry_point in found)
    target = " and ".join(entry_point.value for entry_point in found)
    if len(found) > 1:
        error = f"the name is registered twice, by {distribution}; uninstall one of them"
        return StrategyEntry(name, distribution, target, None, error)
    if not _TARGET.fullmatch(target):
        return StrategyEntry(name, distribution, target, None, f"{target!r} is not of the form module:Class")
    try:
        loaded: object = found[0].load()
    except (
        Exception,
        SystemExit,
    ) as failure:  # whatever a third party's import may do must not stop the others
        return StrategyEntry(name, distribution, target, None, _line(failure))
    try:
        return StrategyEntry(name, distribution, target, _usable(loaded, target), None)
    except TypeError as error:
        return StrategyEntry(name, distribution, target, None, str(error))


def _usable(loaded: object, target: str) -> type[Strategy]:
    """The loaded object as a strategy class.

    Raises:
        TypeError: it breaks the contract.
    """
    if not (isinstance(loaded, type) and issubclass(loaded, Strategy)):
        raise TypeError(f"{target} is not a subclass of Strategy")
    options = cast(object, loaded.Options)
    if not (isinstance(options, type) and issubclass(options, StrategyOptions)):
        raise TypeError(f"{target}.Options is not a StrategyOptions model")
    own_loops = loaded.generate is not Strategy.generate and loaded.score is not Strategy.score
    if loaded.policy is Strategy.policy and not own_loops:
        raise TypeError(f"{target} defines neither policy nor both generate and score")
    return loaded


def _distribution(entry_point: EntryPoint) -> str:
    return "an unnamed package" if entry_point.dist is None else _package(entry_point.dist)


@lru_cache(maxsize=64)
def _package(dist: Distribution) -> str:
    """Name and version; a search resolves thousands of options, and this reads and parses a file."""
    # Without a METADATA file a distribution has a folder and nothing else to be known by.
    metadata = dist.read_text("METADATA") or dist.read_text("PKG-INFO")
    return f"{dist.name} {dist.version}" if metadata else "an unnamed package"


def _line(failure: BaseException) -> str:
    message = (str(failure).strip().splitlines() or ["no message"])[0]
    return f"{type(failure).__name__}: {message}"
