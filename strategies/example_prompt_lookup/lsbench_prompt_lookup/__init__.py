"""Prompt lookup decoding as an lsbench strategy."""

from lsbench_prompt_lookup.strategy import PromptLookup

__all__ = ["PromptLookup"]
