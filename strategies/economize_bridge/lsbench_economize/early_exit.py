"""economize's ``early_exit``: the first layers draft through the model's own norm and head, untrained."""

from __future__ import annotations

from typing import Any, cast

from lsbench.strategy import BadInput, IntRange, StrategyOptions, option
from lsbench_economize.drafting import EconomizeDrafting
from lsbench_economize.package import economize


class EarlyExitOptions(StrategyOptions):
    """Options of ``economize_early_exit``."""

    exit_layer: int = option(
        help="the last layer that drafts, 1..L-1 (exit_layer)", search=IntRange(1, None), ge=1
    )
    num_speculations: int = option(
        3, help="tokens drafted per cycle, at most (cycle_length - 1)", search=IntRange(1, 12), ge=1
    )


class EconomizeEarlyExit(EconomizeDrafting):
    """Self-speculation by an early exit, as economize does it (LayerSkip, Elhoushi et al. 2024)."""

    Options = EarlyExitOptions

    def check(self, num_layers: int) -> None:
        """The exit layer must leave something to verify."""
        if self._options.exit_layer >= num_layers:
            raise BadInput(
                f"economize_early_exit: exit_layer names layer {self._options.exit_layer}, but the model has "
                f"{num_layers}; write one of 1..{num_layers - 1}"
            )

    def technique(self) -> Any:
        """Frozen layers, shared head: nothing is trained."""
        module = economize("economize.techniques.early_exit")
        return module.EarlyExitConfig(exit_layer=self._options.exit_layer, head="shared", adaptation="frozen")

    def drafted(self) -> int:
        """As asked."""
        return self._options.num_speculations

    def draft_layers(self, num_layers: int) -> int:
        """Those up to the exit."""
        return self._options.exit_layer

    @property
    def _options(self) -> EarlyExitOptions:
        return cast(EarlyExitOptions, self.options)
