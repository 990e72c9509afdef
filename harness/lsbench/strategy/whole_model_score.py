"""The score of a continuation by transformers' own forward pass: for methods that bring their own loop."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from lsbench.engine import Sampler, Session
from lsbench.spec import ScoreWindow
from lsbench.strategy.emission import Scored

_SCORED_ROWS = 512
"""Tokens of a continuation scored in one pass: bounds the logits held, [rows, V]."""


def score_with_model(session: Session, window: ScoreWindow, sampler: Sampler | None = None) -> Scored:
    """What the full model says: the ``score`` of a lossless method that brings its own loop.

    One forward pass of the session's transformers model for each 512 tokens of the continuation; the session
    itself stays empty.

    Args:
        session: whose model runs.
        window: context and continuation, neither empty.
        sampler: makes the choices; None chooses greedily.
    """
    logprobs: list[float] = []
    choices: list[int] = []
    model: Any = session.model
    for begin in range(0, len(window.continuation), _SCORED_ROWS):
        part = window.continuation[begin : begin + _SCORED_ROWS]
        tokens = (*window.context, *window.continuation[: begin + len(part)])
        ids = torch.tensor([tokens], dtype=torch.int64, device=session.stack.device)
        with torch.inference_mode():
            # The last token is predicted, never run.
            output = model(ids[:, :-1], use_cache=False, logits_to_keep=len(part))
        logits: Tensor = output.logits[0]
        precise = logits if logits.dtype == torch.float64 else logits.float()
        chosen = torch.log_softmax(precise, dim=-1).gather(-1, ids[0, -len(part) :, None])[:, 0]
        logprobs.extend(_listed(chosen))
        if sampler is None:
            choices.extend(map(int, _listed(logits.argmax(-1))))
        else:
            choices.extend(sampler.choose(row) for row in logits)
    return Scored(tuple(logprobs), tuple(choices), None)


def _listed(values: Tensor) -> list[float]:
    """torch gives ``tolist`` no element type."""
    return cast("list[float]", values.tolist())  # pyright: ignore[reportUnknownMemberType]
