"""A model small enough to run in milliseconds, what strategies calibrate on, and how they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest
import torch

from lsbench.engine import DecoderStack, Session
from lsbench.spec import GenerateRequest, Sampling, parse_strategy
from lsbench.strategy import Emitted, Preparation, Strategy
from lsbench.strategy.registry import resolve
from support.models import random_llama, single_thread
from support.requests import generate_request

LAYERS = 6
VOCABULARY = 61


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="session")
def stack() -> DecoderStack:
    """Six layers of random weights, large enough that every layer changes the prediction; float64."""
    return DecoderStack(
        random_llama(4, vocab_size=VOCABULARY, num_hidden_layers=LAYERS, intermediate_size=80).double()
    )


@pytest.fixture(scope="session")
def preparation(stack: DecoderStack) -> Preparation:
    """Eight calibration prompts of 30 tokens."""
    generator = torch.Generator().manual_seed(9)
    prompts = torch.randint(0, VOCABULARY, (8, 30), generator=generator)
    return Preparation(stack, tuple(tuple(prompt) for prompt in prompts.tolist()))


@dataclass(frozen=True)
class Output:
    """What a strategy emitted for one prompt."""

    tokens: tuple[int, ...]
    depths: tuple[float, ...]
    emitted: tuple[Emitted, ...]
    session: Session
    request: GenerateRequest

    @property
    def mean_depth(self) -> float:
        """Layers run for each token after the prefill's."""
        return sum(self.depths[1:]) / len(self.depths[1:])


@dataclass(frozen=True)
class Bench:
    """Makes strategies ready and runs them on the tiny model."""

    stack: DecoderStack
    preparation: Preparation

    def make(self, text: str) -> Strategy:
        """As the command line spells it; checked and calibrated."""
        strategy = resolve(parse_strategy(text))
        strategy.check(self.stack.num_layers)
        strategy.prepare(self.preparation)
        return strategy

    def run(
        self,
        strategy: Strategy | str,
        prompt: Sequence[int] = (5, 17, 3, 44, 8, 21, 9),
        count: int = 24,
        sampling: Sampling | None = None,
        seed: int = 0,
    ) -> Output:
        """Generate from one prompt."""
        strategy = self.make(strategy) if isinstance(strategy, str) else strategy
        request = generate_request(prompt, count, sampling=sampling or Sampling(), seed=seed)
        session = Session(self.stack)
        emitted = tuple(strategy.generate(session, request))
        tokens = tuple(token for emission in emitted for token in emission.tokens)
        depths = tuple(depth for emission in emitted for depth in emission.depth or ())
        return Output(tokens, depths, emitted, session, request)


@pytest.fixture(scope="session")
def bench(stack: DecoderStack, preparation: Preparation) -> Bench:
    return Bench(stack, preparation)


@pytest.fixture(scope="session")
def make_bench() -> Callable[[DecoderStack, Preparation], Bench]:
    """A bench of another model."""
    return Bench


Refusal = Callable[[str], str]


@pytest.fixture(scope="session")
def refusal() -> Refusal:
    """The one line that a strategy is refused with, before any weights are needed."""

    def refusal(text: str, num_layers: int = LAYERS) -> str:
        from lsbench.errors import BadInput

        with pytest.raises(BadInput) as caught:
            resolve(parse_strategy(text)).check(num_layers)
        message = str(caught.value)
        assert "\n" not in message
        return message

    return refusal
