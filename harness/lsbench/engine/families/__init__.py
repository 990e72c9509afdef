"""Model families: what a decoder block looks like, declared rather than programmed.

A family says under which names transformers keeps the parts of a checkpoint, and in what its block differs
from Llama's. Everything else is the one standard block of ``engine/block.py``. One file a family and its
relatives; ``FAMILIES`` lists them.
"""

from __future__ import annotations

from typing import Any

from lsbench.engine.families.cohere import COHERE, COHERE2
from lsbench.engine.families.family import Family
from lsbench.engine.families.gemma import GEMMA, GEMMA2, GEMMA3
from lsbench.engine.families.glm import GLM, GLM4
from lsbench.engine.families.gpt_neox import GPT_NEOX
from lsbench.engine.families.granite import GRANITE, GRANITE_MOE
from lsbench.engine.families.llama import LLAMA
from lsbench.engine.families.mistral import MINISTRAL, MISTRAL
from lsbench.engine.families.mixtral import MIXTRAL
from lsbench.engine.families.olmo import OLMO, OLMO2, OLMOE
from lsbench.engine.families.others import PLAIN_MLP, SEED_OSS
from lsbench.engine.families.phi import PHI
from lsbench.engine.families.phi3 import PHI3
from lsbench.engine.families.qwen2 import QWEN2
from lsbench.engine.families.qwen3 import QWEN3, QWEN3_MOE
from lsbench.engine.families.smollm3 import SMOLLM3
from lsbench.engine.families.stablelm import STABLELM
from lsbench.engine.families.starcoder2 import STARCODER2
from lsbench.errors import UnsupportedModel, nearest

FAMILIES: tuple[Family, ...] = (
    LLAMA,
    MISTRAL,
    MINISTRAL,
    MIXTRAL,
    QWEN2,
    QWEN3,
    QWEN3_MOE,
    PHI,
    PHI3,
    GEMMA,
    GEMMA2,
    GEMMA3,
    OLMO,
    OLMO2,
    OLMOE,
    GPT_NEOX,
    SMOLLM3,
    GRANITE,
    GRANITE_MOE,
    STABLELM,
    STARCODER2,
    GLM,
    GLM4,
    COHERE,
    COHERE2,
    SEED_OSS,
    PLAIN_MLP,
)

_LAYER_TYPES = ("full_attention", "sliding_attention")


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
    # What transformers calls X_text is the language model within a multimodal X.
    close = f"{model_type}_text" if f"{model_type}_text" in supported else nearest(model_type, supported)
    hint = f" (nearest: {close})" if close else ""
    raise UnsupportedModel(
        f"Architecture {model_type!r} is not supported{hint}. Supported model types: {', '.join(supported)}."
    )


def family_for(config: Any) -> Family:
    """The family that runs models of a transformers configuration, read before any weight is.

    Raises:
        UnsupportedModel: no family declares its ``model_type``, or it asks for what the engine cannot do.
    """
    family = family_of(config.model_type)
    kinds = getattr(config, "layer_types", None) or ()
    unknown = sorted({kind for kind in kinds if kind not in _LAYER_TYPES})
    if unknown:
        raise UnsupportedModel(
            f"This {config.model_type} checkpoint has layers of type {', '.join(unknown)}; "
            f"the engine runs {' and '.join(_LAYER_TYPES)}."
        )
    if getattr(config, "use_bidirectional_attention", False):
        raise UnsupportedModel(
            f"This {config.model_type} checkpoint lets tokens see later ones (use_bidirectional_attention), "
            "so it cannot be decoded token by token."
        )
    return family


def context_length(config: Any) -> int:
    """The most positions that a model of this configuration runs on.

    Long-context checkpoints with ``longrope`` turn every position differently once a text exceeds the length
    they were first trained on, the earlier ones too: keys that are cached would be wrong. They run within it.
    """
    longest = int(config.max_position_embeddings)
    rope = getattr(config, "rope_parameters", None) or {}
    by_type = [each for each in rope.values() if isinstance(each, dict)]
    for each in by_type or [rope]:
        if each.get("rope_type") == "longrope":
            longest = min(longest, int(each.get("original_max_position_embeddings") or longest))
    return longest


__all__ = ["FAMILIES", "Family", "context_length", "family_for", "family_of", "supported_model_types"]
