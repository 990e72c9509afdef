"""Qwen-3: queries and keys are normed, head by head. Its mixtures of experts window all layers or none."""

from lsbench.engine.families.family import Family

QWEN3 = Family(name="qwen3", model_types=("qwen3",), window="by_type")
QWEN3_MOE = Family(name="qwen3_moe", model_types=("qwen3_moe",), window="all")
