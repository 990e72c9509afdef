"""transformers' early-exit drafting: the model's first layers draft, the whole model verifies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from lsbench.engine import Session
from lsbench.strategy import CannotRun, Emitted, GenerateRequest, IntRange, StrategyOptions, option
from lsbench_strategies.layers import check_layer
from lsbench_strategies.transformers_generation import TransformersGeneration

HONOURED = frozenset(
    (
        *("cohere", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "granite", "llama", "mistral"),
        *(
            "mixtral",
            "olmo",
            "olmo2",
            "olmoe",
            "phi3",
            "qwen2",
            "qwen3",
            "qwen3_moe",
            "smollm3",
            "starcoder2",
        ),
    )
)
"""Model types whose decoder, in transformers, runs as many layers as its configuration says at the moment.
Others (GPT-NeoX, GPT-2, OPT, Falcon, StableLM, Cohere-2) run all of them whatever it says."""


class HfAssistantEarlyExitOptions(StrategyOptions):
    """Options of ``hf_assistant_early_exit``."""

    exit_layer: int = option(
        help="the last layer that drafts, 1..L-1 (assistant_early_exit)", search=IntRange(1, None), ge=1
    )
    num_speculations: int = option(
        4, help="tokens drafted per cycle, at most (num_assistant_tokens)", search=IntRange(1, 12), ge=1
    )


class HfAssistantEarlyExit(TransformersGeneration):
    """``generate(assistant_early_exit=E)`` with a constant number of drafts and no confidence threshold.

    transformers drafts with a cache of its own and verifies in all layers from the bottom.
    """

    Options = HfAssistantEarlyExitOptions

    def check(self, num_layers: int) -> None:
        """The exit layer must leave something to verify."""
        check_layer("hf_assistant_early_exit", "exit_layer", self._options.exit_layer, num_layers - 1)

    def check_model(self, model_type: str) -> None:
        """transformers must honour a reduced number of layers for the architecture."""
        if model_type not in HONOURED:
            raise CannotRun(
                f"hf_assistant_early_exit: transformers ignores a reduced number of layers for "
                f"{model_type!r} and would draft with the whole model; it honours it for "
                f"{', '.join(sorted(HONOURED))}. Use self_speculative, or another model."
            )

    def generate(self, session: Session, request: GenerateRequest) -> Iterator[Emitted]:
        """Blocks of accepted drafts with the verifier's own token."""
        try:
            yield from super().generate(session, request)
        finally:
            # transformers drafts by lowering the number of layers in place; a draft that fails leaves it so.
            cast(Any, session.model).config.num_hidden_layers = session.num_layers

    def call_options(self) -> dict[str, Any]:
        """The exit layer."""
        return {"assistant_early_exit": self._options.exit_layer}

    def draft_options(self) -> dict[str, Any]:
        """How much is drafted: as many as asked, whatever was accepted and however sure the draft is."""
        return {
            "num_assistant_tokens": self._options.num_speculations,
            "num_assistant_tokens_schedule": "constant",
            "assistant_confidence_threshold": 0.0,
        }

    @property
    def _options(self) -> HfAssistantEarlyExitOptions:
        return cast(HfAssistantEarlyExitOptions, self.options)
