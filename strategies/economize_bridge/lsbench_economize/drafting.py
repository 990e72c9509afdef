"""Techniques that draft: economize verifies with the whole model, so that output is the full model's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lsbench.engine import Sampler, Session
from lsbench.strategy import Emitted, GenerateRequest, Scored, ScoreWindow, score_with_model
from lsbench_economize.choosing import Drawing
from lsbench_economize.package import economize
from lsbench_economize.technique import EconomizeTechnique


class EconomizeDrafting(EconomizeTechnique):
    """Drafts, and the exact pass that verifies them; a subclass says how many and how deep."""

    lossless = True

    def drafted(self) -> int:
        """Tokens drafted a cycle, at most."""
        raise NotImplementedError

    def draft_layers(self, num_layers: int) -> int:
        """Layers run to draft a token."""
        raise NotImplementedError

    def decoding(self, greedy: bool) -> Any:
        """Speculative decoding; by speculative sampling where tokens are drawn."""
        verifier = None if greedy else "rejection"
        return economize().DecodeConfig(cycle_length=self.drafted() + 1, verifier=verifier)

    def selector(self, session: Session, request: GenerateRequest) -> Any:
        """None for the likeliest, or what draws as the request says."""
        return None if request.sampling.greedy else Drawing(request.sampling, request.seed)

    def emissions(self, decoder: Any, session: Session) -> Callable[[Any], Iterator[Emitted]]:
        """Drafts that were taken, and the verifier's own token after them, each decided at full depth."""
        full = session.num_layers
        each = self.draft_layers(full)

        def emit(event: Any) -> Iterator[Emitted]:
            if event.start == 0:  # the prompt
                yield Emitted((event.next_token,), (float(full),))
                return
            _, *taken = event.tokens.tolist()
            # economize verifies from the bottom, whatever layers a draft ran exactly.
            work = event.drafted, float(event.drafted * each), float((event.drafted + 1) * full)
            heads = float(event.drafted if each else 0)
            if taken:
                yield Emitted(tuple(taken), (float(full),) * len(taken), "accepted", *work, heads)
                yield Emitted((event.next_token,), (float(full),), "verified")
            else:
                yield Emitted((event.next_token,), (float(full),), "verified", *work, heads)

        return emit

    def score(self, session: Session, window: ScoreWindow, sampler: Sampler | None = None) -> Scored:
        """The full model's, by transformers' forward pass."""
        return score_with_model(session, window, sampler)
