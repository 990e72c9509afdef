"""GPT-NeoX and Pythia: attention and MLP beside each other, query, key and value of each head in turn."""

from lsbench.engine.families.family import Family

GPT_NEOX = Family(
    name="gpt_neox",
    model_types=("gpt_neox",),
    decoder="gpt_neox",
    embedding="embed_in",
    final_norm="final_layer_norm",
    attention="attention",
    parallel="use_parallel_residual",
    qkv="query_key_value",
    qkv_layout="by_head",
    output="dense",
    gate=None,
    up="dense_h_to_4h",
    down="dense_4h_to_h",
    activation="act",
)
