"""Command-R and Command-R7B: attention and MLP beside each other behind one norm, logits scaled.

In ``cohere2`` the layers that see everything have no rotary positions.
"""

from lsbench.engine.families.family import Family

COHERE = Family(
    name="cohere",
    model_types=("cohere",),
    parallel=True,
    mlp_norm="input_layernorm",
    rotary_pairs="neighbours",
    rotary_table="neighbours",
    rotary_precision="float32",
    logit_multiplier="logit_scale",
)
COHERE2 = Family(
    name="cohere2",
    model_types=("cohere2",),
    parallel=True,
    mlp_norm="input_layernorm",
    rotary_pairs="neighbours",
    rotary_table="neighbours",
    rotary_precision="float32",
    rotates="sliding_window",
    window="by_type",
    logit_multiplier="logit_scale",
)
