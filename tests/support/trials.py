"""Comparisons of two strategies as a machine would have timed them, of which the truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsbench.records import SampleRecord

BASELINE, STRATEGY = "autoregressive", "other"


@dataclass(frozen=True)
class Machine:
    """How a machine's speed goes up and down, as standard deviations of the logarithm of a generation's time.

    Attributes:
        noise: of each generation by itself.
        drift: of a trend over the whole run.
        walk: of a step of its pace, from one generation to the next.
        bursts: how often other work falls on a generation, which then takes 30 % longer on average.
    """

    noise: float = 0.02
    drift: float = 0.05
    walk: float = 0.004
    bursts: float = 0.0


BUSY = Machine(bursts=0.03)


def comparison(
    rng: np.random.Generator, prompts: int, speedup: float, machine: Machine = BUSY
) -> list[list[float]]:
    """Decode seconds and decoded tokens of the baseline, then of the strategy, one value a prompt.

    Both go on from prompts of 50 to 400 tokens by as many as the prompt calls for, each slower the longer its
    context; who is first alternates, as in a run.
    """
    tokens = rng.integers(15, 256, prompts).astype(float)
    context = rng.integers(50, 400, prompts) + tokens / 2
    pace = rng.normal(0, machine.drift) * np.linspace(-0.5, 0.5, 2 * prompts)
    pace += rng.normal(0, machine.walk, 2 * prompts).cumsum() + rng.normal(0, machine.noise, 2 * prompts)
    burst = (rng.random(2 * prompts) < machine.bursts) * rng.exponential(0.3, 2 * prompts)
    times: NDArray[np.float64] = (np.exp(pace) * (1 + burst)).reshape(prompts, 2)
    times[1::2] = times[1::2, ::-1]
    seconds = 0.01 * (1 + context / 2000) * tokens
    before, after = seconds * times[:, 0], seconds * times[:, 1] / speedup
    return [before.tolist(), tokens.tolist(), after.tolist(), tokens.tolist()]


def records(
    rng: np.random.Generator, prompts: int, speedup: float, machine: Machine = BUSY
) -> list[SampleRecord]:
    """The same as the lines that a run would have written."""
    columns = comparison(rng, prompts, speedup, machine)
    made: list[SampleRecord] = []
    for doc_id, (before, tokens, after, _) in enumerate(zip(*columns, strict=True)):
        both = [(BASELINE, before), (STRATEGY, after)]
        for label, seconds in both if doc_id % 2 == 0 else both[::-1]:
            made.append(
                SampleRecord.model_construct(
                    strategy=label, options={}, label=label, task="t", doc_id=doc_id, kind="generate",
                    arguments_sha256="", prompt="", prompt_tokens=50, token_ids=(0,) * int(tokens + 1),
                    ttft_s=0.1, decode_s=seconds,
                )
            )  # fmt: skip
    return made
