"""What came of a cycle of drafting and verifying, as a draft that learns is told."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lsbench.strategy.acceptance import Drafted


@dataclass(frozen=True)
class Verification:
    """One cycle, verified.

    Attributes:
        first: position of the token that the cycle began with, the last one emitted before it; the drafted
            ones stand after it.
        drafted: K tokens that were proposed; none where nothing was drafted.
        taken: how many of them the full model took.
        following: its own token after those.
        logits: [n, V] of the full model, after the last n of the K + 1 positions from ``first`` on: after all
            of them, unless the draft itself had run the full model on the leading ones.
        draft_cost: what drafting cost: seconds under greedy decoding; under sampling, where a decision that
            rests on seconds would change what a seed gives, layers by the bytes of weights read.
        verify_cost: what verifying cost, likewise.
    """

    first: int
    drafted: tuple[Drafted, ...]
    taken: int
    following: int
    logits: Tensor
    draft_cost: float
    verify_cost: float

    @property
    def positions(self) -> range:
        """Those that stay: each was run wholly and exactly, and a token was decided after it."""
        return range(self.first, self.first + self.taken + 1)

    def logits_after(self, position: int) -> Tensor | None:
        """[V] of the full model after one of ``positions``; None where the draft had run it itself."""
        row = position - self.first - (len(self.drafted) + 1 - len(self.logits))
        return self.logits[row] if row >= 0 else None
