"""A candidate judged by the references: what it would run, what would be taken of it, how often it agrees.

It is never decoded with. A draft's tokens are proposed side by side, from the true text before each, and the
cycles that draft and verify them are played through afterwards (``cycles``); so every number of speculations
and every confidence to stop at is judged from what was drafted once. A candidate that is not verified takes
one pass as well, in which each token sees what it itself made of those before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from lsbench.engine import DepthPolicy, PartialHead, Session
from lsbench.records import StepCost
from lsbench.strategy import PolicyDraft, Strategy
from lsbench.strategy.decoding_loop import Decoding, Speculation, loop_of
from lsbench.strategy.draft_length import DraftLength
from lsbench.tuning.copies import Copies, NotOfTheText
from lsbench.tuning.cost_model import cycle_costs
from lsbench.tuning.cycles import Cycle, CycleCost, Effort, NextCycle, TableCycles, play
from lsbench.tuning.draft_table import NotDrafted, Until
from lsbench.tuning.drafts import (
    Drafting,
    Likelihood,
    chosen,
    shared_or_new,
    work_of_rows,
)
from lsbench.tuning.previous_logits import Predicted, Previous, PreviousLogits
from lsbench.tuning.references import Reference, References
from lsbench.tuning.riding import riding
from lsbench.tuning.walk import Intended, Walk, Walked

_PASSES = 4
"""Of tokens that decide by the one before them: each pass knows better what that predicted."""


@dataclass(frozen=True)
class Agreement:
    """Of one prompt: how many of the reference's tokens the candidate would have chosen too."""

    agreed: int
    compared: int


@dataclass(frozen=True)
class Judgement:
    """What a candidate would do after the prompts of the references. Counts are totals.

    Attributes:
        tokens: decoded after the first of each prompt.
        passes: full-depth passes that verify, or tokens decoded one by one.
        drafted, accepted: tokens; None where nothing is drafted.
        effort: of drafting, or of decoding.
        resumed_attention, resumed_mlp: sub-layers that verifying takes over from drafts.
        draft_head: share of the head that is read for each drafted token.
        agreement: of each prompt, in the references' order.
        cycles: of each prompt, the taken tokens of every cycle; empty where nothing is drafted.
        seconds: what judging took.
    """

    tokens: int
    passes: int
    drafted: float | None
    accepted: int | None
    effort: Effort
    resumed_attention: float
    resumed_mlp: float
    draft_head: float
    agreement: tuple[Agreement, ...]
    cycles: tuple[tuple[int, ...], ...]
    seconds: float

    @property
    def acceptance_rate(self) -> float | None:
        """Accepted of drafted tokens; None where nothing is drafted."""
        return None if not self.drafted else (self.accepted or 0) / self.drafted

    @property
    def mean_layers(self) -> float | None:
        """Layers run for each token that is decoded unverified; None where drafts are verified."""
        return None if self.drafted is not None else self.effort.layers / self.tokens

    @property
    def token_agreement(self) -> float:
        """The share of the references' tokens that the candidate would have chosen: its predicted quality."""
        compared = sum(each.compared for each in self.agreement)
        return sum(each.agreed for each in self.agreement) / compared


@dataclass(frozen=True)
class Unjudged:
    """A candidate that only timing tells anything of, and why."""

    reason: str


