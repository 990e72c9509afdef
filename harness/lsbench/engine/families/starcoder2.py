"""StarCoder-2: layer norms, biases, a plain MLP, and a sliding window where the checkpoint sets one."""

from lsbench.engine.families.family import Family

STARCODER2 = Family(
    name="starcoder2",
    model_types=("starcoder2",),
    gate=None,
    up="c_fc",
    down="c_proj",
    activation="act",
    window="all",
)
