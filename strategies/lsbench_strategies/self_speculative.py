"""Another strategy drafts, the full model verifies: what comes out is the full model's own, only sooner.

Drafting with part of the model itself is self-speculative decoding (Draft & Verify: Zhang et al., 2024;
LayerSkip: Elhoushi et al., 2024; SWIFT: Xia et al., 2024); the rule that keeps the output exact is
speculative sampling (Leviathan et al., 2023; Chen et al., 2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, cast

from pydantic import Field, create_model

from lsbench.engine import ConstantPolicy, DepthPlan, DepthPolicy, PartialHead, Session
from lsbench.strategy import (
    BadInput,
    Choice,
    Drafters,
    Emitted,
    FloatRange,
    GenerateRequest,
    IntRange,
    Preparation,
    ScoreWindow,
    Strategy,
    StrategyOptions,
    StrategyReference,
    option,
    speculate,
)
from lsbench_strategies.frequent_tokens import best_draft_vocabulary, frequent_tokens

DraftVocabulary = Literal["auto", "full"] | Annotated[int, Field(ge=2)]


class SelfSpeculativeOptions(StrategyOptions):
    """Options of ``self_speculative``."""

    draft: StrategyReference = option(
        StrategyReference(name="dynamic_skip"),
        help="the strategy that drafts, its own options as draft.key=value; any that decides depth",
        search=Drafters(),
    )
    num_speculations: int = option(
        4, help="tokens drafted a cycle, at most", search=IntRange(1, 12), ge=1, le=64
    )
    draft_stop: float = option(
        0.0,
        help="probability of a drafted token below which it is the last of its cycle; 0 never stops",
        search=FloatRange(0.0, 0.9),
        ge=0,
        lt=1,
    )
    adaptive: bool = option(
        False,
        help="draft fewer, or none, where measured acceptance and cost say so",
        search=Choice((False, True)),
    )

    @property
    def draft_vocabulary(self) -> DraftVocabulary:
        """``draft.vocab``."""
        return cast(DraftVocabulary, getattr(self, _VOCAB))


_VOCAB = "draft.vocab"
"""Given to any draft, and so written among its options. As a field it can only be declared by a call."""

_fields: dict[str, Any] = {
    _VOCAB: (
        DraftVocabulary,
        option(
            "full",
            help="tokens that the draft predicts: full, the n most frequent of the calibration text (it "
            "reads their part of the head alone), or auto, as many as gain most",
            search=Choice(("full", "auto")),
            examples=(16,),
        ),
    )
}
_Options = create_model("SelfSpeculativeOptions", __base__=SelfSpeculativeOptions, **_fields)


class SelfSpeculative(Strategy):
    """Drafts with fewer layers and verifies with all of them: the full model's own output.

    With ``draft.vocab`` the draft proposes frequent tokens alone, and what it drew from gives all others no
    chance; verifying reads the whole head, and decides exactly as ever.

    Verifying takes every position over where the draft left it exact. Where older tokens rode along to full
    depth (``draft.kv_fill=recompute`` where depth differs from token to token), the head is left for them.
    """

    Options = _Options
    lossless = True

    def __init__(self, options: StrategyOptions) -> None:
        super().__init__(options)
        self._draft = self._options.draft.resolve()
        if not self._draft.can_draft():
            raise BadInput(
                f"--strategy self_speculative: draft={self._options.draft.name} decodes in a loop of its own "
                "and cannot draft; name a strategy that only decides depth, such as static_exit"
            )
        vocabulary = self._options.draft_vocabulary
        if isinstance(vocabulary, int) and not self._draft.drafts_with_a_head():
            raise BadInput(
                f"--strategy self_speculative: draft.vocab={vocabulary} has no effect, because "
                f"draft={self._options.draft.name} proposes tokens without the model's head; leave it out"
            )

    def check(self, num_layers: int) -> None:
        """What the draft needs must hold."""
        if self._options.adaptive and self._draft.decides_draft_length:
            raise BadInput(
                "--strategy self_speculative: adaptive=true has no effect, because its draft "
                f"({self._options.draft}) decides itself how many tokens to draft, up to num_speculations; "
                "leave adaptive out"
            )
        try:
            self._draft.check_draft(num_layers)
        except BadInput as error:
            raise _refused(error) from error

    def check_model(self, model_type: str) -> None:
        """The draft must run on the architecture."""
        try:
            self._draft.check_model(model_type)
        except BadInput as error:
            raise _refused(error) from error

    def prepare(self, preparation: Preparation) -> None:
        """The draft calibrates."""
        self._full = DepthPlan.full(preparation.num_layers)
        self._draft.prepare(preparation)
        self._head = self._trimmed_head(preparation)

    def _trimmed_head(self, preparation: Preparation) -> PartialHead | None:
        """What the draft predicts with; None is the whole head."""
        count = self._options.draft_vocabulary
        if count == "full" or not self._draft.drafts_with_a_head():
            return None
        if count == "auto":
            found = best_draft_vocabulary(preparation, self._options.num_speculations)
            if found is None:
                return None
            count = found
        size = preparation.stack.vocabulary_size
        if count >= size:
            raise BadInput(
                f"--strategy self_speculative: draft.vocab={count}, but the model has {size} tokens in all: "
                "give fewer, or full"
            )
        return preparation.stack.partial_head(frequent_tokens(preparation, count))

    def policy(self, request: GenerateRequest | ScoreWindow) -> DepthPolicy:
        """Full depth: what every token is decided, and so scored, at."""
        return ConstantPolicy(self._full)

    def generate(self, session: Session, request: GenerateRequest) -> Iterator[Emitted]:
        """Draft and verify."""
        options = self._options
        trimmed = {} if self._head is None else {"head": self._head}
        draft = self._draft.draft(request, options.draft_stop, **trimmed)
        return speculate(session, request, draft, options.num_speculations, options.adaptive)

    @property
    def _options(self) -> SelfSpeculativeOptions:
        return cast(SelfSpeculativeOptions, self.options)


def _refused(error: BadInput) -> BadInput:
    return BadInput(f"--strategy self_speculative: its draft is refused: {error}")
