"""transformers' ``generate(assistant_early_exit=E)``: the first E layers draft, the whole model verifies."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.peer import CannotRun, Setting, alone, beside_early_exit
from benchmarks.peers.transformers_model import TransformersPeer
from lsbench_strategies.hf_assistant_early_exit import HONOURED


class TransformersEarlyExit(TransformersPeer):
    """As many tokens a cycle as ours drafts, whatever was accepted and however sure the draft is."""

    name = "transformers assistant_early_exit"

    def __init__(self, setting: Setting) -> None:
        alone(self.name, setting)
        super().__init__(setting)
        self.beside = beside_early_exit(setting)
        config = self._model.config
        if config.model_type not in HONOURED:
            raise CannotRun(f"transformers would draft with all layers of a {config.model_type}")
        if not 1 <= setting.exit_layer < config.num_hidden_layers:
            raise CannotRun(f"--exit-layer {setting.exit_layer}: write 1 to {config.num_hidden_layers - 1}")

    def call_options(self) -> dict[str, Any]:
        """The exit layer."""
        return {"assistant_early_exit": self._setting.exit_layer}

    def draft_options(self) -> dict[str, Any]:
        """How much is drafted."""
        return {
            "num_assistant_tokens": self._setting.num_speculations,
            "num_assistant_tokens_schedule": "constant",
            "assistant_confidence_threshold": 0.0,
        }
