"""OLMo 1 (norms without weights), OLMo 2 and 3 (norms after each sub-layer alone), and the mixture OLMoE."""

from lsbench.engine.families.family import Family

OLMO = Family(name="olmo", model_types=("olmo",), clip="clip_qkv", rotary_precision="table")
OLMO2 = Family(
    name="olmo2",
    model_types=("olmo2", "olmo3"),
    attention_norm=None,
    attention_post_norm="post_attention_layernorm",
    mlp_norm=None,
    mlp_post_norm="post_feedforward_layernorm",
    norm_over="width",
    rotary_precision="table",
    window="by_type",
)
OLMOE = Family(name="olmoe", model_types=("olmoe",), clip="clip_qkv", norm_over="width")
