"""Draft and verify, over any draft: cheap tokens are proposed, and one full pass decides on all of them.

What comes out is what the full model alone would give: the same tokens under greedy decoding, the same
distribution under sampling (``acceptance``). A draft is anything that proposes tokens: a depth policy
(``PolicyDraft``), or a subclass of ``Draft`` that takes them from elsewhere, such as n-grams of the prompt.
It may learn while it decodes: from what verifying decided, and from the hidden states that this ran through.

After a cycle every position held is exact, and the last emitted token is not held yet: the next cycle's
draft, or its verifying pass, begins with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import fsum

import torch
from torch import Tensor

from lsbench.engine import DepthPolicy, Observer, PartialHead, Sampler, Session, probabilities
from lsbench.spec import GenerateRequest
from lsbench.strategy.acceptance import Drafted, settle
from lsbench.strategy.draft_cost import cycle_cost
from lsbench.strategy.draft_length import DraftLength
from lsbench.strategy.emission import Emitted
from lsbench.strategy.verification import Verification


class Draft:
    """Proposes tokens. One object serves one request.

    Attributes:
        needs_prompt_perplexity: ask for the session's ``prompt_perplexity``; see ``DepthPolicy``.
        observer: told what verifying passes run, sub-layer by sub-layer, at no cost but the telling; a draft
            that runs the session itself may have it told of that too. ``HiddenStates`` is one. None for most.
    """

    needs_prompt_perplexity: bool = False
    observer: Observer | None = None

    def propose(self, session: Session, last: int, count: int, sampler: Sampler) -> Iterator[Drafted]:
        """Up to ``count`` tokens to follow ``last``, one by one; the caller may stop asking at any time.

        It may run ``session.forward`` on ``last`` and then on each token proposed but the last one; what the
        session then holds, the verifying pass resumes from. It may also leave the session alone.

        Args:
            session: holds everything before ``last``, exactly (``session.tokens()``).
            last: the last emitted token.
            count: at least 1.
            sampler: draws tokens as the request asks; a token that is drawn must come with its distribution.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define propose")

    def learn(self, session: Session, verification: Verification) -> None:
        """Told what came of a cycle, before the next one begins; nothing is learnt unless overridden.

        What comes out stays exact whatever is made of it, since a draft decides by what is past. The session
        holds what was taken; leave it alone.
        """


class PolicyDraft(Draft):
    """Tokens decoded under a depth policy; ``observer``, if there is one, hears of these steps too.

    Args:
        policy: made for the request; kept as ``policy``, which may be replaced between cycles.
        stop_below: a token of lower probability (by the logits it comes from, at temperature 1) is the last
            of its cycle. It is still verified: to drop it by what was drawn would change the distribution of
            what comes out. Kept as ``stop_below``.
        head: proposes some tokens alone, and reads their part of the head only; None proposes any. Kept as
            ``head``.
    """

    def __init__(self, policy: DepthPolicy, stop_below: float = 0.0, head: PartialHead | None = None) -> None:
        self.policy = policy
        self.head = head
        self.stop_below = stop_below
        self.needs_prompt_perplexity = policy.needs_prompt_perplexity

    def propose(self, session: Session, last: int, count: int, sampler: Sampler) -> Iterator[Drafted]:
        """Token by token, each as deep as the policy decides."""
        token = last
        share = 1.0 if self.head is None else self.head.share
        for _ in range(count):
            result = session.forward(_ids(session, (token,)), self.policy, self.observer, self.head)
            logits = result.logits[0, -1]
            distribution = None
            if sampler.sampling.greedy:
                token = sampler.choose(logits)
            else:
                distribution = probabilities(logits, sampler.sampling)
                token = sampler.draw(distribution)
            # With a part of the head it is not the full model's choice, however deep it came from.
            is_full = self.head is None and session.exact_lengths[0] == session.lengths[0]
            depth, confidence = float(result.layers_run[0, -1]), self.policy.exit_confidence
            yield Drafted(token, distribution, depth, is_full, share, confidence)
            if self.stop_below:
                unlikely = _probability(logits, token) < self.stop_below
                if session.stack.agreement.flag(unlikely):
                    return


