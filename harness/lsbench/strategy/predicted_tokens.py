"""Which tokens a model predicts most on its calibration prompts, whatever its tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lsbench.engine import DecoderStack, DepthPlan, Session


@dataclass(frozen=True)
class PredictedTokens:
    """What the full model predicts after every position of some prompts.

    Attributes:
        mass: [P, V] float64, the probability of each token, summed over the positions of each prompt.
        choices: of each prompt of T tokens, [T] the likeliest token after each position.
    """

    mass: Tensor
    choices: tuple[Tensor, ...]

    def most_frequent(self, count: int) -> Tensor:
        """[count] ids of the largest mean probability, falling; the lower id first where two are alike."""
        return _falling(self.mass.sum(dim=0))[:count]

    def coverage(self, count: int) -> float | None:
        """How often the model's choice in one prompt is among the ``count`` most frequent of the others.

        The prompts that a ranking was made from are no witness: on the embedded model 8192 tokens hold 98.6 %
        of what is predicted there, but 93.7 % of the choices in a prompt left out of the ranking, and 94.5 %
        of what it writes after HumanEval's prompts.

        Returns:
            0 to 1, each position of all prompts alike; None where there are not two prompts.
        """
        if len(self.choices) < 2:
            return None
        return float((self._ranks < count).double().mean())

    @cached_property
    def _ranks(self) -> Tensor:
        """[T of all prompts] the place of each choice among the most frequent tokens of the other prompts."""
        total = self.mass.sum(dim=0)
        return torch.cat(
            [
                torch.argsort(_falling(total - own))[choices]
                for own, choices in zip(self.mass, self.choices, strict=True)
            ]
        )


def predicted_tokens(stack: DecoderStack, prompts: Sequence[Sequence[int]]) -> PredictedTokens:
    """Run the full model over some prompts of token ids."""
    mass = torch.zeros(len(prompts), stack.vocabulary_size, dtype=torch.float64, device=stack.device)
    plan = DepthPlan.full(stack.num_layers)
    choices: list[Tensor] = []
    for place, prompt in enumerate(prompts):
        tokens = torch.tensor([prompt], dtype=torch.int64, device=stack.device)
        logits = Session(stack, capacity=len(prompt)).forward(tokens, plan).logits[0]
        mass[place] = torch.softmax(logits.float(), dim=-1).sum(dim=0, dtype=torch.float64)
        choices.append(logits.argmax(dim=-1))
    return PredictedTokens(stack.agreement.tensor(mass), tuple(choices))


def _falling(mass: Tensor) -> Tensor:
    """[V] ids in order of [V] masses, the largest first."""
    return torch.sort(mass, descending=True, stable=True).indices
