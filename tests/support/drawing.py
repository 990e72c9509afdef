"""Many short sequences drawn at once: they decode as a batch, each with a seed of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from lsbench.engine import DecoderStack, Session
from lsbench.engine.batch import Batch
from lsbench.spec import GenerateRequest
from lsbench.strategy import Emitted
from support.distribution import Output

Generate = Callable[[Session, GenerateRequest], Iterable[Emitted]]
_AT_ONCE = 100


@dataclass(frozen=True)
class Drawn:
    """What came out: how often each sequence did, and which share of the drafts was taken (0 without any)."""

    outputs: Counter[Output]
    taken: float


def drawn_together(stack: DecoderStack, generate: Generate, requests: Sequence[GenerateRequest]) -> Drawn:
    """Draw a sequence for each request."""
    outputs: Counter[Output] = Counter()
    drafted = accepted = 0
    for emitted in _emitted(stack, generate, requests):
        outputs[tuple(token for emission in emitted for token in emission.tokens)] += 1
        drafted += sum(emission.drafted or 0 for emission in emitted)
        accepted += sum(len(emission.tokens) for emission in emitted if emission.kind == "accepted")
    return Drawn(outputs, accepted / max(drafted, 1))


def _emitted(
    stack: DecoderStack, generate: Generate, requests: Sequence[GenerateRequest]
) -> Iterator[list[Emitted]]:
    for begin in range(0, len(requests), _AT_ONCE):
        batch = Batch(stack)

        def member(request: GenerateRequest, batch: Batch = batch) -> list[Emitted]:
            capacity = len(request.prompt_tokens) + request.max_new_tokens
            return list(generate(batch.session(capacity), request))

        yield from batch.run([partial(member, request) for request in requests[begin : begin + _AT_ONCE]])
