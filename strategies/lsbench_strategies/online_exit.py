"""An exit that follows the text: each candidate is judged by what it would have had accepted.

As in DEL (Entezari Zarch et al., 2025), the hidden states after every candidate exit are there once a cycle
is verified: from the draft's own steps below its exit, from the verifying pass above it, and exact. Final
norm and head on one of them give the very token that a draft stopping there would have proposed (the
draft's own head: a trimmed one, where it drafts with that).

That product is all that learning costs: one row of it for each candidate, at most eight, in one product for
one of a cycle's positions (each in turn, standing for all of them); in the first four cycles, and later as
often as it takes no more than a twentieth of what decoding does. None is made for the exit that was drafted
at, whose tokens were judged already, nor for a candidate that could not be the best even if all it drafts
were taken.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lsbench.engine import ConstantPolicy, DecoderStack, DepthPlan, PartialHead, Sampler, Session
from lsbench.strategy import Drafted, HiddenStates, PolicyDraft, Sampling, Verification, acceptance_chance
from lsbench_strategies.exit_choice import ExitChoice
from lsbench_strategies.exit_costs import ExitCosts

_CANDIDATES = 8
_FIRST_LOOKS = 4
"""Made whatever they cost."""
_SHARE = 0.05
"""What later ones may cost, of all that decoding did."""


def candidate_exits(num_layers: int) -> tuple[int, ...]:
    """At most eight layers of 1..L-1, at even distances; the only one of a model of one layer."""
    count = min(_CANDIDATES, max(num_layers - 1, 1))
    return tuple(max(1, round(num_layers * place / (count + 1))) for place in range(1, count + 1))


class OnlineExitDraft(PolicyDraft):
    """Drafts at the exit, and as many tokens, as what was verified so far makes best.

    Args:
        stack: the model.
        plans: of each candidate exit, in ascending order.
        exits: the candidates' layers.
        sampling: of the request.
        stop_below, head: as ``PolicyDraft`` has them.
    """

    def __init__(
        self,
        stack: DecoderStack,
        plans: Sequence[DepthPlan],
        exits: Sequence[int],
        sampling: Sampling,
        stop_below: float,
        head: PartialHead | None = None,
    ) -> None:
        super().__init__(ConstantPolicy(plans[0]), stop_below, head)
        self._policies = [ConstantPolicy(plan) for plan in plans]
        self._last_sublayers = [2 * layer - 1 for layer in exits]
        self._sampling = sampling
        weights = stack.sublayer_bytes
        layer = sum(weights) / stack.num_layers
        depths = [sum(weights[: last + 1]) / layer for last in self._last_sublayers]
        whole = stack.head_product.weight_bytes / layer
        self._look_cost = whole if head is None else whole * head.share
        costs = ExitCosts(depths, float(stack.num_layers), whole, self._look_cost)
        # Costs in weights are known beforehand; only seconds are learnt by trying.
        self.choice = ExitChoice(depths, float(stack.num_layers), costs, probes=sampling.greedy)
        self.observer = self._states = HiddenStates(stack.num_layers)
        self._exit: int | None = None
        self._most = 0
        self._cycle = self._looks = 0
        self._cost_of_cycles = self._cost_of_looks = 0.0

    def propose(self, session: Session, last: int, count: int, sampler: Sampler) -> Iterator[Drafted]:
        """As many tokens as are best, none if that is so, at the exit that is."""
        self._most = count
        self._exit, number = self.choice.choose(count)
        if number:
            self.policy = self._policies[self._exit]
            yield from super().propose(session, last, number, sampler)

    def learn(self, session: Session, verification: Verification) -> None:
        """Judge the exit by what it drafted, and other candidates by what they would have."""
        drafted, taken = len(verification.drafted), verification.taken
        used = self._exit if drafted else None
        self.choice.costs.record(used, drafted, verification.draft_cost, verification.verify_cost)
        if used is not None:
            for trial in range(min(taken + 1, drafted)):
                self.choice.record(used, float(trial < taken))
        self._cost_of_cycles += verification.draft_cost + verification.verify_cost
        if self._looks < _FIRST_LOOKS or self._cost_of_looks <= _SHARE * self._cost_of_cycles:
            begin = time.perf_counter()
            self._looks += self._look(session, verification, used)
            # In the unit of the cycles' costs. What a look finds was read off: no device is still busy.
            seconds = session.stack.agreement.number(time.perf_counter() - begin)
            self._cost_of_looks += seconds if self._sampling.greedy else self._look_cost
        self._cycle += 1
        self._states.forget()

    @torch.inference_mode()
    def _look(self, session: Session, verification: Verification, used: int | None) -> bool:
        """Judge the candidates at one position; whether there was anything to look at."""
        positions = verification.positions
        # Which one must not hang on how the cycle went: the last is where drafts tend to fail.
        position = positions[self._cycle % len(positions)]
        target = verification.logits_after(position)
        exits = [exit for exit in self.choice.undecided(self._most) if exit != used]
        found = [self._states.leaving(self._last_sublayers[exit], position) for exit in exits]
        hidden = [state for state in found if state is not None]
        if target is None or not hidden:
            return False
        chances = acceptance_chance(target, self._predicted(session, torch.stack(hidden)), self._sampling)
        seen = [exit for exit, state in zip(exits, found, strict=True) if state is not None]
        for exit, chance in zip(seen, chances.tolist(), strict=True):
            self.choice.record(exit, chance, len(positions))
        return True

    def _predicted(self, session: Session, hidden: Tensor) -> Tensor:
        """[N, V] logits that drafting would come to from hidden states [N, D]."""
        return session.stack.head(hidden) if self.head is None else self.head.spread(self.head(hidden))
