"""transformers' prompt lookup: n-grams that the text has had before are the draft."""

from __future__ import annotations

from typing import Any, cast

from lsbench.strategy import IntRange, StrategyOptions, option
from lsbench_strategies.transformers_generation import TransformersGeneration


class HfPromptLookupOptions(StrategyOptions):
    """Options of ``hf_prompt_lookup``."""

    num_speculations: int = option(
        10, help="tokens drafted per cycle, at most (prompt_lookup_num_tokens)", search=IntRange(1, 20), ge=1
    )
    max_ngram: int = option(
        2, help="longest n-gram looked up (max_matching_ngram_size)", search=IntRange(1, 4), ge=1
    )


class HfPromptLookup(TransformersGeneration):
    """``generate(prompt_lookup_num_tokens=K)``: no layers are saved, but several tokens verified at once."""

    Options = HfPromptLookupOptions

    def call_options(self) -> dict[str, Any]:
        """How much is drafted, and from what."""
        options = cast(HfPromptLookupOptions, self.options)
        return {
            "prompt_lookup_num_tokens": options.num_speculations,
            "max_matching_ngram_size": options.max_ngram,
        }
