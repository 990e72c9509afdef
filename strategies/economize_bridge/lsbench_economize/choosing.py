"""How economize's loop chooses tokens: by lsbench's own distributions, so that all are asked the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lsbench.engine import Sampler, probabilities
from lsbench.strategy import Sampling


class Drawing:
    """Draws with a request's temperature, top-k and top-p; economize's verifier weighs drafts by it.

    Args:
        sampling: not greedy.
        seed: of the request.
    """

    greedy = False

    def __init__(self, sampling: Sampling, seed: int) -> None:
        self._sampling = sampling
        self._seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def distributions(self, logits: Tensor) -> Tensor:
        """[..., V] probabilities of ``logits`` [..., V]."""
        return probabilities(logits, self._sampling)

    def distribution(self, logits: Tensor, history: Tensor) -> Tensor:
        """[V] probabilities of ``logits`` [V]; what came before is in them."""
        return self.distributions(logits)

    def generator_for(self, device: torch.device) -> torch.Generator:
        """The random numbers of this request there."""
        if device not in self._generators:
            self._generators[device] = torch.Generator(device=device).manual_seed(self._seed)
        return self._generators[device]

    def select_many(self, logits: Tensor) -> Tensor:
        """[B] tokens drawn for the rows of ``logits`` [B, V]."""
        generator = self.generator_for(logits.device)
        return torch.multinomial(self.distributions(logits), 1, generator=generator)[:, 0]

    def __call__(self, logits: Tensor, history: Tensor) -> int:
        """A token drawn for ``logits`` [V]."""
        return int(self.select_many(logits[None])[0])


class Sampled:
    """Chooses as lsbench's own loop does, from the same random numbers as the baseline.

    Args:
        sampler: of the request.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.greedy = sampler.sampling.greedy
        self._sampler = sampler

    def __call__(self, logits: Tensor, history: Tensor) -> int:
        """The next token for ``logits`` [V]."""
        return self._sampler.choose(logits)


class Following:
    """Writes a continuation that is there already, and keeps what would have been chosen: for scoring.

    Args:
        continuation: T token ids.
        sampler: makes the choices; None chooses greedily.
    """

    greedy = True

    def __init__(self, continuation: Sequence[int], sampler: Sampler | None) -> None:
        self._left = iter(continuation)
        self._sampler = sampler
        self.logprobs: list[float] = []
        """Of its tokens, in order."""
        self.choices: list[int] = []
        """In their places."""

    def __call__(self, logits: Tensor, history: Tensor) -> int:
        """The next token of the continuation; ``logits`` [V] are the method's after what stands before it."""
        token = next(self._left)
        precise = logits if logits.dtype == torch.float64 else logits.float()
        self.logprobs.append(float(torch.log_softmax(precise, dim=-1)[token]))
        self.choices.append(int(logits.argmax()) if self._sampler is None else self._sampler.choose(logits))
        return token
