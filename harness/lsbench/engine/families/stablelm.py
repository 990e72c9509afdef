"""StableLM: layer norms, partial rotary positions; in some, attention and MLP beside each other."""

from lsbench.engine.families.family import Family

STABLELM = Family(
    name="stablelm",
    model_types=("stablelm",),
    parallel="use_parallel_residual",
    query_norm="q_layernorm",
    key_norm="k_layernorm",
)
