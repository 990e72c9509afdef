"""GLM-4: partial rotary positions over neighbouring components, gate and up as one linear module.

The checkpoints of 2024 are called ``glm``; those of 2025, ``glm4``, norm each sub-layer's output too.
"""

from lsbench.engine.families.family import Family

GLM = Family(
    name="glm",
    model_types=("glm",),
    rotary_pairs="neighbours",
    gate_up="gate_up_proj",
    activation="activation_fn",
)
GLM4 = Family(
    name="glm4",
    model_types=("glm4",),
    attention_post_norm="post_self_attn_layernorm",
    mlp_post_norm="post_mlp_layernorm",
    rotary_pairs="neighbours",
    gate_up="gate_up_proj",
    activation="activation_fn",
)
