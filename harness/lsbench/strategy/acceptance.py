"""Which drafted tokens the full model takes, and the token it adds: speculative sampling, exactly.

Leviathan et al., "Fast Inference from Transformers via Speculative Decoding" (2023), algorithm 1; Chen et
al., "Accelerating Large Language Model Decoding with Speculative Sampling" (2023). A token drawn from the
draft's distribution q is taken with probability min(1, p / q), p being the full model's; in place of the
first that is not taken, one is drawn from max(p - q, 0), normalised. What comes out is distributed as p,
whatever q is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lsbench.engine import Sampler, likeliest, probabilities
from lsbench.spec import Sampling


@dataclass(frozen=True)
class Drafted:
    """A proposed token.

    Attributes:
        token: its id.
        distribution: [V] that it was drawn from, with the request's temperature, top-k and top-p applied;
            None when it was not drawn but chosen (greedily, or by looking it up). Read only when sampling.
        layers: layers run to propose it.
        is_full_model: the session ran the token before it wholly and exactly, and this one was chosen from
            the logits which that gave with the whole head: there is nothing left to verify.
        head_share: what was read of the head's weights to propose it, 0 to 1.
        confidence: at which a depth policy let it stop (``DepthPolicy.exit_confidence``); None if none did.
    """

    token: int
    distribution: Tensor | None = None
    layers: float = 0.0
    is_full_model: bool = False
    head_share: float = 1.0
    confidence: float | None = None


def settle(drafted: Sequence[Drafted], logits: Tensor, sampler: Sampler) -> tuple[int, int]:
    """How many of the drafted tokens are taken, and the full model's own token after them.

    Args:
        drafted: K tokens, in order.
        logits: [K + 1, V] of the full model: for each drafted token where it stands, then after the last.
        sampler: of the request.
    """
    if sampler.sampling.greedy:
        choices = likeliest(logits)
        taken = 0
        while taken < len(drafted) and drafted[taken].token == choices[taken]:
            taken += 1
        return taken, choices[taken]
    for place, proposed in enumerate(drafted):
        target = probabilities(logits[place], sampler.sampling)
        if not is_taken(target, proposed, sampler.uniform()):
            return place, sampler.draw(remainder(target, proposed))
    return len(drafted), sampler.choose(logits[-1])


def is_taken(target: Tensor, proposed: Drafted, uniform: float) -> bool:
    """Whether a number drawn from [0, 1) falls below p / q.

    Args:
        target: [V] the full model's distribution p.
        proposed: the token and its q; a token that was chosen had q = 1.
        uniform: the number.
    """
    chance = 1.0 if proposed.distribution is None else float(proposed.distribution[proposed.token])
    return uniform * chance < float(target[proposed.token])


def acceptance_chance(target: Tensor, draft: Tensor, sampling: Sampling) -> Tensor:
    """How likely a token drafted from some logits would be taken.

    Args:
        target: [..., V] logits of the full model.
        draft: [..., V] logits of a draft.
        sampling: of the request.

    Returns:
        [...] the sum of min(p, q) over the vocabulary (Leviathan et al., 2023, theorem 3.5); greedily it is 1
        where both choose the same token, and 0 elsewhere.
    """
    if sampling.greedy:
        return (target.argmax(-1) == draft.argmax(-1)).double()
    return torch.minimum(probabilities(target, sampling), probabilities(draft, sampling)).sum(-1).double()


def remainder(target: Tensor, proposed: Drafted) -> Tensor:
    """[V] what a token is drawn from in place of one that was not taken; any positive total.

    Args:
        target: [V] the full model's distribution p.
        proposed: the token that was not taken, and its q.
    """
    if proposed.distribution is None:
        left = target.index_fill(0, torch.tensor([proposed.token], device=target.device), 0.0)
    else:
        left = (target - proposed.distribution).clamp(min=0)
    # Where p and q differ by rounding alone nothing may be left of p.
    return left if bool(left.any()) else target
