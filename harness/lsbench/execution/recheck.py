"""Where two greedy outputs part, and whether float rounding can be the reason.

Two computations of the same logits round differently, such as one token at a time or several at once. Where
the full model's two likeliest tokens are closer than that, either may come out first, and neither is wrong.
So at the first position that differs the logits are computed again: once precisely (float32 for bfloat16 and
float16, float64 for float32 and float64), and twice in the run's own precision, at one go and with the last
token by itself as decoding does. The largest error seen over all logits, doubled because two logits err, is
the noise that a difference is judged by (``measurement/parity.py``).

All of it is computed by transformers' own code, so that a fault of the engine or of a strategy can neither
hide in the reference nor pass for noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

import torch

from lsbench.engine.precise import plain_logits, precise_logits

if TYPE_CHECKING:
    from lsbench.engine.stack import DecoderStack


@dataclass(frozen=True)
class Comparison:
    """Two outputs of the same prompt; ``SampleRecord`` says what each field means."""

    first_difference: int | None = None
    margin: float | None = None
    noise: float | None = None


def compare(
    stack: DecoderStack, prompt: Sequence[int], baseline: Sequence[int], output: Sequence[int]
) -> Comparison:
    """Find the first position at which two greedy outputs differ, and recheck the logits there.

    Args:
        stack: the model.
        prompt: what both continued, not empty.
        baseline: ids of the baseline's output.
        output: ids of the other.

    Returns:
        nothing but None for equal outputs; no margin where one is the beginning of the other, which
        rounding cannot explain.
    """
    if tuple(baseline) == tuple(output):
        return Comparison()
    both = zip(baseline, output, strict=False)
    first = sum(1 for _ in takewhile(lambda tokens: tokens[0] == tokens[1], both))
    if first == min(len(baseline), len(output)):
        return Comparison(first_difference=first)
    before = (*prompt, *baseline[:first])
    precise = precise_logits(stack.model, before).double()
    # Both must be close to the likeliest, not merely to each other.
    margin = precise.max() - torch.minimum(precise[baseline[first]], precise[output[first]])
    noise = 0.0
    for at_once in (True, False) if len(before) > 1 else (True,):
        error = (plain_logits(stack.model, before, at_once).double() - precise).abs().max()
        noise = max(noise, 2 * float(error))
    return Comparison(first, float(margin), noise)
