"""From logits to a token: temperature, top-k, top-p, and a draw that depends on nothing but the seed."""

from __future__ import annotations

import torch
from torch import Tensor

from lsbench.engine.agreement import ALONE, Agreement
from lsbench.engine.native.library import is_loaded
from lsbench.spec import Sampling


def probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """The distribution a token is drawn from, after temperature, then top-k, then top-p.

    Args:
        logits: [..., V].
        sampling: greedy gives all mass to the most likely token.

    Returns:
        [..., V] float32 (float64 for float64 logits), each summing to 1. Top-p keeps the smallest set of
        most likely tokens whose mass reaches ``top_p`` (Holtzman et al., 2020); the likeliest always stays.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if sampling.greedy:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    scaled = logits / sampling.temperature
    if 0 < sampling.top_k < scaled.shape[-1]:
        least = torch.topk(scaled, sampling.top_k, dim=-1).values[..., -1:]
        scaled = scaled.masked_fill(scaled < least, -torch.inf)
    result = torch.softmax(scaled, dim=-1)
    if sampling.top_p < 1:
        ordered, index = torch.sort(result, dim=-1, descending=True, stable=True)
        mass_before = ordered.cumsum(-1) - ordered
        dropped = mass_before >= sampling.top_p
        dropped[..., 0] = False
        result = result.masked_fill(dropped.gather(-1, index.argsort(-1)), 0.0)
        result = result / result.sum(-1, keepdim=True)
    return result


def likeliest(logits: Tensor) -> list[int]:
    """The most likely token of each row of ``logits`` [N, V]; of several alike the first.

    On a CPU torch would take as long for it as for a small layer: compiled code finds it, or NumPy, which is
    ten times as fast as torch. On other devices all rows are waited for once.
    """
    if logits.device.type == "cpu":
        if logits.dtype in (torch.float32, torch.bfloat16) and is_loaded():
            return torch.ops.lsbench.likeliest.default(logits).tolist()
        # NumPy has no bfloat16.
        rows = logits.float() if logits.dtype == torch.bfloat16 else logits
        return [int(token) for token in rows.numpy().argmax(-1)]
    return [int(token) for token in logits.argmax(-1).cpu().numpy()]


class Sampler:
    """Draws the tokens of one request.

    Args:
        sampling: how.
        seed: of this request alone. Draws are made on the CPU, so that a device never changes them.
        agreement: with other ranks that draw the same, which are told what rank 0 drew.
    """

    def __init__(self, sampling: Sampling, seed: int, agreement: Agreement = ALONE) -> None:
        self.sampling = sampling
        self._agreement = agreement
        self._generator = torch.Generator().manual_seed(seed)

    def uniform(self) -> float:
        """The next number in [0, 1)."""
        return float(torch.rand((), generator=self._generator, dtype=torch.float64))

    def choose(self, logits: Tensor) -> int:
        """The next token from ``logits`` [V]."""
        if self.sampling.greedy:
            return likeliest(logits[None])[0]
        return self.draw(probabilities(logits, self.sampling))

    def draw(self, distribution: Tensor) -> int:
        """A token from ``distribution`` [V] (any positive total), by inverting its cumulative sum."""
        cumulative = distribution.double().cumsum(-1)
        target = self.uniform() * float(cumulative[-1])
        index = int(
            torch.searchsorted(cumulative, torch.tensor(target, device=cumulative.device), right=True)
        )
        # Rounding may put the target at the very end, past the last token that has any mass.
        drawn = min(index, int(distribution.nonzero()[-1]))
        return self._agreement.whole_numbers((drawn,))[0]
