"""Whether drawn sequences are distributed as a model has them, and how it has them: by enumeration.

Temperature, top-k and top-p are written out by their definition, and logits are those of transformers' own
forward pass: nothing here is the engine's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import torch
from scipy.stats import chi2

from lsbench.spec import Sampling

Output = tuple[int, ...]
LEAST_EXPECTED = 5
"""Sequences expected more rarely than this are counted together, as the test's approximation needs."""


def allowed(logits: np.ndarray, sampling: Sampling) -> np.ndarray:
    """[V] the distribution that sampling draws from."""
    weights = np.exp((logits - logits.max()) / sampling.temperature)
    order = np.argsort(-weights)
    if sampling.top_k:
        weights[order[sampling.top_k :]] = 0
    weights /= weights.sum()
    kept, mass = [], 0.0
    for token in order:
        if mass >= sampling.top_p:
            break
        kept.append(token)
        mass += weights[token]
    result = np.zeros_like(weights)
    result[kept] = weights[kept]
    return result / result.sum()


def exact_chances(
    model: Any, vocabulary: int, prompt: Output, length: int, sampling: Sampling
) -> dict[Output, float]:
    """The probability of every sequence of ``length`` tokens after ``prompt`` that can be drawn.

    Args:
        model: transformers' own; every beginning goes through it in one pass.
        vocabulary: tokens it has.
        prompt: what the sequences follow.
        length: at least 1.
        sampling: not greedy.
    """
    begins = list(product(range(vocabulary), repeat=length - 1))
    with torch.inference_mode():
        rows = torch.tensor([(*prompt, *begin) for begin in begins])
        logits = model(rows, use_cache=False).logits[:, len(prompt) - 1 :].double().numpy()
    chances: dict[Output, float] = {(): 1.0}
    for place in range(length):
        # Beginnings are in order: those that begin alike lie together, the first of them tells what follows.
        together = vocabulary ** (length - 1 - place)
        following: dict[Output, float] = {}
        for begin, chance in chances.items():
            row = sum(token * vocabulary ** (place - 1 - i) for i, token in enumerate(begin)) * together
            assert begins[row][:place] == begin
            for token, next_chance in enumerate(allowed(logits[row, place], sampling)):
                if next_chance > 0:
                    following[*begin, token] = chance * float(next_chance)
        chances = following
    assert abs(sum(chances.values()) - 1) < 1e-9
    return chances


def p_value(found: Counter[Output], exact: Mapping[Output, float], least_cells: int = 20) -> float:
    """Of Pearson's chi-square test over whole sequences; 0 where one was drawn that cannot be.

    Args:
        found: how often each sequence was drawn.
        exact: the probability of each that can be.
        least_cells: so many must be tested, for the test to be worth making.
    """
    count = found.total()
    if not found.keys() <= exact.keys():
        return 0.0
    often = [sequence for sequence, chance in exact.items() if chance * count >= LEAST_EXPECTED]
    cells = [(found[sequence], exact[sequence] * count) for sequence in often]
    rest = (count - sum(seen for seen, _ in cells), count - sum(expected for _, expected in cells))
    if rest[1] >= LEAST_EXPECTED:
        cells.append(rest)
    else:
        cells[-1] = (cells[-1][0] + rest[0], cells[-1][1] + rest[1])
    assert len(cells) >= least_cells
    return float(chi2.sf(sum((seen - expected) ** 2 / expected for seen, expected in cells), len(cells) - 1))
