"""Our engine, under one of our strategies."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.peers.peer import AUTOREGRESSIVE, Decoded, Prompts
from lsbench.engine.batch import Batch
from lsbench.engine.stack import DecoderStack
from lsbench.execution.generation import Generation, generate
from lsbench.spec import GenerateRequest, parse_strategy
from lsbench.strategy import Preparation
from lsbench.strategy.calibration import CALIBRATION_TEXTS
from lsbench.strategy.registry import resolve

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Ours:
    """Decodes and is timed exactly as in ``lsbench run``.

    Args:
        stack: the model; several strategies may share it.
        tokenizer: the model's.
        strategy: as ``--strategy`` takes it.
    """

    beside: tuple[str, ...] = AUTOREGRESSIVE

    def __init__(self, stack: DecoderStack, tokenizer: PreTrainedTokenizerBase, strategy: str) -> None:
        self.name = strategy
        self.about = f"lsbench's engine, {stack.dtype} weights"
        self._stack, self._tokenizer = stack, tokenizer
        self._strategy = resolve(parse_strategy(strategy))
        self._strategy.check(stack.num_layers)
        texts = tuple(tuple(tokenizer(text)["input_ids"]) for text in CALIBRATION_TEXTS)
        self._strategy.prepare(Preparation(stack, texts))

    def decode(self, prompts: Prompts, tokens: int) -> Decoded:
        """One prompt by itself, several as a batch."""
        requests = [
            GenerateRequest(
                task="benchmark",
                doc_id=number,
                arguments_sha256="",
                prompt="",
                prompt_tokens=tuple(prompt),
                max_new_tokens=tokens,
            )
            for number, prompt in enumerate(prompts)
        ]
        run = partial(generate, self._stack, self._tokenizer, self._strategy)
        if len(requests) == 1:
            found = [run(requests[0])]
        else:
            found = self._together([partial(run, request) for request in requests])
        first_s = max(each.ttft_s for each in found)
        return Decoded(
            outputs=tuple(each.token_ids for each in found),
            first_s=first_s,
            decode_s=max(each.ttft_s + each.decode_s for each in found) - first_s,
            decoded=sum(len(each.token_ids) - 1 for each in found),
        )

    def _together(self, members: list[partial[Generation]]) -> list[Generation]:
        """What each member made, in their order, whoever ends first."""
        batch = Batch(self._stack)
        found: dict[int, Generation] = {}

        def member(place: int) -> int:
            found[place] = members[place](batch)
            return place

        for _ in batch.run([partial(member, place) for place in range(len(members))]):
            pass
        return [found[place] for place in range(len(members))]
