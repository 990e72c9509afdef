"""transformers' own ``generate``: what most people would use, and a second, outside baseline."""

from __future__ import annotations

from lsbench_strategies.transformers_generation import TransformersGeneration


class HfGenerate(TransformersGeneration):
    """Full depth, token by token, in transformers' loop; sampled tokens are drawn as the baseline draws them.

    Fed from the same weights through the engine's linear modules; float rounding differs from the engine's
    loop, so that reduced precisions may part at a tie.
    """

    own_draws = False
