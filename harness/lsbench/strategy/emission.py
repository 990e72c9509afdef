"""What a strategy hands back: emitted tokens, and the score of a continuation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["decoded", "accepted", "verified"]


@dataclass(frozen=True)
class Emitted:
    """Tokens that are out for good.

    Attributes:
        tokens: ids, at least one.
        depth: layers run for each of ``tokens`` (a layer run in part counts its share of weight bytes),
            or None when the strategy cannot tell.
        kind: ``decoded`` under a plan; ``accepted`` drafts of a verify pass; ``verified``, the
            verifier's own token.
        drafted: how many tokens were drafted for this emission; None when nothing drafts.
        draft_layers: layers run to draft them, rejected ones included; None when it cannot be told.
        verify_layers: layers run to verify them, over all tokens that the verifying pass ran; likewise.
        draft_heads: output heads read to draft them, a trimmed one by its share of weight bytes; likewise.
        confidence: for each of ``tokens`` the confidence at which it was let stop early, in a measure of the
            strategy's own, or None where it was not; None for all of them where none was.
    """

    tokens: tuple[int, ...]
    depth: tuple[float, ...] | None
    kind: Kind = "decoded"
    drafted: int | None = None
    draft_layers: float | None = None
    verify_layers: float | None = None
    draft_heads: float | None = None
    confidence: tuple[float | None, ...] | None = None


@dataclass(frozen=True)
class Scored:
    """A continuation of T tokens as a strategy sees it.

    Attributes:
        logprobs: T natural-log probabilities of the continuation's tokens.
        choices: T ids that the strategy would have chosen in their places.
        depth: layers run for the prediction of each, or None when the strategy cannot tell.
    """

    logprobs: tuple[float, ...]
    choices: tuple[int, ...]
    depth: tuple[float, ...] | None
