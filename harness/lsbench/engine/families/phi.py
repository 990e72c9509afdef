"""Phi-1, 1.5 and 2: attention and MLP beside each other behind one norm, partial rotary positions, biases."""

from lsbench.engine.families.family import Family

PHI = Family(
    name="phi",
    model_types=("phi",),
    final_norm="final_layernorm",
    parallel=True,
    mlp_norm="input_layernorm",
    output="dense",
    query_norm="q_layernorm",
    key_norm="k_layernorm",
    gate=None,
    up="fc1",
    down="fc2",
    activation="activation_fn",
)
