"""SmolLM3: every fourth layer without rotary positions."""

from lsbench.engine.families.family import Family

SMOLLM3 = Family(name="smollm3", model_types=("smollm3",), rotates="use_rope", window="by_type")
