"""Text as it comes out token by token, where a character may need several tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from lsbench.execution.stopping import TextTokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"


def token_texts(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> tuple[str, ...]:
    """What each of some tokens, at least one, adds to the text."""
    pieces = TextPieces(tokenizer)
    *before, last = [pieces.push(token) for token in token_ids]
    return (*before, last + pieces.rest())


class TextPieces:
    """What each token adds to the text; all pieces together are the text decoded at one go.

    A token that ends within a character adds nothing: the one that completes it adds the whole. A token
    reads otherwise at the beginning of a text than within one (a leading space left out), so each is read
    behind the tokens of the piece before.

    Args:
        tokenizer: the model's.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._text_tokens = TextTokens(tokenizer)
        self._written: list[int] = []
        self._before = 0
        """Where the last piece's tokens begin."""
        self._told = 0
        """Where the tokens begin that have added nothing yet."""

    def push(self, token: int) -> str:
        """What the next token adds."""
        if token not in self._text_tokens:
            return ""
        self._written.append(token)
        text = self._decode(self._written[self._before :])
        return "" if text.endswith(_UNFINISHED) else self._tell(text)

    def rest(self) -> str:
        """What is left at the end: characters that were never completed."""
        return self._tell(self._decode(self._written[self._before :]))

    def _tell(self, text: str) -> str:
        told = self._decode(self._written[self._before : self._told])
        self._before, self._told = self._told, len(self._written)
        return text[len(told) :]

    def _decode(self, tokens: list[int]) -> str:
        return cast(
            str, self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )
