"""A prompt that is continued by the tiny model of six layers, and a draft that is told what to propose."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from lsbench.engine import ConstantPolicy, DepthPlan, Session
from lsbench.spec import GenerateRequest
from lsbench.strategy import Draft, Drafted, Emitted
from support.requests import generate_request

PROMPT = (5, 17, 3, 44, 8, 21, 9)
LAYERS = 6
FULL = ConstantPolicy(DepthPlan.full(LAYERS))


def request_for(count: int = 24, **given) -> GenerateRequest:
    return generate_request(PROMPT, count, **given)


def tokens_of(emitted: list[Emitted]) -> list[int]:
    return [token for emission in emitted for token in emission.tokens]


class Told(Draft):
    """Proposes what it was told, from where the output stands, and remembers what it was asked."""

    def __init__(self, output: list[int]) -> None:
        self.output = output
        self.asked: list[int] = []

    def propose(self, session, last, count, sampler) -> Iterator[Drafted]:
        done = session.lengths[0] - len(PROMPT) + 1
        assert session.exact_lengths == session.lengths
        assert (*session.tokens(), last)[len(PROMPT) :][-1] == last
        self.asked.append(count)
        yield from map(Drafted, self.output[done:])


class Clockwork:
    """A clock that moves when the engine works, by what it was set to."""

    now = 0.0

    def __init__(self, device: torch.device) -> None:
        pass

    def now_s(self) -> float:
        return Clockwork.now


class Costly(Session):
    """A verifying pass takes 1, and 0.04 for every row beyond the first."""

    def verify(self, tokens, observer=None, first=None):
        Clockwork.now += 1 + 0.04 * (tokens.shape[1] - 1)
        return super().verify(tokens, observer, first)