class Judge:
    """Judges candidates, and remembers what their drafts propose.

    Args:
        references: at least one.
        costs: of this machine; what a draft that adapts its length by costs goes by.
    """

    def __init__(self, references: References, costs: Sequence[StepCost]) -> None:
        self.references = references
        self._costs = costs
        self._empty = Session(references.stack, capacity=1)
        self._draftings: dict[object, list[Drafting]] = {}
        self._before = [PreviousLogits(references.stack, each) for each in references.references]
        self._likely = [Likelihood(each.rows) for each in references.references]

    def judge(self, strategy: Strategy) -> Judgement | Unjudged:
        """What ``strategy``, prepared, would do.

        Returns:
            ``Unjudged`` for a strategy with a decoding loop of its own, or a draft that proposes what no pass
            over the references can tell: one that learns from what is verified, or brings a way of its own.
        """
        begin = time.perf_counter()
        loops = [loop_of(strategy, self._empty, each.request) for each in self.references.references]
        if None in loops or len({type(loop) for loop in loops}) > 1:
            return Unjudged("it decodes in a loop of its own, so that only timing tells what it does")
        if all(isinstance(loop, Decoding) for loop in loops):
            found = self._decoding(strategy)
        else:
            found = self._speculation(strategy, cast("list[Speculation]", loops))
            if isinstance(found, Unjudged):
                return found
        return replace(found, seconds=time.perf_counter() - begin)

    # -- decoding under a policy -----------------------------------------------------------------------

    def _decoding(self, strategy: Strategy) -> Judgement:
        effort, agreement = Effort(), list[Agreement]()
        for reference, before in zip(self.references.references, self._before, strict=True):
            walked = self._decoded(reference, before, partial(self._policy, strategy, reference))
            right = int((chosen(walked.logits)[0] == reference.targets).sum())
            rode = riding(walked.runs, walked.frontier.tolist(), walked.rides)
            work = work_of_rows(self.references.stack, walked).sum(axis=0)
            effort += Effort(
                *work.tolist(), older_rows=rode.older_rows, own_passes=rode.own_passes, ridden=rode.ridden
            )
            # The first token comes from the prefill, whatever the candidate.
            agreement.append(Agreement(1 + right, 1 + reference.rows))
        decoded = self.references.decoded
        return Judgement(decoded, decoded, None, None, effort, 0.0, 0.0, 1.0, tuple(agreement), (), 0.0)

    def _decoded(
        self, reference: Reference, before: PreviousLogits, policies: Callable[[], DepthPolicy]
    ) -> Walked:
        """All rows as one branch: each sees what those before it made.

        A policy that decides by the token before it decides by the full model's prediction at first, and then
        by what the pass before came to, until it would decide the same again.
        """
        stack, rows = self.references.stack, range(reference.rows)
        previous: list[Previous] = [before.of(row) for row in rows]
        walked: Walked | None = None
        intended: Intended | None = None
        for _ in range(_PASSES):
            made = shared_or_new(policies, len(rows), stack.num_layers)
            walk = Walk(stack, reference, 1)
            last, intended = intended, walk.intend(rows, made, previous)
            if walked is not None and last == intended:
                break
            walked = walk.step(rows, [0] * len(rows), made, intended)
            if not walked.looked:
                break
            previous = [before.of(0), *map(Predicted, walked.logits[:-1])]
        assert walked is not None
        return walked

    def _policy(self, strategy: Strategy, reference: Reference) -> DepthPolicy:
        loop = loop_of(strategy, self._empty, reference.request)
        assert isinstance(loop, Decoding)
        return loop.policy

    # -- drafting and verifying --------------------------------------------------------------------------

    def _speculation(self, strategy: Strategy, loops: Sequence[Speculation]) -> Judgement | Unjudged:
        draft, references = loops[0].draft, self.references.references
        head = draft.head if type(draft) is PolicyDraft else None
        share = 1.0 if head is None else head.share
        cost = cycle_costs(self._costs, self.references.stack.num_layers, share)
        try:
            if type(draft) is PolicyDraft:
                cycles = self._drafted(strategy, draft, loops, cost)
            else:
                pairs = zip(references, loops, strict=True)
                copies = [Copies(self.references.stack, each, loop.draft) for each, loop in pairs]
                cycles = [
                    _played(each.cycle, reference, loop, cost)
                    for each, reference, loop in zip(copies, references, loops, strict=True)
                ]
        except NotOfTheText as error:
            return Unjudged(str(error))
        every = [cycle for each in cycles for cycle in each]
        # The output is the full model's own, whatever is drafted.
        agreement = [Agreement(1 + each.rows, 1 + each.rows) for each in references]
        return Judgement(
            tokens=self.references.decoded,
            passes=len(every),
            drafted=sum(cycle.drafted for cycle in every),
            accepted=sum(cycle.taken for cycle in every),
            effort=sum((cycle.effort for cycle in every), Effort()),
            resumed_attention=sum(cycle.resumed_attention for cycle in every),
            resumed_mlp=sum(cycle.resumed_mlp for cycle in every),
            draft_head=share,
            agreement=tuple(agreement),
            cycles=tuple(tuple(cycle.taken for cycle in each) for each in cycles),
            seconds=0.0,
        )

    def _drafted(
        self, strategy: Strategy, draft: PolicyDraft, loops: Sequence[Speculation], cost: CycleCost
    ) -> list[list[Cycle]]:
        """The cycles of each reference; what is drafted for it serves all candidates that draft alike."""
        key = self._draft_key(strategy, draft)
        if key not in self._draftings:
            texts = zip(self.references.references, self._before, self._likely, strict=True)
            self._draftings[key] = [
                Drafting(self.references.stack, reference, draft.head, before, likely)
                for reference, before, likely in texts
            ]
        found: list[list[Cycle]] = []
        for reference, loop, drafting in zip(
            self.references.references, loops, self._draftings[key], strict=True
        ):
            policies = partial(self._draft_policy, strategy, reference)
            until = Until(draft.stop_below, frozenset(reference.request.stop_token_ids))
            while True:
                cycles = TableCycles(drafting.table, until)
                try:
                    found.append(_played(cycles, reference, loop, cost))
                    break
                except NotDrafted as lacking:
                    drafting.draft(policies, lacking.first, loop.num_speculations, until)
        return found

    def _draft_policy(self, strategy: Strategy, reference: Reference) -> DepthPolicy:
        loop = loop_of(strategy, self._empty, reference.request)
        assert isinstance(loop, Speculation)
        return cast(PolicyDraft, loop.draft).policy

    def _draft_key(self, strategy: Strategy, draft: PolicyDraft) -> object:
        """Alike for drafts that propose the same: of one plan, or of the same options but the loop's own."""
        head = _tokens_of(draft.head)
        plan = draft.policy.constant_plan(self.references.stack.num_layers)
        if plan is not None:
            return plan, head
        told = {"num_speculations", "draft_stop", "adaptive"}
        return type(strategy), strategy.options.model_dump_json(exclude=cast(Any, told)), head


def _played(cycle: NextCycle, reference: Reference, loop: Speculation, cost: CycleCost) -> list[Cycle]:
    """The cycles of a reference."""
    length = DraftLength(loop.num_speculations) if loop.adaptive else None
    most = reference.request.max_new_tokens
    return play(cycle, reference.rows, loop.num_speculations, most, length, cost)


def _tokens_of(head: PartialHead | None) -> tuple[int, ...] | None:
    return None if head is None else tuple(cast("list[int]", cast(Any, head.tokens).tolist()))
