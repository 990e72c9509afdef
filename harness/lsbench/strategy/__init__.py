"""The plugin contract: what a strategy is. Read this file first.

A strategy is a class with an options model and two verbs, ``generate`` and ``score``. The decoding loops
live in the core, so most strategies write neither: they return a ``DepthPolicy`` and inherit both. One that
drafts tokens and has the full model verify them defines a ``Draft`` and hands it to ``speculate``.
A package registers its strategies under the entry-point group ``lsbench.strategies``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import signature
from typing import TYPE_CHECKING, ClassVar, Literal

from lsbench.errors import BadInput, CannotRun
from lsbench.spec import GenerateRequest, Sampling, ScoreWindow
from lsbench.strategy.emission import Emitted, Scored
from lsbench.strategy.members import Member
from lsbench.strategy.options import (
    Choice,
    Drafters,
    FloatRange,
    IntRange,
    StrategyOptions,
    StrategyReference,
    option,
)
from lsbench.strategy.preparation import Preparation

if TYPE_CHECKING:
    from lsbench.engine import DepthPolicy, PartialHead, Sampler, Session
    from lsbench.strategy.acceptance import Drafted, acceptance_chance
    from lsbench.strategy.drafting import Draft, PolicyDraft, speculate
    from lsbench.strategy.hidden_states import HiddenStates
    from lsbench.strategy.relay import BorrowedRandomness, Relay, StreamRelay
    from lsbench.strategy.verification import Verification
    from lsbench.strategy.whole_model_score import score_with_model

_HOMES = {
    "BorrowedRandomness": "relay",
    "Draft": "drafting",
    "Drafted": "acceptance",
    "HiddenStates": "hidden_states",
    "PolicyDraft": "drafting",
    "Relay": "relay",
    "StreamRelay": "relay",
    "Verification": "verification",
    "acceptance_chance": "acceptance",
    "score_with_model": "whole_model_score",
    "speculate": "drafting",
}
"""Public names whose modules need torch, loaded on first use."""


class Strategy:
    """A way of decoding. One object serves every request of a run; a request's state lives in its policy."""

    Options: ClassVar[type[StrategyOptions]] = StrategyOptions
    """The options model; ``self.options`` is an instance of it."""
    lossless: ClassVar[bool] = False
    """Whether the output's distribution is claimed to equal the full model's (it is checked)."""
    batchable: ClassVar[bool] = True
    """Whether several requests can decode together: all that it runs goes through its session, or it defines
    ``generate_together``. The requests of a batch take turns where not."""

    def __init__(self, options: StrategyOptions) -> None:
        self.options = options

    def check(self, num_layers: int) -> None:
        """Raise ``BadInput`` for options that cannot hold on a model of L layers, before weights load."""

    def check_model(self, model_type: str) -> None:
        """Raise ``CannotRun`` for an architecture (its ``model_type``) that it cannot run on, likewise."""

    def prepare(self, preparation: Preparation) -> None:
        """Once, when the model is loaded and before anything is timed: calibrate on ``preparation``.

        Raise ``CannotRun`` where this machine, or something that is not installed, is in the way: a run goes
        on without the strategy, and its results say why.
        """

    def policy(self, request: GenerateRequest | ScoreWindow) -> DepthPolicy:
        """A fresh policy for one request: all that most strategies define."""
        raise NotImplementedError(f"{type(self).__name__} defines neither policy nor both generate and score")

    @classmethod
    def can_draft(cls) -> bool:
        """Whether another strategy can draft with it: it only decides depth, or brings a draft of its own."""
        return cls.generate is Strategy.generate or cls.draft is not Strategy.draft

    def check_draft(self, num_layers: int) -> None:
        """As ``check``, where another strategy drafts with this one; the same unless overridden."""
        self.check(num_layers)

    @property
    def decides_draft_length(self) -> bool:
        """Whether its draft decides itself how many tokens to draft, so that nobody else need."""
        return False

    def draft(
        self, request: GenerateRequest, stop_below: float = 0.0, head: PartialHead | None = None
    ) -> Draft:
        """A fresh draft for one request of a strategy that drafts with this one.

        It follows ``policy`` unless overridden, ends a cycle after a token of a probability below
        ``stop_below``, and proposes what ``head`` predicts. An override may learn while it drafts
        (``Draft.learn``); one that proposes without the model's head leaves out ``head``, which is then
        never given to it.
        """
        from lsbench.strategy.drafting import PolicyDraft

        return PolicyDraft(self.policy(request), stop_below, head)

    @classmethod
    def drafts_with_a_head(cls) -> bool:
        """Whether its draft takes ``head``, so that a trimmed one makes it cheaper."""
        return "head" in signature(cls.draft).parameters

    def generate(self, session: Session, request: GenerateRequest) -> Iterator[Emitted]:
        """Continue the prompt; the caller stops iterating at a stop condition. At most ``max_new_tokens``."""
        from lsbench.strategy.loops import decode

        return decode(session, request, self.policy(request))

    def generate_together(self, members: Sequence[Member]) -> Iterator[tuple[int, Emitted]]:
        """Continue the prompts of a batch in one loop: only for a strategy that runs a model of its own.

        What comes out for each member is what ``generate`` gives it alone, whoever is beside it.

        Args:
            members: one a request, all alive until their ``ended`` is set; no two prompts need be alike.

        Yields:
            the place of a member in ``members``, and what is out for it. The caller stops iterating when all
            have ended.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no generate_together")

    @classmethod
    def batching(cls) -> Literal["steps", "loop", "turns"]:
        """How the requests of a batch decode: in steps that all of their sessions share, with no doing of the
        strategy's; in a ``loop`` of its own, ``generate_together``; or in turns, one emission each."""
        if not cls.batchable:
            return "turns"
        return "steps" if cls.generate_together is Strategy.generate_together else "loop"

    def score(self, session: Session, window: ScoreWindow, sampler: Sampler | None = None) -> Scored:
        """Log-likelihood of a continuation at the same depths; ``sampler`` chooses (greedily if None)."""
        from lsbench.strategy.loops import score_continuation

        return score_continuation(session, window, self.policy(window), sampler)


__all__ = [
    "BadInput", "BorrowedRandomness", "CannotRun", "Choice", "Draft", "Drafted", "Drafters", "Emitted",
    "FloatRange", "GenerateRequest", "HiddenStates", "IntRange", "Member", "PolicyDraft", "Preparation",
    "Relay", "Sampling", "ScoreWindow", "Scored", "Strategy", "StrategyOptions", "StrategyReference",
    "StreamRelay", "Verification", "acceptance_chance", "option", "score_with_model", "speculate",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Load a public name on first use, so that importing the package does not import torch."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"lsbench.strategy.{_HOMES[name]}"), name)
