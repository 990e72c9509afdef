"""Qwen-2 and 2.5: biases on query, key and value; a sliding window in some layers where it is switched on."""

from lsbench.engine.families.family import Family

QWEN2 = Family(name="qwen2", model_types=("qwen2", "qwen2_moe"), window="by_type")
