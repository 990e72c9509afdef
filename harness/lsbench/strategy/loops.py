"""The decoding loops that strategies inherit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor

from lsbench.engine import DepthPolicy, Sampler, Session
from lsbench.spec import GenerateRequest, ScoreWindow
from lsbench.strategy.emission import Emitted, Scored

_SCORED_ROWS = 256
"""Tokens of a continuation scored in one pass: bounds the logits held, [rows, V]."""


def decode(session: Session, request: GenerateRequest, policy: DepthPolicy) -> Iterator[Emitted]:
    """Token by token, each as deep as ``policy`` decides.

    Args:
        session: empty, of one sequence.
        request: what to continue and how to draw.
        policy: made for this request.

    Yields:
        one token at a time, ``max_new_tokens`` in all. The first comes from the full-depth prefill.
    """
    if request.max_new_tokens < 1:
        return
    sampler = Sampler(request.sampling, request.seed, session.stack.agreement)
    logits = session.prefill(_ids(session, request.prompt_tokens), policy.needs_prompt_perplexity)
    token = sampler.choose(logits[0])
    yield Emitted((token,), (float(session.num_layers),))
    for _ in range(request.max_new_tokens - 1):
        result = session.forward(_ids(session, (token,)), policy)
        token = sampler.choose(result.logits[0, -1])
        sure = policy.exit_confidence
        depth = (float(result.layers_run[0, -1]),)
        yield Emitted((token,), depth, confidence=None if sure is None else (sure,))


def score_continuation(
    session: Session, window: ScoreWindow, policy: DepthPolicy, sampler: Sampler | None = None
) -> Scored:
    """Teacher-forced: each token of the continuation is predicted at the depth ``policy`` would decode it.

    Args:
        session: empty, of one sequence.
        window: context and continuation, neither empty.
        policy: made for this window.
        sampler: makes the choices; None chooses greedily.
    """
    continuation = window.continuation
    scores = _Scores(continuation, sampler)
    scores.add(session.prefill(_ids(session, window.context), policy.needs_prompt_perplexity))
    depth = [float(session.num_layers)]
    # The last token of the continuation is predicted, never run. Under a plan that never changes, tokens
    # go in one pass; the result is the same as one by one.
    width = 1 if policy.constant_plan(session.num_layers) is None else _SCORED_ROWS
    for begin in range(0, len(continuation) - 1, width):
        part = continuation[begin : min(begin + width, len(continuation) - 1)]
        result = session.forward(_ids(session, part), policy)
        scores.add(result.logits[0])
        depth.extend(result.layers_run[0].tolist())
    return Scored(tuple(scores.logprobs), tuple(scores.choices), tuple(depth))


class _Scores:
    """Log-probabilities and choices, collected in order."""

    def __init__(self, continuation: Sequence[int], sampler: Sampler | None) -> None:
        self.continuation = continuation
        self.sampler = sampler
        self.logprobs: list[float] = []
        self.choices: list[int] = []

    def add(self, logits: Tensor) -> None:
        """Take the predictions [T, V] of the next T tokens of the continuation."""
        begin = len(self.logprobs)
        targets = torch.tensor(self.continuation[begin : begin + logits.shape[0]], device=logits.device)
        precise = logits if logits.dtype == torch.float64 else logits.float()
        chosen = torch.log_softmax(precise, dim=-1).gather(-1, targets[:, None])[:, 0]
        # torch gives ``tolist`` no element type.
        self.logprobs.extend(cast("list[float]", chosen.tolist()))  # pyright: ignore[reportUnknownMemberType]
        if self.sampler is None:
            likeliest = logits.argmax(-1)
            self.choices.extend(cast("list[int]", likeliest.tolist()))  # pyright: ignore[reportUnknownMemberType]
        else:
            self.choices.extend(self.sampler.choose(row) for row in logits)


def _ids(session: Session, tokens: Sequence[int]) -> Tensor:
    """[1, T] int64 on the session's device."""
    return torch.tensor([tokens], dtype=torch.int64, device=session.stack.device)
