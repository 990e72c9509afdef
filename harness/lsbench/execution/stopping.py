"""When a generation ends: end-of-sequence ids, stop strings over the whole emitted text, and the token limit.

Every emitted token is looked at by itself, so that a block of accepted drafts is cut exactly where
decoding token by token would have stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lsbench.records import StopReason
from lsbench.spec import GenerateRequest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SPARE_TOKENS = 4
"""Tokens decoded before those a stop string can span: a tokenizer may render the first of a text unlike
the same token within one (a leading space left out, half a character)."""


class StopRule:
    """Follows one generation.

    Args:
        request: its stop conditions.
        tokenizer: turns ids into text.
        context_length: the most positions the model has.
    """

    def __init__(
        self, request: GenerateRequest, tokenizer: PreTrainedTokenizerBase, context_length: int
    ) -> None:
        self._tokenizer = tokenizer
        self._stop_strings = tuple(string for string in request.stop_strings if string)
        self._stop_ids = frozenset(request.stop_token_ids)
        self._limit = request.max_new_tokens
        self._room = context_length - len(request.prompt_tokens)
        self._text_tokens = TextTokens(tokenizer)
        self._byte_ids = _byte_ids(tokenizer)
        # A token that is text has at least one byte of it, so a stop string spans at most its bytes.
        self._window = max((len(string.encode()) for string in self._stop_strings), default=0) + _SPARE_TOKENS
        self._written: list[int] = []
        self.token_ids: list[int] = []
        """Every token pushed, the one that completed a stop condition included."""

    def push(self, token: int) -> StopReason | None:
        """Take the next token; a reason ends the generation with it."""
        self.token_ids.append(token)
        if token in self._text_tokens:
            self._written.append(token)
        if token in self._stop_ids:
            return "eos"
        # The tail may begin with half a character, which reads as one that a stop string may hold.
        if self._stops_in(self._tail()) and self._stops_in(self._written):
            return "stop_string"
        if len(self.token_ids) >= self._limit:
            return "context_full" if self._limit >= self._room else "max_new_tokens"
        return None

    def text(self) -> str:
        """The emitted text, cut where the first stop string begins; special tokens have no text."""
        text = self._decode(self._written)
        ends = [text.find(string) for string in self._stop_strings]
        return text[: min((end for end in ends if end >= 0), default=len(text))]

    def _stops_in(self, tokens: list[int]) -> bool:
        if not self._stop_strings:
            return False
        text = self._decode(tokens)
        return any(string in text for string in self._stop_strings)

    def _tail(self) -> list[int]:
        """The last tokens, as many as a stop string spans, from where they read as within the whole."""
        begin = max(0, len(self._written) - self._window)
        while begin and self._written[begin] in self._byte_ids:
            begin -= 1
        return self._written[begin:]

    def _decode(self, tokens: list[int]) -> str:
        return cast(
            str, self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )


class TextTokens:
    """The ids that are text: special tokens are not, nor are ids by which a model pads its vocabulary.

    Args:
        tokenizer: the model's.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}

    def __contains__(self, token: int) -> bool:
        return token not in self._special and self._tokenizer.convert_ids_to_tokens(token) is not None


def _byte_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The ids that stand for a single byte each in a tokenizer that falls back to bytes.

    A run of them reads as characters only as a whole: cut anywhere, all of it may read as nothing.
    """
    tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    ids = cast(list[int | None], tokenizer.convert_tokens_to_ids(tokens))
    return frozenset(id for id in ids if id is not None and id != tokenizer.unk_token_id)
