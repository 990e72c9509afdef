"""transformers' own ``generate`` on the run's model, as a strategy's loop: what outside methods share.

The model is the session's: the same weights, whose linear modules are the engine's stand-ins (as they are
for every strategy), so its products go through the engine's seam and its tokens are those of an untouched
copy. Everything else (attention, cache, loop, acceptance) is transformers'. Layers run and drafted tokens
cannot be told from outside, and are None.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from lsbench.engine import Sampler, Session
from lsbench.strategy import (
    BorrowedRandomness,
    Emitted,
    GenerateRequest,
    Scored,
    ScoreWindow,
    Strategy,
    StreamRelay,
    score_with_model,
)


class TransformersGeneration(Strategy):
    """A strategy whose tokens come out of ``generate``; a subclass says how it is to be called."""

    lossless = True
    batchable = False
    own_draws: ClassVar[bool] = True
    """Whether transformers draws sampled tokens itself, from its global random numbers (seeded by the
    request and given back after every turn), or lsbench's ``Sampler`` does for it."""

    def generate(self, session: Session, request: GenerateRequest) -> Iterator[Emitted]:
        """Tokens as ``generate`` puts them out: one by one, or in blocks of accepted drafts."""
        if request.max_new_tokens < 1:
            return
        model = self.model(session)
        sampled = not request.sampling.greedy
        call: dict[str, Any] = {"generation_config": self.config(model, [request])}
        if sampled and not self.own_draws:
            sampler = Sampler(request.sampling, request.seed, session.stack.agreement)
            call["logits_processor"] = [Draws([sampler])]
        device = session.stack.device
        ids = torch.tensor([request.prompt_tokens], dtype=torch.int64, device=device)
        randomness = BorrowedRandomness(request.seed, device) if sampled and self.own_draws else None
        mask = torch.ones_like(ids)
        self.get_ready(model, call["generation_config"], ids, mask)
        for tokens in StreamRelay().run(
            lambda relay: model.generate(ids, attention_mask=mask, streamer=relay, **call), randomness
        ):
            yield Emitted(tokens, None)

    def score(self, session: Session, window: ScoreWindow, sampler: Sampler | None = None) -> Scored:
        """The full model's, by transformers' forward pass."""
        return score_with_model(session, window, sampler)

    def get_ready(self, model: Any, config: Any, ids: Tensor, mask: Tensor) -> None:
        """Do what is done once for many calls of ``generate`` alike, before one of them, with clocks stopped.

        Args:
            model: that is called.
            config: of the call.
            ids: [B, P] prompts.
            mask: [B, P] 1 where they are a prompt's.
        """

    def call_options(self) -> dict[str, Any]:
        """Fields of transformers' ``GenerationConfig`` that make ``generate`` this method."""
        return {}

    def draft_options(self) -> dict[str, Any]:
        """Fields that transformers reads off the drafting model's own configuration instead."""
        return {}

    def model(self, session: Session) -> Any:
        """The session's model under a configuration of ours, to call ``generate`` of.

        What a checkpoint's ``generation_config.json`` says (a repetition penalty, a temperature) fills
        every field that a call leaves open, and would make this another method. A shallow copy shares
        every module and leaves the session's model as it is.
        """
        model: Any = copy.copy(session.model)
        model.generation_config = type(model.generation_config)(**self.draft_options())
        for name in ("utils", "stopping_criteria"):
            logging.getLogger(f"transformers.generation.{name}").addFilter(_is_news)
        return model

    def config(self, model: Any, requests: Sequence[GenerateRequest]) -> Any:
        """How ``generate`` is to be called, for one request or for the requests of a batch.

        It says how many tokens the longest one gets and which tokens end any of them: what ends one alone is
        for the caller to follow, and so is how several are drawn.
        """
        eos = sorted(frozenset.intersection(*(frozenset(request.stop_token_ids) for request in requests)))
        sampling = requests[0].sampling
        drawing: dict[str, Any] = {"do_sample": False}
        if not sampling.greedy and self.own_draws:
            drawing = {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k,
            }
        return type(model.generation_config)(
            max_new_tokens=max(request.max_new_tokens for request in requests),
            eos_token_id=eos or None,
            pad_token_id=eos[0] if eos else 0,
            **drawing,
            **self.call_options(),
        )


class Draws:
    """Draws each sequence's token with a sampler of its own and leaves ``generate`` only that one to take.

    So a sampled request draws what the engine's own loop would draw from the same logits, whoever is beside
    it.

    Args:
        samplers: one a sequence.
        going: which of the sequences have not ended, kept up to date by the caller; all if None.
    """

    def __init__(self, samplers: Sequence[Sampler], going: Sequence[bool] | None = None) -> None:
        self._samplers = samplers
        self._going = going or [True] * len(samplers)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] to -inf everywhere but at the drawn tokens."""
        only = torch.full_like(scores, -torch.inf)
        for row, sampler in enumerate(self._samplers):
            token = sampler.choose(scores[row]) if self._going[row] else 0
            only[row, token] = 0.0
        return only


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a warning of transformers says something.

    That its drafting calls itself in an old way says nothing, nor does the length of a batch's longest prompt
    and longest continuation together, which may be two sequences'.
    """
    message = cast(str, record.msg)
    return not any(said in message for said in ("together with generation-related", "friendly reminder"))
