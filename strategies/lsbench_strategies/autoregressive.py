"""The baseline: full depth, token by token."""

from __future__ import annotations

from lsbench.engine import DepthPlan, DepthPolicy, StepContext
from lsbench.strategy import GenerateRequest, ScoreWindow, Strategy


class FullDepth(DepthPolicy):
    """Every layer for every token."""

    def constant_plan(self, num_layers: int) -> DepthPlan:
        """All layers."""
        return DepthPlan.full(num_layers)

    def plan(self, context: StepContext) -> DepthPlan:
        """All layers."""
        return DepthPlan.full(context.num_layers)


class Autoregressive(Strategy):
    """Every token runs every layer: what all others are measured against."""

    lossless = True

    def policy(self, request: GenerateRequest | ScoreWindow) -> DepthPolicy:
        """Full depth."""
        return FullDepth()
