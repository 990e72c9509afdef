"""What strategies spend their time on that decode in loops of their own, over the transformers model.

The engine cannot count what such a loop runs. But the loop calls the model's decoder layers and its output
head, and on a CPU what a call takes is what its work takes; so one generation of each is watched, module by
module, outside of all timings. What is left is the loop: transformers' own, mostly.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from lsbench.execution.generation import generate
from lsbench.records import LoopTimes
from lsbench.spec import GenerateRequest

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from lsbench.engine.stack import DecoderStack
    from lsbench.strategy import Strategy

_TOKENS = 33
"""Generated at most; the first one's time is not decoding."""


class Subject(Protocol):
    """Who is watched."""

    @property
    def label(self) -> str:
        """Unique within the run."""
        ...

    @property
    def strategy(self) -> Strategy:
        """Prepared."""
        ...


def loop_times(
    stack: DecoderStack, tokenizer: PreTrainedTokenizerBase, subject: Subject, request: GenerateRequest
) -> LoopTimes | None:
    """Watch one generation.

    Args:
        stack: the model.
        tokenizer: the model's.
        subject: decodes in a loop of its own.
        request: a typical one of the run; the first tokens of its continuation are enough.

    Returns:
        None where modules cannot be watched (their work is only queued on a device), where the loop calls
        none of the model's layers, or where it decodes no second token.
    """
    if stack.device.type != "cpu":
        return None
    short = request.model_copy(update={"max_new_tokens": min(_TOKENS, request.max_new_tokens)})
    layers, head = Stopwatch(), Stopwatch()
    begun = False

    def begin(*_: object) -> None:
        nonlocal begun
        if not begun:
            begun = True
            layers.reset()
            head.reset()

    with layers.around(list(stack.layers)), head.around([stack.head_product]):
        made = generate(stack, tokenizer, subject.strategy, short, watch=begin)
    if not layers.calls or made.decode_s <= 0:
        return None
    return LoopTimes(
        label=subject.label, decode_s=made.decode_s, layers_s=layers.seconds, head_s=head.seconds
    )


class Stopwatch:
    """Adds up what calls of modules take; a call within another's counts once.

    Attributes:
        seconds, calls: since it was made, or reset.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._began = 0
        self.reset()

    def reset(self) -> None:
        """Forget what was added up."""
        self.seconds, self.calls = 0.0, 0

    @contextmanager
    def around(self, modules: Sequence[nn.Module]) -> Generator[None]:
        """Within, calls of these are watched."""
        handles = [
            handle
            for module in modules
            for handle in (
                module.register_forward_pre_hook(self._enter),
                module.register_forward_hook(self._leave),
            )
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, *_: object) -> None:
        if not self._depth:
            self._began = time.perf_counter_ns()
        self._depth += 1

    def _leave(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self.seconds += (time.perf_counter_ns() - self._began) / 1e9
            self.calls += 1
