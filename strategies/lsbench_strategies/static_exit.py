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
from lsbench_strategies.layers import check_layer


class StaticExitOptions(StrategyOptions):
    """Options of ``static_exit``."""

    exit_layer: int = option(help="the last layer that runs, 1..L", search=IntRange(1, None), ge=1)
    kv_fill: KVFill = option(
        "recompute",
        help="how the cache is kept after the exit: recompute, propagate or mask; changes cost, not output",
        search=Choice(("recompute", "propagate", "mask")),
        changes="cost",
    )


class StaticExit(Strategy):
    """Layers 1..exit_layer run, then final norm and head.

    No decoded token goes deeper than the exit, so none reads the keys and values that others left out there:
    ``kv_fill`` decides what keeping them costs (``recompute`` a hidden state a token, ``propagate`` their
    projection at every later layer, ``mask`` nothing), and the output is the same.
    """

    Options = StaticExitOptions

    def check(self, num_layers: int) -> None:
        """The exit layer must be one of the model's."""
        check_layer("static_exit", "exit_layer", self._options.exit_layer, num_layers)

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
