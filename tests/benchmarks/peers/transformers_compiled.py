"""transformers' ``generate`` with its static cache, whose decoding step it compiles where there is a GPU."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.peer import CannotRun, Setting
from benchmarks.peers.transformers_model import TransformersPeer


class TransformersCompiled(TransformersPeer):
    """Full depth, token by token, without the launches and the Python that eager code pays for.

    A gain over an eager baseline alone may be the compiler's.
    """

    name = "transformers compiled"
    about = (
        "transformers' own loop, static cache and torch.compile; compiling falls into the discarded warm-up"
    )

    def __init__(self, setting: Setting) -> None:
        if setting.device != "cuda":
            raise CannotRun("transformers compiles its decoding step on CUDA alone")
        super().__init__(setting)

    def call_options(self) -> dict[str, Any]:
        """A cache that keeps its place and size, the same for all prompts, so that it compiles once."""
        return {"cache_implementation": "static", "max_cache_len": self._setting.capacity}
