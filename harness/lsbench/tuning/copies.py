"""Drafts that run no model: what they propose follows from the text alone, and the text is known."""

from __future__ import annotations

from itertools import islice
from typing import NoReturn, cast

from lsbench.engine import DecoderStack, Sampler, Session
from lsbench.strategy import Draft
from lsbench.tuning.cycles import Cycle, Effort
from lsbench.tuning.references import Reference


class NotOfTheText(Exception):
    """The draft looks at more than the text; says at what."""


class Copies:
    """The cycles of such a draft for one reference.

    Args:
        stack: the model.
        reference: what is to be proposed.
        draft: made for its request; it is asked cycle by cycle, as it would be.
    """

    def __init__(self, stack: DecoderStack, reference: Reference, draft: Draft) -> None:
        if type(draft).learn is not Draft.learn:
            raise NotOfTheText(
                f"its draft ({type(draft).__name__}) learns from what the full model verifies, so that "
                "no pass over a finished text tells what it would propose"
            )
        request = reference.request
        self._reference, self._draft = reference, draft
        self._ends = frozenset(request.stop_token_ids)
        self._sampler = Sampler(request.sampling, request.seed, stack.agreement)

    def cycle(self, first: int, count: int) -> Cycle:
        """The cycle after token ``first``, of at most ``count`` drafted tokens.

        Raises:
            NotOfTheText: the draft asked its session for more than the text.
        """
        text, drafted, taken = self._reference.tokens, 0, 0
        right = True
        if count > 0:
            held = (*self._reference.request.prompt_tokens, *text[:first])
            session = cast(Session, _Text(self._draft, held))
            for proposed in islice(self._draft.propose(session, text[first], count, self._sampler), count):
                if proposed.layers:
                    raise NotOfTheText(f"its draft ({type(self._draft).__name__}) runs layers of its own")
                drafted += 1
                place = first + drafted
                right = right and place < len(text) and proposed.token == text[place]
                taken += right
                if proposed.token in self._ends:
                    break
        return Cycle(first, drafted, taken, Effort(), 0.0, 0.0)


class _Text:
    """Stands in for a session, and has nothing but the text."""

    def __init__(self, draft: Draft, tokens: tuple[int, ...]) -> None:
        self._draft, self._tokens = draft, tokens

    def tokens(self, sequence: int = 0) -> tuple[int, ...]:
        """Ids held."""
        return self._tokens

    @property
    def lengths(self) -> tuple[int, ...]:
        """Positions held."""
        return (len(self._tokens),)

    def __getattr__(self, name: str) -> NoReturn:
        raise NotOfTheText(
            f"its draft ({type(self._draft).__name__}) asks the session for {name!r}, so that more than the "
            "text decides what it proposes"
        )
