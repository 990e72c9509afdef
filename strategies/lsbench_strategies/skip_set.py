"""Skip sets as people write them: a list of layers and sub-layers, or a file that holds one."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr, ValidationError
from pydantic_core import ErrorDetails

from lsbench.engine import ATTENTION, MLP, KVFill, sublayer
from lsbench.strategy import BadInput

Granularity = Literal["layer", "sublayer"]
Unit = tuple[int, ...]
"""Sub-layer indices (0..2L-1) left out together: one, or both of a layer."""

ITEM = re.compile(r"([0-9]+)(?:\.(attention|mlp))?")
"""A layer (``12``) or a sub-layer (``12.attention``, ``12.mlp``)."""


class SkipSetFile(BaseModel):
    """A skip set in a file, YAML or JSON, as ``lsbench tune`` writes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_layers: StrictInt
    """L of the model it was found on; another model refuses it."""
    skipped: tuple[StrictInt | StrictStr, ...]
    """Layers (``12``) or sub-layers (``12.attention``, ``12.mlp``), in the order they are left out."""


def parse_items(items: Sequence[int | str], granularity: Granularity) -> tuple[Unit, ...]:
    """Read ``12`` (a whole layer), ``12.attention`` or ``12.mlp``, layers numbered from 1.

    Raises:
        ValueError: another spelling, an item given twice, or a sub-layer where ``granularity`` is ``layer``.
    """
    units: list[Unit] = []
    seen: set[int] = set()
    for item in items:
        match = ITEM.fullmatch(str(item).strip())
        if not match or int(match[1]) < 1:
            raise ValueError(
                f"{item} is neither a layer (12) nor a sub-layer (12.attention, 12.mlp), from 1 on"
            )
        layer, part = int(match[1]), match[2]
        if part is not None and granularity == "layer":
            raise ValueError(f"{item} is a sub-layer, but granularity=layer; give granularity=sublayer")
        both = (sublayer(layer, ATTENTION), sublayer(layer, MLP))
        unit = both if part is None else (both[0],) if part == "attention" else (both[1],)
        if seen & set(unit):
            raise ValueError(f"{item} is left out twice")
        seen |= set(unit)
        units.append(unit)
    return tuple(units)


def check_fill(units: Sequence[Unit], kv_fill: KVFill | None) -> None:
    """Refuse a ``kv_fill`` that cannot act.

    Raises:
        ValueError: one is asked for, but no attention is left out.
    """
    if kv_fill is not None and all(j % 2 == MLP for unit in units for j in unit):
        raise ValueError(
            f"kv_fill={kv_fill} has no effect: only MLPs are left out, which have no keys and values"
        )


def read_skip_set(name: str, num_layers: int) -> tuple[int | str, ...]:
    """The items of a skip-set file, in its order.

    Args:
        name: the file's path; ``~`` is the home folder.
        num_layers: L of the model that it must have been made for.

    Raises:
        BadInput: it is missing, unreadable, not a skip set, empty, or made for another number of layers.
    """
    given = f"--strategy dynamic_skip: skip_set={name!r}"
    try:
        raw = Path(os.path.expanduser(name)).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(
            f"{given} is neither auto, online, a list such as [12,13.mlp], nor a readable file: {reason}"
        ) from error
    try:
        content: object = yaml.safe_load(raw.decode())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput(f"{given}: the file is neither YAML nor JSON") from error
    try:
        result = SkipSetFile.model_validate(content)
    except ValidationError as error:
        raise BadInput(
            f"{given}: the file is not a skip set ({_reason(error.errors()[0])}); it needs num_layers, a "
            "whole number, and skipped, a list such as [12, 13.mlp]"
        ) from error
    if not result.skipped:
        raise BadInput(f"{given}: the file leaves nothing out")
    if result.num_layers != num_layers:
        raise BadInput(
            f"{given} was found on a model of {result.num_layers} layers, but this one has {num_layers}"
        )
    return result.skipped


def _reason(error: ErrorDetails) -> str:
    where = str(error["loc"][0]) if error["loc"] else "its content"
    if error["type"] == "missing":
        return f"{where} is missing"
    if error["type"] == "extra_forbidden":
        return f"{where!r} is no key of it"
    return f"{where} is {error['input']!r:.60}"
