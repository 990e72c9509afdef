"""Gemma 1, 2 and 3 (text): scaled embeddings; from 2 on norms before and after, windows and soft caps."""

from lsbench.engine.families.family import Family

GEMMA = Family(name="gemma", model_types=("gemma",))
GEMMA2 = Family(
    name="gemma2",
    model_types=("gemma2",),
    attention_post_norm="post_attention_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
    window="by_type",
    attention_cap="attn_logit_softcapping",
    logit_cap="final_logit_softcapping",
)
GEMMA3 = Family(
    name="gemma3",
    model_types=("gemma3_text",),
    attention_post_norm="post_attention_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
    window="by_type",
    logit_cap="final_logit_softcapping",
)
