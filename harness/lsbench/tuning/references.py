"""What the full model itself writes after the tuning prompts: made once, and every candidate is judged by it.

A reference holds all that a full-depth pass over its tokens computed: keys and values of every layer, and the
hidden states between the sub-layers. A candidate computes anew only what it would do differently.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from torch import Tensor

from lsbench.engine import DepthPlan, Session
from lsbench.execution.generation import generate
from lsbench.spec import BASELINE, Frozen, GenerateRequest, Sampling, StrategyChoice
from lsbench.store.atomic import write_atomically
from lsbench.strategy import Preparation, Strategy
from lsbench.strategy.registry import resolve

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lsbench.engine.stack import DecoderStack

_FILE = "references.json"


class Continuation(Frozen):
    """What the baseline wrote, as it is kept in the folder of a search."""

    token_ids: tuple[int, ...]
    ttft_s: float
    decode_s: float


class _Kept(Frozen):
    continuations: dict[str, Continuation]


@dataclass(frozen=True)
class Reference:
    """A prompt of P tokens, the n that the full model continues it with, and what it computed for them.

    Its R = n - 1 rows are the tokens that are run to predict the next one: row r holds token r, stands at
    position P + r, and predicts token r + 1. Token 0 comes from the prefill, whatever the strategy.

    Attributes:
        request: what was continued, greedily.
        continuation: what came of it.
        session: holds the prompt and all rows, exactly; it is only read.
        hidden: [2L + 1, R, D] what enters each sub-layer, and the head.
        first_logits: [V] that token 0 was chosen from.
    """

    request: GenerateRequest
    continuation: Continuation
    session: Session
    hidden: Tensor
    first_logits: Tensor

    @property
    def rows(self) -> int:
        """R, at least 1."""
        return self.hidden.shape[1]

    @property
    def prompt_length(self) -> int:
        """P."""
        return len(self.request.prompt_tokens)

    @property
    def tokens(self) -> tuple[int, ...]:
        """The n ids that the full model wrote."""
        return self.continuation.token_ids

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """[R] the token that each row is to predict."""
        return np.array(self.tokens[1:], dtype=np.int64)


@dataclass(frozen=True)
class References:
    """The references of a search.

    Attributes:
        stack: the model that wrote them.
        references: one a prompt; a prompt whose first token is its last has nothing to be judged by.
        seconds: what it took to make them, this time.
    """

    stack: DecoderStack
    references: tuple[Reference, ...]
    seconds: float

    @property
    def decoded(self) -> int:
        """Tokens that a candidate is judged by: those after the first, of all references."""
        return sum(reference.rows for reference in self.references)

    @property
    def num_bytes(self) -> int:
        """Bytes held in hidden states, keys and values."""
        return sum(
            reference.hidden.numel() * reference.hidden.element_size() + reference.session.cache.num_bytes
            for reference in self.references
        )


def make_references(
    stack: DecoderStack,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[GenerateRequest],
    model_sha256: str,
    folder: Path | None = None,
) -> References:
    """Let the baseline continue every prompt, greedily, and keep what it computed.

    Args:
        stack: the model.
        tokenizer: the model's, for stop strings.
        requests: of the tuning split; how they would sample is not looked at.
        model_sha256: tells this model's continuations from another's in ``folder``.
        folder: of the search. What was written is kept there, so that it is not decoded again when the search
            is resumed; None keeps nothing.

    Returns:
        one for each request whose continuation has at least two tokens.
    """
    begin = time.perf_counter()
    known = _read(folder)
    baseline = resolve(StrategyChoice(name=BASELINE))
    baseline.prepare(Preparation(stack, ()))
    made: list[Reference] = []
    continuations: dict[str, Continuation] = {}
    for request in requests:
        greedy = request.model_copy(update={"sampling": Sampling()})
        key = _key(model_sha256, str(stack.dtype), greedy)
        continuation = known.get(key) or _continued(stack, tokenizer, baseline, greedy)
        continuations[key] = continuation
        if len(continuation.token_ids) > 1:
            made.append(reference_of(stack, greedy, continuation))
    if folder is not None and not continuations.items() <= known.items():
        kept = _Kept(continuations={**known, **continuations})
        write_atomically(folder / _FILE, kept.model_dump_json(indent=1) + "\n")
    return References(stack, tuple(made), time.perf_counter() - begin)


@torch.inference_mode()
def reference_of(stack: DecoderStack, request: GenerateRequest, continuation: Continuation) -> Reference:
    """Run a continuation of at least two tokens once, at full depth, and keep all of it."""
    prompt, rows = request.prompt_tokens, continuation.token_ids[:-1]
    session = Session(stack, capacity=len(prompt) + len(rows))
    first_logits = session.prefill(_ids(stack, prompt), with_perplexity=True)[0]
    states = _States(stack, len(prompt), len(rows))
    session.forward(_ids(stack, rows), DepthPlan.full(stack.num_layers), states)
    return Reference(request, continuation, session, states.hidden, first_logits)


class _States:
    """Hears what enters each sub-layer, and what leaves the last (``lsbench.engine.Observer``)."""

    def __init__(self, stack: DecoderStack, first: int, rows: int) -> None:
        self._first, self._last = first, 2 * stack.num_layers - 1
        width = stack.embedding.weight.shape[1]
        self.hidden = torch.empty(self._last + 2, rows, width, dtype=stack.dtype, device=stack.device)

    def __call__(
        self, sublayer: int, positions: npt.NDArray[np.int64], entering: Tensor, leaving: Tensor
    ) -> None:
        rows = torch.as_tensor(positions - self._first, device=entering.device)
        self.hidden[sublayer, rows] = entering
        if sublayer == self._last:
            self.hidden[sublayer + 1, rows] = leaving


def _continued(
    stack: DecoderStack, tokenizer: PreTrainedTokenizerBase, baseline: Strategy, request: GenerateRequest
) -> Continuation:
    made = generate(stack, tokenizer, baseline, request)
    return Continuation(token_ids=made.token_ids, ttft_s=made.ttft_s, decode_s=made.decode_s)


def _key(model_sha256: str, dtype: str, request: GenerateRequest) -> str:
    """Of all that decides what the baseline writes."""
    asked = [
        model_sha256,
        dtype,
        request.prompt_tokens,
        request.max_new_tokens,
        request.stop_strings,
        request.stop_token_ids,
    ]
    return hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()


def _read(folder: Path | None) -> Mapping[str, Continuation]:
    """What is kept; what cannot be read is written anew."""
    try:
        return (
            {} if folder is None else _Kept.model_validate_json((folder / _FILE).read_bytes()).continuations
        )
    except (OSError, ValidationError):
        return {}


def _ids(stack: DecoderStack, tokens: Sequence[int]) -> Tensor:
    """[1, T] int64."""
    return torch.tensor([tokens], dtype=torch.int64, device=stack.device)
