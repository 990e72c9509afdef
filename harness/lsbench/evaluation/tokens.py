"""Text to token ids exactly as lm-eval's own ``hf`` model does it (lm-eval 0.4.13), without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import has_bos_prefix
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from lsbench.errors import BadInput
from lsbench.spec import ScoreWindow

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedTokenizerBase


class RequestEncoder(TemplateLM):
    """An lm-eval model class that stops where the model would come in, and gives the tokens instead.

    The pairing of context and continuation (trailing spaces moved, empty contexts replaced by the
    prefix token) is lm-eval's own code, inherited.

    Args:
        tokenizer: the model's.
        context_length: how many tokens the model can attend to; bounds rolling windows.

    Raises:
        BadInput: the tokenizer has neither a begin- nor an end-of-sequence token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, context_length: int) -> None:
        super().__init__()
        self.tokenizer: Any = tokenizer
        self.context_length = context_length
        if self.prefix_token_id is None:
            raise BadInput("The model's tokenizer has neither a begin- nor an end-of-sequence token.")

    @property
    def eot_token_id(self) -> int:
        """The end-of-sequence token."""
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has no context: begin-of-sequence, or else end-of-sequence."""
        bos = self.tokenizer.bos_token_id
        return self.tokenizer.eos_token_id if bos is None else bos

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: object) -> list[int]:
        """Token ids, with the tokenizer's own special tokens unless told otherwise or already in the text."""
        if add_special_tokens is None and has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        if add_special_tokens is None:
            return self.tokenizer.encode(string)
        return self.tokenizer.encode(string, add_special_tokens=add_special_tokens)

    def prompt(self, text: str) -> tuple[int, ...]:
        """Token ids of a generation's prompt; the prefix token alone when it is empty."""
        special = {"add_special_tokens": False} if has_bos_prefix(text, self.tokenizer.bos_token) else {}
        return tuple(self.tokenizer.encode(text, **special)) or (self.prefix_token_id,)

    def window(self, request: Instance) -> ScoreWindow:
        """The one window of a log-likelihood request.

        Raises:
            ValueError: there is no token to score, or none to score it after.
        """
        _, text = cast("tuple[str, str]", request.args)
        if not text:
            raise ValueError("the text to score is empty")
        ((context, continuation),) = cast("list[Any]", self.loglikelihood([request], disable_tqdm=True))
        if not context:
            raise ValueError("the context is nothing but white space")
        if not continuation:
            raise ValueError("the text to score makes no token of its own")
        return ScoreWindow(context=context, continuation=continuation)

    def windows(self, request: Instance) -> tuple[ScoreWindow, ...]:
        """The windows of a rolling log-likelihood request; every token is scored once."""
        (text,) = cast("tuple[str]", request.args)
        pairs = get_rolling_token_windows(
            token_list=self.tok_encode(text),
            prefix_token=self.prefix_token_id,
            max_seq_len=self.context_length,
            context_len=1,
        )
        return tuple(
            ScoreWindow(context=tuple(context), continuation=tuple(continuation))
            for context, continuation in map(make_disjoint_window, pairs)
        )

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A conversation as text; the system turn is dropped where the template refuses one."""
        import jinja2

        def render(turns: list[dict[str, str]]) -> str:
            return self.tokenizer.apply_chat_template(
                turns,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )

        try:
            return render(chat_history)
        except jinja2.TemplateError:
            return render([turn for turn in chat_history if turn["role"] != "system"])

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **_: object
    ) -> list[Any]:
        return [(tuple(context), tuple(continuation)) for _, context, continuation in requests]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Not for this class, which has no model; use ``windows``."""
        raise NotImplementedError

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Not for this class, which has no model; use ``prompt``."""
        raise NotImplementedError
