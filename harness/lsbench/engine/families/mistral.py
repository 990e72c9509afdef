"""Mistral: Llama's layout, with a sliding window in every layer where the checkpoint sets one."""

from lsbench.engine.families.family import Family

MISTRAL = Family(name="mistral", model_types=("mistral",), window="all")
MINISTRAL = Family(name="ministral", model_types=("ministral",), window="by_type")
