"""Granite 3: multipliers on embeddings, on what sub-layers add and on logits; with dense MLPs or experts."""

from lsbench.engine.families.family import Family

GRANITE = Family(
    name="granite",
    model_types=("granite",),
    embedding_multiplier="embedding_multiplier",
    residual_multiplier="residual_multiplier",
    logit_divisor="logits_scaling",
)
GRANITE_MOE = Family(
    name="granitemoe",
    model_types=("granitemoe",),
    mlp="block_sparse_moe",
    embedding_multiplier="embedding_multiplier",
    residual_multiplier="residual_multiplier",
    logit_divisor="logits_scaling",
)
