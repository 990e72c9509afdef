"""How well a model foresaw a text that it has run."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lsbench.engine.stack import DecoderStack

_HEAD_ROWS = 256
"""Rows that go through the head at a time: bounds the logits held, [rows, V]."""


def perplexity(stack: DecoderStack, hidden: Tensor, tokens: Tensor) -> float | None:
    """exp of the mean negative log-likelihood of ``tokens`` from the second on.

    Args:
        stack: the model.
        hidden: [T, D] after the last layer.
        tokens: [T] int64.

    Returns:
        None for a single token.
    """
    if tokens.shape[0] < 2:
        return None
    total = 0.0
    for begin in range(0, tokens.shape[0] - 1, _HEAD_ROWS):
        end = min(begin + _HEAD_ROWS, tokens.shape[0] - 1)
        logits = stack.head(hidden[begin:end]).float()
        total += float(
            torch.nn.functional.cross_entropy(logits, tokens[begin + 1 : end + 1], reduction="sum")
        )
    return float(np.exp(total / (tokens.shape[0] - 1)))
