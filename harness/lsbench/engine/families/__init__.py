"""Model families: what a decoder block looks like, declared rather than programmed.

A family says under which names transformers keeps the parts of a checkpoint. Everything else is the
one standard block of ``engine/block.py``. One file a family; ``FAMILIES`` lists them.
"""

from __future__ import annotations

from lsbench.engine.families.family import Family
from lsbench.engine.families.llama import LLAMA
from lsbench.errors import UnsupportedModel, nearest

FAMILIES: tuple[Family, ...] = (LLAMA,)


def supported_model_types() -> tuple[str, ...]:
    """Every ``model_type`` of a transformers config that the engine can run, sorted."""
    return tuple(sorted(name for family in FAMILIES for name in family.model_types))


def family_of(model_type: str) -> Family:
    """The family that declares ``model_type``.

    Raises:
        UnsupportedModel: none does; the message lists those that are supported.
    """
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    supported = supported_model_types()
    close = nearest(model_type, supported)
    hint = f" (nearest: {close})" if close else ""
    raise UnsupportedModel(
        f"Architecture {model_type!r} is not supported{hint}. Supported model types: {', '.join(supported)}."
    )


__all__ = ["FAMILIES", "Family", "family_of", "supported_model_types"]
