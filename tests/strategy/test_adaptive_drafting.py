"""How many tokens a cycle drafts where it may decide that itself."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from lsbench.engine import DecoderStack
from lsbench.strategy import Drafted, draft_cost, speculate
from support.drafting import Clockwork, Costly, Told, request_for, tokens_of


class Sometimes(Told):
    """Right with a given chance, at a given price; where it is right is the same however much is drafted."""

    def __init__(self, output: list[int], chance: float, price: float) -> None:
        super().__init__(output)
        self.price = price
        chances = random.Random(8)
        right = [chances.random() < chance for _ in output]
        self.output = [
            token if is_right else (token + 1) % 61 for token, is_right in zip(output, right, strict=True)
        ]

    def propose(self, session, last, count, sampler) -> Iterator[Drafted]:
        for drafted in super().propose(session, last, count, sampler):
            Clockwork.now += self.price
            yield drafted


@pytest.mark.slow
@pytest.mark.parametrize(("chance", "price"), [(0.95, 0.05), (0.5, 0.2)])
def test_adapting_takes_about_as_long_as_the_best_fixed_number(
    stack: DecoderStack, greedy: list[int], monkeypatch: pytest.MonkeyPatch, chance: float, price: float
) -> None:
    monkeypatch.setattr(draft_cost, "Clock", Clockwork)

    def took(count: int, adaptive: bool) -> float:
        Clockwork.now = 0.0
        draft = Sometimes(greedy, chance, price)
        emitted = list(speculate(Costly(stack), request_for(110), draft, count, adaptive))
        assert tokens_of(emitted) == greedy[:110]
        return Clockwork.now

    fixed = [took(count, False) for count in range(1, 9)]
    assert max(fixed) > 1.25 * min(fixed)
    assert took(8, True) <= 1.08 * min(fixed)