def speculate(
    session: Session, request: GenerateRequest, draft: Draft, num_speculations: int, adaptive: bool = False
) -> Iterator[Emitted]:
    """Draft, verify, and again.

    Args:
        session: empty, of one sequence.
        request: what to continue and how to draw.
        draft: made for this request.
        num_speculations: K, tokens drafted a cycle at most. Nothing is drafted that ``max_new_tokens`` would
            cut off, nor after an end-of-sequence token.
        adaptive: draft as many, up to K, as measured acceptance and cost make best. Cost is time under greedy
            decoding, where K never changes the tokens; under sampling, where it changes which random
            numbers meet which token, it is the weights read, so that a seed gives the same output every time.

    Yields:
        the first token, from the prefill, as ``decoded``; then for each cycle the drafted tokens that were
        taken, if any, as ``accepted``, and the full model's own as ``verified``. The first emission of a
        cycle says how many tokens it drafted and how many layers that and verifying ran. Depth is L
        throughout: every token was decided at full depth.
    """
    if request.max_new_tokens < 1:
        return
    sampler = Sampler(request.sampling, request.seed, session.stack.agreement)
    full = float(session.num_layers)
    logits = session.prefill(_ids(session, request.prompt_tokens), draft.needs_prompt_perplexity)
    last = sampler.choose(logits[0])
    yield Emitted((last,), (full,))
    ends = frozenset(request.stop_token_ids)
    length = DraftLength(num_speculations) if adaptive else None
    learns = type(draft).learn is not Draft.learn
    measured = adaptive or learns
    cost = cycle_cost(session.stack, in_seconds=sampler.sampling.greedy) if measured else None
    left = request.max_new_tokens - 1
    while left > 0:
        count = min(num_speculations if length is None else length.choose(), left - 1)
        start = session.lengths[0]
        session.begin_draft()
        if cost is not None:
            cost.begin()
        drafted = _propose(session, draft, last, count, sampler, ends)
        draft_cost = 0.0 if cost is None else cost.drafted(drafted)
        verdict = _verify(session, start, last, drafted, sampler, draft.observer)
        taken, last = verdict.taken, verdict.following
        verify_cost = 0.0 if cost is None else cost.verified()
        if length is not None:
            length.record(len(drafted), taken, draft_cost, verify_cost)
        left -= taken + 1
        if learns and left > 0:
            draft.learn(
                session,
                Verification(start, tuple(drafted), taken, last, verdict.logits, draft_cost, verify_cost),
            )
        block = tuple(proposed.token for proposed in drafted[:taken])
        layers, heads = sum(proposed.layers for proposed in drafted), _heads(drafted)
        work = len(drafted), layers, verdict.layers, heads
        if block:
            confidence = tuple(proposed.confidence for proposed in drafted[:taken])
            yield Emitted(block, (full,) * taken, "accepted", *work, confidence)
            yield Emitted((last,), (full,), "verified")
        else:
            yield Emitted((last,), (full,), "verified", *work)


@dataclass(frozen=True)
class _Verdict:
    """How many drafted tokens are taken, the full model's own after them, and what finding out ran.

    Attributes:
        logits: [n, V] after the last n of the tokens that were verified or known.
        layers: run by the verifying pass.
    """

    taken: int
    following: int
    logits: Tensor
    layers: float


def _propose(
    session: Session, draft: Draft, last: int, count: int, sampler: Sampler, ends: frozenset[int]
) -> list[Drafted]:
    """At most ``count`` tokens to follow ``last``, none after an end."""
    drafted: list[Drafted] = []
    if count < 1:
        return drafted
    for proposed in islice(draft.propose(session, last, count, sampler), count):
        drafted.append(proposed)
        if proposed.token in ends:
            break
    return drafted


def _verify(
    session: Session,
    start: int,
    last: int,
    drafted: Sequence[Drafted],
    sampler: Sampler,
    observer: Observer | None,
) -> _Verdict:
    """Run the full model over what was drafted and decide; the session is cut to what was taken.

    Args:
        session: of the request.
        start: positions it held before the draft.
        last: the last emitted token.
        drafted: what was proposed to follow it.
        sampler: of the request.
        observer: of the draft.
    """
    tokens = (last, *(proposed.token for proposed in drafted))
    # Where the draft itself ran the full model, its token is taken already and there is no more to run.
    known = 0
    while known < len(drafted) and drafted[known].is_full_model:
        known += 1
    # Later positions may be exact as well: they rode along to full depth, and the head is left for them.
    first = start + known
    layers = session.num_layers * len(tokens[known:]) - session.resumable_layers(first)
    logits = session.verify(_ids(session, tokens[known:]), observer, first).logits[0]
    taken, following = settle(drafted[known:], logits, sampler)
    if not sampler.sampling.greedy:
        taken, following = session.stack.agreement.whole_numbers((taken, following))
    session.truncate(start + 1 + known + taken)
    return _Verdict(known + taken, following, logits, layers)


def _heads(drafted: Sequence[Drafted]) -> float:
    """Output heads read to draft, in parts of a whole one; who runs no layer reads none."""
    return fsum(proposed.head_share for proposed in drafted if proposed.layers)


def _probability(logits: Tensor, token: int) -> float:
    """Of one token under softmax(``logits`` [V])."""
    return float(torch.softmax(logits if logits.dtype == torch.float64 else logits.float(), dim=-1)[token])


def _ids(session: Session, tokens: Sequence[int]) -> Tensor:
    """[1, T] int64 on the session's device."""
    return torch.tensor([tokens], dtype=torch.int64, device=session.stack.device)
