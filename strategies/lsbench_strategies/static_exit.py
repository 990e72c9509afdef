"""Every decoded token stops at the same layer (as LayerSkip's early exit does: Elhoushi et al., 2024).

As a draft, the layer may follow the text (as DEL's does: Entezari Zarch et al., 2025).
"""

from __future__ import annotations

from typing import Annotated, Literal, cast

from pydantic import Field

from lsbench.engine import ConstantPolicy, DepthPlan, DepthPolicy, KVFill, PartialHead
from lsbench.strategy import (
    BadInput,
    Choice,
    Draft,
    GenerateRequest,
    IntRange,
    Preparation,
    ScoreWindow,
    Strategy,
    StrategyOptions,
    option,
)
from lsbench_strategies.layers import check_layer
from lsbench_strategies.online_exit import OnlineExitDraft, candidate_exits


class StaticExitOptions(StrategyOptions):
    """Options of ``static_exit``."""

    exit_layer: Literal["online"] | Annotated[int, Field(ge=1)] = option(
        help="the last layer that runs, 1..L, or (as a draft) online, which also finds how many to draft",
        search=IntRange(1, None),
    )
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
        self._refuse_online()
        self.check_draft(num_layers)

    def check_draft(self, num_layers: int) -> None:
        """The same, but a draft may follow the text."""
        if self._options.exit_layer != "online":
            check_layer("static_exit", "exit_layer", self._options.exit_layer, num_layers)

    def prepare(self, preparation: Preparation) -> None:
        """Fix the plan, or that of each candidate."""
        given = self._options.exit_layer
        self._stack = preparation.stack
        self._exits = candidate_exits(preparation.num_layers) if given == "online" else (given,)
        self._plans = [
            DepthPlan.exit_at(preparation.num_layers, layer, self._options.kv_fill) for layer in self._exits
        ]

    def policy(self, request: GenerateRequest | ScoreWindow) -> DepthPolicy:
        """The one plan."""
        self._refuse_online()
        return ConstantPolicy(self._plans[0])

    def draft(
        self, request: GenerateRequest, stop_below: float = 0.0, head: PartialHead | None = None
    ) -> Draft:
        """The one plan; where ``exit_layer`` is ``online``, the best of some by what was verified so far."""
        if not self.decides_draft_length:
            return super().draft(request, stop_below, head)
        return OnlineExitDraft(self._stack, self._plans, self._exits, request.sampling, stop_below, head)

    def _refuse_online(self) -> None:
        if self._options.exit_layer == "online":
            raise BadInput(
                "--strategy static_exit: exit_layer=online follows what verifying passes see, so only a "
                "draft can have it: self_speculative:draft=static_exit,draft.exit_layer=online"
            )

    @property
    def decides_draft_length(self) -> bool:
        """With the exit, the number of tokens is found too."""
        return self._options.exit_layer == "online"

    @property
    def _options(self) -> StaticExitOptions:
        return cast(StaticExitOptions, self.options)
