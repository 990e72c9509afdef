"""How hard the input is, as one number: near 0 is easy, and what is harder runs more layers.

| signal | difficulty |
|---|---|
| ``previous_entropy`` | entropy of the previous prediction / log V |
| ``previous_margin`` | 1 - (first minus second probability of the previous prediction) |
| ``early_cosine`` | 1 - cosine of input and output of the layer ``early_layer`` for this very token |
| ``prompt_perplexity`` | log perplexity of the prompt / log V, one value for the whole request |
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
import torch

from lsbench.engine import DepthPlan, DepthPolicy, ExitView, Session, StepContext, layer_cosines
from lsbench.strategy import Preparation

Signal = Literal["previous_entropy", "previous_margin", "early_cosine", "prompt_perplexity"]


class LadderPolicy(DepthPolicy):
    """Picks a rung of a ladder for every token by its difficulty.

    Args:
        signal: what difficulty is read from.
        thresholds: ascending; a token below the first takes the last rung, one above all runs in full.
        plans: a plan for every rung, full depth first; one more than thresholds. Kept as ``plans``; others
            may take their place between steps.
        early_layer: the layer whose cosine ``early_cosine`` reads.
        log_vocabulary: log V.
    """

    def __init__(
        self,
        signal: Signal,
        thresholds: Sequence[float],
        plans: Sequence[DepthPlan],
        early_layer: int,
        log_vocabulary: float,
    ) -> None:
        self._signal = signal
        self._thresholds = thresholds
        self.plans = plans
        self._early_layer = early_layer
        self._log_vocabulary = log_vocabulary
        self.needs_prompt_perplexity = signal == "prompt_perplexity"

    def plan(self, context: StepContext) -> DepthPlan:
        """The rung's plan; full depth where the signal is still to come."""
        if self._signal == "previous_entropy":
            return self._rung(context.previous_entropy)
        if self._signal == "previous_margin":
            return self._rung(1 - context.previous_margin)
        if self._signal == "prompt_perplexity":
            perplexity = context.prompt_perplexity
            # A prompt of one token has no perplexity: nothing says that it is easy.
            return (
                self.plans[0]
                if perplexity is None
                else self._rung(math.log(perplexity) / self._log_vocabulary)
            )
        return self.plans[0]

    def check_layers(self, num_layers: int) -> Collection[int]:
        """The early layer, where its cosine is the signal."""
        return (self._early_layer,) if self._signal == "early_cosine" else ()

    def replan(self, layer: int, exit_view: ExitView) -> DepthPlan | None:
        """The rung's plan, once the early layer has run."""
        return self._rung(1 - exit_view.cosine)

    def _rung(self, difficulty: float) -> DepthPlan:
        easier_than = sum(difficulty < threshold for threshold in self._thresholds)
        return self.plans[easier_than]


def calibrate_thresholds(
    preparation: Preparation, signal: Signal, rungs: int, early_layer: int
) -> tuple[float, ...]:
    """Thresholds that spread the calibration tokens evenly over the rungs and full depth.

    Returns:
        ``rungs`` ascending numbers: the quantiles k / (rungs + 1) of the difficulty.
    """
    key = __name__, signal, early_layer if signal == "early_cosine" else None
    values = preparation.once(key, lambda: _calibration(preparation, signal, early_layer))
    quantiles = np.quantile(values, [k / (rungs + 1) for k in range(1, rungs + 1)])
    return tuple(float(value) for value in quantiles)


def _calibration(preparation: Preparation, signal: Signal, early_layer: int) -> np.ndarray:
    """The difficulties of all calibration prompts; rank 0's where several share the model."""
    found = [_difficulties(preparation, prompt, signal, early_layer) for prompt in _prompts(preparation)]
    return preparation.stack.agreement.array(np.concatenate(found))


def _prompts(preparation: Preparation) -> list[tuple[int, ...]]:
    return [prompt for prompt in preparation.calibration_prompts if len(prompt) > 1]


def _difficulties(
    preparation: Preparation, prompt: Sequence[int], signal: Signal, early_layer: int
) -> np.ndarray:
    """The difficulty of every token of a prompt, or of the prompt itself."""
    stack = preparation.stack
    if signal == "early_cosine":
        return 1 - layer_cosines(stack, prompt)[early_layer - 1]
    session = Session(stack, capacity=len(prompt))
    tokens = torch.tensor([prompt], dtype=torch.int64, device=stack.device)
    log_vocabulary = math.log(stack.vocabulary_size)
    if signal == "prompt_perplexity":
        session.prefill(tokens, with_perplexity=True)
        perplexity = session.prompt_perplexity[0]
        return np.array([] if perplexity is None else [math.log(perplexity) / log_vocabulary])
    logits = session.forward(tokens, DepthPlan.full(stack.num_layers)).logits[0].float()
    probabilities = torch.softmax(logits, dim=-1)
    if signal == "previous_margin":
        top = torch.topk(probabilities, 2, dim=-1).values
        result = 1 - (top[:, 0] - top[:, 1])
    else:
        result = -(probabilities * torch.log_softmax(logits, dim=-1)).sum(-1) / log_vocabulary
    return result.double().cpu().numpy()
