"""Ladders of nested skip sets, by what their sub-layers weigh.

A ladder is an order in which sub-layers are left out, least harmful first, and some rungs on it: rung r
leaves out the longest beginning of that order that weighs no more than r/R of the whole allowance. So every
rung's skip set holds the one before it. Weights are the bytes a token reads, never a count of sub-layers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from lsbench.engine import ATTENTION, MLP, sublayer
from lsbench.strategy import BadInput

Granularity = Literal["layer", "sublayer"]
Unit = tuple[int, ...]
"""Sub-layer indices (0..2L-1) left out together: one, or both of a layer."""

_ITEM = re.compile(r"^(\d+)(?:\.(attention|mlp))?$")


class SkipSetFile(BaseModel):
    """A skip set in a file, YAML or JSON, as ``lsbench tune`` writes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_layers: int
    """L of the model it was found on; another model refuses it."""
    skipped: tuple[int | str, ...]
    """Layers (``12``) or sub-layers (``12.attention``, ``12.mlp``), in the order they are left out."""


@dataclass(frozen=True)
class Ladder:
    """Nested skip sets.

    Attributes:
        rungs: sub-layer indices left out on each rung; rung 0 is empty, the last is the largest.
    """

    rungs: tuple[frozenset[int], ...]


def parse_items(items: Sequence[int | str], granularity: Granularity) -> tuple[Unit, ...]:
    """Read ``12`` (a whole layer), ``12.attention`` or ``12.mlp``, layers numbered from 1.

    Raises:
        ValueError: another spelling, an item given twice, or a sub-layer where ``granularity`` is ``layer``.
    """
    units: list[Unit] = []
    seen: set[int] = set()
    for item in items:
        match = _ITEM.match(str(item).strip())
        if not match or int(match[1]) < 1:
            raise ValueError(f"{item!r} is not a layer (12) or a sub-layer (12.attention, 12.mlp); layers count from 1")
        layer, part = int(match[1]), match[2]
        if part is not None and granularity == "layer":
            raise ValueError(f"{item!r} is a sub-layer, but granularity=layer; give granularity=sublayer")
        both = (sublayer(layer, ATTENTION), sublayer(layer, MLP))
        unit = both if part is None else (both[0],) if part == "attention" else (both[1],)
        if seen & set(unit):
            raise ValueError(f"{item!r} is left out twice")
        seen |= set(unit)
        units.append(unit)
    return tuple(units)


def read_skip_set(path: Path) -> SkipSetFile:
    """Read a skip-set file.

    Raises:
        BadInput: it is missing, unreadable, or not a skip set.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BadInput(
            f"skip_set={str(path)!r} is neither 'auto', a list such as [12,13.mlp], nor a readable file: "
            f"{error.strerror}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"skip_set file {path} is not YAML or JSON") from error
    try:
        return SkipSetFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise BadInput(f"skip_set file {path}: {where}: {first['msg']}") from error


def rank_units(
    influence: Sequence[float], weights: Sequence[int], granularity: Granularity, kept_layers: int
) -> tuple[Unit, ...]:
    """Units by block influence per byte saved, least first.

    Args:
        influence: [2L] block influence of each sub-layer.
        weights: [2L] bytes of each.
        granularity: whether a unit is a sub-layer or a whole layer (whose influence is the sum of its two).
        kept_layers: the first layers, which are never left out.
    """
    indices = range(2 * kept_layers, len(weights))
    if granularity == "layer":
        units: list[Unit] = [(j, j + 1) for j in indices if j % 2 == 0]
    else:
        units = [(j,) for j in indices]
    return tuple(sorted(units, key=lambda unit: sum(influence[j] for j in unit) / sum(weights[j] for j in unit)))


def build_ladder(order: Sequence[Unit], weights: Sequence[int], max_skip_ratio: float, rungs: int) -> Ladder:
    """Nested skip sets along ``order``.

    Args:
        order: units, first left out first; one that no longer fits the allowance is passed over.
        weights: [2L] bytes of each sub-layer.
        max_skip_ratio: share of the sub-layers' bytes that the last rung may leave out.
        rungs: how many, the empty one not counted.

    Raises:
        BadInput: the allowance is too small for any unit, so that nothing would ever be left out.
    """
    allowance = max_skip_ratio * sum(weights) * (1 + 1e-9)
    chosen: list[tuple[Unit, float]] = []
    total = 0.0
    for unit in order:
        weight = sum(weights[j] for j in unit)
        if total + weight <= allowance:
            total += weight
            chosen.append((unit, total))
    if not chosen:
        lightest = min((sum(weights[j] for j in unit) for unit in order), default=0) / sum(weights)
        raise BadInput(
            f"--strategy dynamic_skip: max_skip_ratio={max_skip_ratio:g} leaves out nothing: the lightest part is "
            f"{lightest:.3f} of the weights"
        )
    sets = [
        frozenset(j for unit, reached in chosen if reached <= allowance * rung / rungs for j in unit)
        for rung in range(rungs)
    ]
    return Ladder((*sets, frozenset(j for unit, _ in chosen for j in unit)))
