"""transformers' ``generate(prompt_lookup_num_tokens=N)``: what the text has had before is the draft."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.peer import Setting, alone
from benchmarks.peers.transformers_model import TransformersPeer


class TransformersPromptLookup(TransformersPeer):
    """Matches of two tokens at most, which is transformers' default."""

    name = "transformers prompt_lookup_num_tokens"

    def __init__(self, setting: Setting) -> None:
        alone(self.name, setting)
        super().__init__(setting)

    def call_options(self) -> dict[str, Any]:
        """How much is drafted."""
        return {"prompt_lookup_num_tokens": self._setting.lookup_tokens}
