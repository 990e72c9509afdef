"""What a strategy is tried on: a model, prompts, and the strategy made with any options."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from pydantic import JsonValue

from lsbench.engine import DecoderStack
from lsbench.engine.random_model import random_stack
from lsbench.spec import GenerateRequest, Sampling, StrategyChoice
from lsbench.strategy import Preparation, Strategy
from lsbench.strategy.conformance.choices import changed
from lsbench.strategy.registry import resolve

TINY_LAYERS = 4
_TINY_TOKENS = 24
_FEW_TOKENS = 4
_GREEDY = Sampling()


@dataclass(frozen=True)
class Bench:
    """A model and what is asked of it.

    Attributes:
        description: the model, in words.
        stack: in float64, where ties are ties and nothing else is.
        prompts: token ids of at least four prompts, none empty.
        calibration_prompts: what strategies may calibrate on.
        max_new_tokens: decoded after each prompt.
        few: how many of the prompts serve the checks that run them again and again.
        draws: sequences drawn to test a distribution.
        tiny: whether a step takes a millisecond or so.
    """

    description: str
    stack: DecoderStack
    prompts: tuple[tuple[int, ...], ...]
    calibration_prompts: tuple[tuple[int, ...], ...]
    max_new_tokens: int = _TINY_TOKENS
    few: int = 6
    draws: int = 400
    tiny: bool = False

    @property
    def some(self) -> range:
        """The few prompts."""
        return range(min(self.few, len(self.prompts)))

    @cached_property
    def small(self) -> Bench:
        """A bench of as many layers on which a step takes a millisecond or so."""
        return self if self.tiny else random_bench(self.stack.num_layers)

    @cached_property
    def few_tokens(self) -> Bench:
        """A small bench of as many layers and four different tokens: every short sequence comes up often."""
        return random_bench(self.stack.num_layers, _FEW_TOKENS)

    @contextmanager
    def threads(self) -> Generator[None]:
        """One thread while a tiny model runs: two wait for each other longer than they work."""
        before = torch.get_num_threads()
        if self.tiny:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    @cached_property
    def preparation(self) -> Preparation:
        """One for all, since what it measures does not depend on the strategy."""
        return Preparation(self.stack, self.calibration_prompts)

    def request(
        self,
        prompt: int,
        sampling: Sampling = _GREEDY,
        seed: int = 0,
        max_new_tokens: int | None = None,
        stop_token_ids: Sequence[int] = (),
    ) -> GenerateRequest:
        """A request to continue prompt number ``prompt``; greedy and to the limit unless asked otherwise."""
        return GenerateRequest(
            task="conformance",
            doc_id=prompt,
            arguments_sha256="",
            prompt="",
            prompt_tokens=self.prompts[prompt],
            max_new_tokens=self.max_new_tokens if max_new_tokens is None else max_new_tokens,
            stop_token_ids=tuple(stop_token_ids),
            sampling=sampling,
            seed=seed,
        )


def random_bench(num_layers: int = TINY_LAYERS, vocabulary_size: int = 61) -> Bench:
    """A random Llama and prompts for it.

    Some are random, some repeat themselves, some are of three different tokens, so that every few of them
    came before but went on otherwise, and one is of a single token.
    """
    generator = torch.Generator().manual_seed(1)

    def draw(length: int, different: int = vocabulary_size) -> tuple[int, ...]:
        ids = torch.randint(different, (length,), generator=generator)
        return tuple(int(token) for token in ids)

    prompts: list[tuple[int, ...]] = []
    for length in (9, 5, 16, 3, 12, 7):
        phrase = draw(length)
        prompts += [phrase, phrase * 3 + phrase[: length // 2], draw(5 * length, 3)]
    prompts.append(draw(1))
    return Bench(
        f"a random Llama of {num_layers} layers in float64",
        random_stack(num_layers, vocabulary_size),
        tuple(prompts),
        tuple(draw(24) for _ in range(4)),
        tiny=True,
    )


@dataclass(frozen=True)
class Subject:
    """The strategy under test.

    Attributes:
        choice: its name and the options it is checked with, every required one among them.
        strategy: its class.
        bench: what it is tried on.
    """

    choice: StrategyChoice
    strategy: type[Strategy]
    bench: Bench

    def make(self, changes: Mapping[str, JsonValue] | None = None, bench: Bench | None = None) -> Strategy:
        """A new strategy, checked against the model and prepared.

        Args:
            changes: options that differ from ``choice``.
            bench: instead of the subject's own.

        Raises:
            BadInput: options that the strategy or the model refuses.
        """
        bench = bench or self.bench
        made = self.make_unprepared(changes or {})
        made.check(bench.stack.num_layers)
        made.check_model(bench.stack.model.config.model_type)
        made.prepare(bench.preparation)
        return made

    def make_unprepared(self, changes: Mapping[str, JsonValue]) -> Strategy:
        """The strategy before it has seen a model.

        Raises:
            BadInput: options that it refuses.
        """
        name, layers = self.choice.name, self.bench.stack.num_layers
        return resolve(StrategyChoice(name=name, options=changed(name, self.choice.options, changes, layers)))
