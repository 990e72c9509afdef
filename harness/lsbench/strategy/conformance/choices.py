"""A strategy's name and options, made complete enough to run."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from lsbench.errors import BadInput
from lsbench.spec import StrategyChoice
from lsbench.strategy.conformance.values import other_values
from lsbench.strategy.options import StrategyOptions, nested_options
from lsbench.strategy.registry import load_strategy, resolve


def changed(
    name: str, options: Mapping[str, JsonValue], changes: Mapping[str, JsonValue], num_layers: int
) -> dict[str, JsonValue]:
    """Options with some of them changed.

    Another strategy named by an option brings its own options: those of the one before are left out.

    Args:
        name: of the strategy.
        options: that it had.
        changes: what replaces them.
        num_layers: L of the model at hand.

    Raises:
        BadInput: no such strategy, or a required option with nothing to choose from.
    """
    references = [key for key in load_strategy(name).Options.reference_fields() if key in changes]
    kept = {
        key: value
        for key, value in options.items()
        if not any(key.startswith(f"{reference}.") for reference in references)
    }
    return complete(name, {**kept, **changes}, num_layers)


def check_against(choice: StrategyChoice, num_layers: int, model_type: str) -> None:
    """Refuse what a model's configuration already says against a choice; no weights are needed.

    Raises:
        BadInput: an unknown name, or options that the strategy or such a model refuses.
    """
    options = complete(choice.name, choice.options, num_layers)
    strategy = resolve(StrategyChoice(name=choice.name, options=options))
    strategy.check(num_layers)
    strategy.check_model(model_type)


def complete(name: str, options: Mapping[str, JsonValue], num_layers: int) -> dict[str, JsonValue]:
    """Options with a value for each required one that was not given: the middle one of those worth trying.

    Raises:
        BadInput: no such strategy, or a required option with nothing to choose from.
    """
    model = load_strategy(name).Options
    filled = dict(options)
    for key, field in model.model_fields.items():
        if field.is_required() and key not in filled:
            filled[key] = _some_value(name, model, key, num_layers)
    for reference in model.reference_fields():
        named = filled.get(reference)
        if isinstance(named, str):
            inner = complete(named, nested_options(model, filled, reference), num_layers)
            filled.update({f"{reference}.{key}": value for key, value in inner.items()})
    return filled


def _some_value(name: str, model: type[StrategyOptions], key: str, num_layers: int) -> JsonValue:
    values = other_values(model, key, num_layers)
    if not values:
        raise BadInput(
            f"Strategy {name!r} requires {key}, and declares neither a search space nor examples to choose "
            f"from; give one, such as {name}:{key}=VALUE"
        )
    return values[len(values) // 2]
