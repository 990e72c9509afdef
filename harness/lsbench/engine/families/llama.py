"""Llama 1, 2, 3 and the many checkpoints that use its layout (SmolLM2, CodeLlama, LayerSkip)."""

from lsbench.engine.families.family import Family

LLAMA = Family(name="llama", model_types=("llama",))
