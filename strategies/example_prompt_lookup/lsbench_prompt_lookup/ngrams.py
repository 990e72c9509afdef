"""Where in a text the n-gram at its end stood before."""

from __future__ import annotations

from collections.abc import Sequence


class NgramIndex:
    """Every n-gram of a growing text, with the place of the token that followed its last occurrence.

    Args:
        min_ngram: shortest n-gram, at least 1.
        max_ngram: longest n-gram, at least ``min_ngram``.
    """

    def __init__(self, min_ngram: int, max_ngram: int) -> None:
        self._sizes = range(max_ngram, min_ngram - 1, -1)
        self._followed_at: dict[tuple[int, ...], int] = {}
        self._read = 0

    def continuation(self, text: Sequence[int]) -> int | None:
        """Where the text went on after the longest n-gram that also ends it, or None if it never did.

        Args:
            text: token ids; the text of the call before, and perhaps more.
        """
        # An n-gram enters the index when a token follows it, so that the text's end never finds itself.
        for place in range(max(self._read, 1), len(text)):
            for size in self._sizes:
                if size <= place:
                    self._followed_at[tuple(text[place - size : place])] = place
        self._read = len(text)
        for size in self._sizes:
            place = self._followed_at.get(tuple(text[-size:])) if size <= len(text) else None
            if place is not None:
                return place
        return None
