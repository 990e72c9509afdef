"""The logit lens: what a model would predict after each of its layers, if it stopped there.

Final norm and output head on the hidden state after every layer (nostalgebraist, "interpreting GPT: the logit
lens", 2020). After the last layer it is the model's own prediction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsbench.engine.stack import DecoderStack

Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

_ROWS = 256
"""Rows that go through the head at a time: bounds the logits held, [rows, V]."""
_COMPARED = 16
"""Rows whose layers are compared at a time: bounds the copies held, [rows, L + 1, D] in float64."""


@dataclass(frozen=True)
class Lens:
    """Predictions of L layers for R rows, each row a token that was run to predict the next.

    Attributes:
        choices: [L, R] the likeliest token after each layer.
        chances: [L, R] its probability there, at temperature 1.
    """

    choices: Indices
    chances: Numbers

    @property
    def num_layers(self) -> int:
        """L."""
        return len(self.choices)

    @property
    def rows(self) -> int:
        """R."""
        return self.choices.shape[1]

    @property
    def agrees(self) -> Flags:
        """[L, R] whether a layer predicts what the last one does."""
        return self.choices == self.choices[-1]

    @property
    def reached(self) -> Indices:
        """[R] the first layer, 1..L, that predicts what the last one does."""
        return 1 + np.argmax(self.agrees, axis=0).astype(np.int64)

    @property
    def kept(self) -> Indices:
        """[R] the first layer, 1..L, from which on every layer predicts what the last one does."""
        wrong = ~self.agrees[::-1]
        return np.where(wrong.any(axis=0), 1 + self.num_layers - np.argmax(wrong, axis=0), 1).astype(np.int64)


@torch.inference_mode()
def lens_of(stack: DecoderStack, hidden: Iterable[Tensor]) -> Lens:
    """Look at what layers left behind.

    Args:
        stack: the model.
        hidden: [R, D] after each layer, in order; the last is what enters final norm and head.
    """
    looked = [predictions(stack, after) for after in hidden]
    return Lens(np.stack([choices for choices, _ in looked]), np.stack([chances for _, chances in looked]))


@torch.inference_mode()
def predictions(stack: DecoderStack, hidden: Tensor) -> tuple[Indices, Numbers]:
    """The likeliest token after each hidden state of [R, D], and its probability at temperature 1."""
    choices: list[Tensor] = []
    chances: list[Tensor] = []
    for part in hidden.split(_ROWS):
        logits = stack.head(part)
        precise = logits if logits.dtype == torch.float64 else logits.float()
        most, places = precise.max(dim=-1)
        choices.append(places)
        chances.append((most - torch.logsumexp(precise, dim=-1)).exp().double())
    return torch.cat(choices).cpu().numpy(), torch.cat(chances).cpu().numpy()


@torch.inference_mode()
def cosines(hidden: Tensor) -> Numbers:
    """[S, R] cosine of what enters and what leaves each of S sub-layers.

    Args:
        hidden: [S + 1, R, D] what enters each, and what leaves the last.
    """
    found = (torch.cosine_similarity(a.double(), b.double(), dim=-1) for a, b in pairwise(hidden))
    return np.stack([each.cpu().numpy() for each in found])


@torch.inference_mode()
def similarity(hidden: Tensor) -> Numbers:
    """[N, N] cosine of every two of N hidden states of a row, the mean over rows of [N, R, D]."""
    total = torch.zeros(len(hidden), len(hidden), dtype=torch.float64, device=hidden.device)
    for part in hidden.split(_COMPARED, dim=1):
        unit = torch.nn.functional.normalize(part.double(), dim=-1).transpose(0, 1)
        total += (unit @ unit.transpose(1, 2)).sum(dim=0)
    return (total / hidden.shape[1]).cpu().numpy()
