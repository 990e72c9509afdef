"""Every decoded token stops at the same layer (as LayerSkip's early exit does: Elhoushi et al., 2024)."""

from __future__ import annotations

from typing import cast

from lsbench.engine import ConstantPolicy, DepthPlan, DepthPolicy, KVFill
from lsbench.strategy import (
    Choice,
    GenerateRequest,
    IntRange,
    Preparation,
    ScoreWindow,
    Strategy,
    StrategyOptions,
    option,
)
from lsbench_strategies.exits import check_exit_layer


class StaticExitOptions(StrategyOptions):
    """Options of ``static_exit``."""

    exit_layer: int = option(help="the last layer that runs, 1..L", search=IntRange(1, None), ge=1)
    kv_fill: KVFill = option(
        "recompute",
        help="what becomes of keys and values after the exit: recompute, propagate or mask",
        search=Choice(("recompute", "propagate", "mask")),
    )


class StaticExit(Strategy):
    """Layers 1..exit_layer run, then final norm and head."""

    Options = StaticExitOptions

    def check(self, num_layers: int) -> None:
        """The exit layer must be one of the model's."""
        check_exit_layer("static_exit", "exit_layer", self._options.exit_layer, num_layers)

    def prepare(self, preparation: Preparation) -> None:
        """Fix the plan."""
        options = self._options
        self._plan = DepthPlan.exit_at(preparation.num_layers, options.exit_layer, options.kv_fill)

    def policy(self, request: GenerateRequest | ScoreWindow) -> DepthPolicy:
        """The one plan."""
        return ConstantPolicy(self._plan)

    @property
    def _options(self) -> StaticExitOptions:
        return cast(StaticExitOptions, self.options)
