"""Drafts are copied from the text itself, and the full model verifies them.

Saxena, "Prompt Lookup Decoding" (2023). Nothing is computed for a draft, so all that it can cost is the
wider verifying pass; it pays where the output repeats the prompt (code edits, summaries, questions about a
document).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from pydantic import model_validator

from lsbench.engine import ConstantPolicy, DepthPlan, DepthPolicy, Sampler, Session
from lsbench.strategy import (
    Draft,
    Drafted,
    Emitted,
    GenerateRequest,
    IntRange,
    Preparation,
    ScoreWindow,
    Strategy,
    StrategyOptions,
    option,
    speculate,
)
from lsbench_prompt_lookup.ngrams import NgramIndex


class PromptLookupOptions(StrategyOptions):
    """Options of ``prompt_lookup``."""

    max_ngram: int = option(
        3, help="longest n-gram looked for; the longest that is found counts", search=IntRange(2, 6), ge=1
    )
    min_ngram: int = option(1, help="shortest n-gram that is trusted", search=IntRange(1, 2), ge=1)
    num_speculations: int = option(8, help="tokens copied per cycle, at most", search=IntRange(2, 16), ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> PromptLookupOptions:
        if self.min_ngram > self.max_ngram:
            raise ValueError(f"min_ngram={self.min_ngram} is longer than max_ngram={self.max_ngram}")
        return self


class CopiedDraft(Draft):
    """Proposes what followed the last occurrence of the n-gram that ends the text. One object a request."""

    def __init__(self, index: NgramIndex) -> None:
        self._index = index

    def propose(self, session: Session, last: int, count: int, sampler: Sampler) -> Iterator[Drafted]:
        """Up to ``count`` tokens, with no distribution: they were looked up, not drawn."""
        text = (*session.tokens(), last)
        place = self._index.continuation(text)
        if place is not None:
            yield from (Drafted(token) for token in text[place : place + count])


class PromptLookup(Strategy):
    """Copies from prompt and output, at no cost, and has the full model verify."""

    Options = PromptLookupOptions
    lossless = True

    def prepare(self, preparation: Preparation) -> None:
        """Nothing is calibrated."""
        self._full = DepthPlan.full(preparation.num_layers)

    def policy(self, request: GenerateRequest | ScoreWindow) -> DepthPolicy:
        """Full depth: every token is decided, and so scored, there."""
        return ConstantPolicy(self._full)

    def generate(self, session: Session, request: GenerateRequest) -> Iterator[Emitted]:
        """Copy and verify."""
        options = cast(PromptLookupOptions, self.options)
        draft = CopiedDraft(NgramIndex(options.min_ngram, options.max_ngram))
        return speculate(session, request, draft, options.num_speculations)
