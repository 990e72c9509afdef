"""Phi-3 and 4: query, key and value are one linear module, and so are gate and up."""

from lsbench.engine.families.family import Family

PHI3 = Family(
    name="phi3",
    model_types=("phi3",),
    qkv="qkv_proj",
    gate_up="gate_up_proj",
    activation="activation_fn",
    window="all",
)
