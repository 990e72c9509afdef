"""Rows of a reference, taken up the layers as deep as policies decide, all at once.

While a row runs everything, it computes what the reference computed already, which is looked up. From the
first sub-layer that it leaves out on it is computed, together with all other rows that are. A row sees exact
keys and values before its branch begins, and its branch's own after that: what a draft sees, whose session
holds an exact text and the tokens drafted since. A branch is one cycle of drafting; or, for tokens that are
decoded and never verified, the whole continuation.

Positions left ``recompute`` count as exact to whoever runs where they did not, which is what bringing them up
makes of them while all that they see is exact (an exit always; a skip set when no layer before is skipped).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsbench.engine import DecoderStack, DepthPlan, DepthPolicy, ExitView, PartialHead
from lsbench.engine.block import Block
from lsbench.engine.plan import check_plan
from lsbench.engine.policy import heads_of
from lsbench.tuning.own_keys import OwnKeys
from lsbench.tuning.previous_logits import Context, Previous
from lsbench.tuning.references import Reference

Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Intended:
    """What policies mean to run before anything runs.

    Attributes:
        plans: of each row.
        looked: whether any rests on the prediction before it.
    """

    plans: tuple[DepthPlan, ...]
    looked: bool


@dataclass(frozen=True)
class Walked:
    """What came of N rows.

    Attributes:
        logits: [N, V] after each; minus infinity for tokens that the head leaves out.
        runs: [N, 2L] the sub-layers that each ran.
        frontier: [N] how many leading ones it ran exactly, 0..2L.
        checks, spare_heads, filled: [N] as ``lsbench.engine.tally.Tally`` counts them.
        rides: whether any left keys and values to be made when a later row goes deeper.
        alone: whether no row could have seen, or decided by, what another made: each then comes to the same
            in whatever branch it stands.
        looked: whether any plan rests on the prediction before it.
    """

    logits: Tensor
    runs: Flags
    frontier: Indices
    checks: Indices
    spare_heads: Indices
    filled: Indices
    rides: bool
    alone: bool
    looked: bool


class Walk:
    """The branches of one reference.

    Args:
        stack: the model.
        reference: whose rows.
        branches: how many.
        head: predicts some tokens alone, as a draft's may; None is the whole head.
    """

    def __init__(
        self, stack: DecoderStack, reference: Reference, branches: int, head: PartialHead | None = None
    ) -> None:
        self._stack, self._reference, self._head = stack, reference, head
        self._own = [OwnKeys(reference, branches) for _ in range(stack.num_layers)]
        length = reference.prompt_length + reference.rows
        self._rotary = stack.rotary(length)

    def intend(
        self, rows: Sequence[int], policies: Sequence[DepthPolicy], previous: Sequence[Previous]
    ) -> Intended:
        """Ask policies for their plans.

        Args:
            rows: [N] of the reference.
            policies: [N] who decides for each.
            previous: [N] what the row's token was chosen from.
        """
        layers = self._stack.num_layers
        plans: list[DepthPlan] = []
        looked = False
        for row, policy, before in zip(rows, policies, previous, strict=True):
            plan = policy.constant_plan(layers)
            if plan is None:
                context = Context(self._reference, layers, row, before)
                plan = policy.plan(context)
                looked = looked or context.has_looked
            check_plan(plan, layers)
            plans.append(plan)
        return Intended(tuple(plans), looked)

    @torch.inference_mode()
    def step(
        self,
        rows: Sequence[int],
        branches: Sequence[int],
        policies: Sequence[DepthPolicy],
        intended: Intended,
    ) -> Walked:
        """Take rows up, at most one of each (branch, row), after those of the same branches before them.

        Args:
            rows: [N] of the reference.
            branches: [N] the branch of each.
            policies: [N] who decides for each.
            intended: what they mean to run.
        """
        ascent = _Ascent(self._stack, self._reference, self._own, self._rotary, self._head)
        return ascent.run(np.array(rows), np.array(branches), policies, intended)


class _Ascent:
    """One step of a walk."""

    def __init__(
        self,
        stack: DecoderStack,
        reference: Reference,
        own: list[OwnKeys],
        rotary: tuple[Tensor, Tensor],
        head: PartialHead | None,
    ) -> None:
        self.stack, self.reference, self.own, self.head = stack, reference, own, head
        self.rotary = rotary
        self.last = 2 * stack.num_layers

    def run(
        self,
        rows: Indices,
        branches: Indices,
        policies: Sequence[DepthPolicy],
        intended: Intended,
    ) -> Walked:
        count = len(rows)
        self.rows, self.branches, self.policies = rows, branches, policies
        self.places = torch.as_tensor(rows, device=self.stack.device)
        self.runs = np.array([plan.run for plan in intended.plans], dtype=bool)
        self.fills = np.array([plan.kv_fill for plan in intended.plans], dtype=object)
        self.exact = np.ones(count, dtype=bool)
        self.frontier = np.full(count, self.last, dtype=np.int64)
        self.hidden = torch.empty_like(self.reference.hidden[0, self.places])
        self.checks, self.spare, self.filled = (np.zeros(count, dtype=np.int64) for _ in range(3))
        self.logits: dict[int, Tensor] = {}
        self.rides = self.crossed = False
        self.constant = all(policy.constant_plan(self.stack.num_layers) for policy in policies)
        looks = _looks(policies, self.stack.num_layers)
        for layer, block in enumerate(self.stack.blocks):
            # What enters is kept where a parallel MLP or a policy is to see it.
            entering = self._now(2 * layer) if block.parallel or layer + 1 in looks else None
            self._attention(layer, block)
            self._mlp(layer, block, entering)
            if entering is not None and layer + 1 in looks and layer + 1 < self.stack.num_layers:
                self._look(layer + 1, looks[layer + 1], entering)
        return Walked(
            self._predictions(),
            self.runs,
            self.frontier,
            self.checks,
            self.spare,
            self.filled,
            self.rides,
            alone=not (self.crossed or intended.looked),
            looked=intended.looked,
        )

    # -- sub-layers -----------------------------------------------------------------------------------

    def _attention(self, layer: int, block: Block) -> None:
        index, own = 2 * layer, self.own[layer]
        running = self.runs[:, index]
        self._leave(~running & self.exact, index)
        new = np.flatnonzero(running & ~self.exact)
        # Under constant plans nobody ever sees what all leave out.
        read = not self.constant or bool(running.any())
        filled = self._fill(layer, block, np.flatnonzero(~running), read)
        replacing = np.concatenate([new, filled])
        own.replace(self.rows[replacing], self.branches[replacing])
        # Who sees what is not exact is exact up to here.
        losing = np.flatnonzero(running & self.exact & own.seen_by(self.rows, self.branches))
        self._stop(losing, index)
        # Later rows of a branch would see it too.
        self.crossed = self.crossed or bool(new.size or losing.size or (filled.size and running.any()))
        attending = np.concatenate([new, losing])
        if not attending.size:
            return
        chosen = self._chosen(attending)
        queries, keys, values = block.project(self.hidden[chosen], *self._turns(attending))
        if new.size:
            count = len(new)
            own.add(self.rows[new], self.branches[new], keys[:count], values[:count])
        rows, branches = self.rows[attending], self.branches[attending]
        attended = own.attend(layer, block, rows, branches, queries)
        self.hidden[chosen] = block.finish_attention(self.hidden[chosen], attended)

    def _mlp(self, layer: int, block: Block, entering: Tensor | None) -> None:
        index = 2 * layer + 1
        running = self.runs[:, index]
        self._leave(~running & self.exact, index, block)
        computed = np.flatnonzero(running & ~self.exact)
        if computed.size:
            chosen = self._chosen(computed)
            read = entering[chosen] if block.parallel and entering is not None else None
            self.hidden[chosen] = block.run_mlp(self.hidden[chosen], read)

    def _fill(self, layer: int, block: Block, leaving: Indices, read: bool) -> Indices:
        """What becomes of keys and values that rows leave out; the rows for which they are not exact.

        Args:
            layer, block: where.
            leaving: the rows.
            read: whether anyone may ever see them; if not they are counted alone.
        """
        if not leaving.size:
            return leaving
        fills = self.fills[leaving]
        self.rides = self.rides or bool((fills == "recompute").any())
        masked, projected = leaving[fills == "mask"], leaving[fills == "propagate"]
        self.filled[projected] += 1
        if not read:
            return leaving[:0]
        # The hidden state that enters the first sub-layer left out is still exact.
        projected = projected[self.frontier[projected] != 2 * layer]
        if projected.size:
            keys, values = block.project_kv(self.hidden[self._chosen(projected)], *self._turns(projected))
            self.own[layer].add(self.rows[projected], self.branches[projected], keys, values)
        return np.concatenate([masked, projected])

    # -- exactness ------------------------------------------------------------------------------------

    def _leave(self, leaving: Flags, index: int, block: Block | None = None) -> None:
        rows = np.flatnonzero(leaving)
        self._stop(rows, index)
        if block is not None and block.parallel:
            # It is taken up again as a whole.
            self.frontier[rows] = index - 1

    def _stop(self, rows: Indices, index: int) -> None:
        """Rows are exact up to sub-layer ``index`` and no further."""
        if not rows.size:
            return
        self.exact[rows] = False
        self.frontier[rows] = index
        chosen = self._chosen(rows)
        self.hidden[chosen] = self.reference.hidden[index, self.places[chosen]]

    def _now(self, index: int) -> Tensor:
        """[N, D] where all rows are before sub-layer ``index``; a copy."""
        hidden = self.reference.hidden[index, self.places]
        inexact = self._chosen(np.flatnonzero(~self.exact))
        hidden[inexact] = self.hidden[inexact]
        return hidden

    # -- looking and predicting -------------------------------------------------------------------------

    def _look(self, layer: int, looking: Flags, entering: Tensor) -> None:
        """Ask the policies after ``layer`` (1..L-1), where it ran and something is still to run."""
        index = 2 * layer
        ran = self.runs[:, index - 2 : index].any(axis=1) & self.runs[:, index:].any(axis=1)
        rows = np.flatnonzero(looking & ran)
        if not rows.size:
            return
        chosen = self._chosen(rows)
        hidden, entered = self._now(index)[chosen], entering[chosen]
        heads = heads_of(self.stack.head, hidden, [self.head] * len(rows))
        for place, (row, head) in enumerate(zip(rows.tolist(), heads, strict=True)):
            view = ExitView(hidden[place], entered[place], head, self.head)
            self.checks[row] += 1
            policy = self.policies[row]
            revised = policy.replan(layer, view)
            if revised is not None:
                check_plan(revised, self.stack.num_layers)
                self.runs[row, index:] = revised.run[index:]
                self.fills[row] = revised.kv_fill
            if policy.should_exit(layer, view):
                self.runs[row, index:] = False
                if view.has_looked:
                    self.logits[row] = view.logits
            elif view.has_looked:
                self.spare[row] += 1

    def _predictions(self) -> Tensor:
        """[N, V]; what a policy has looked at where it stopped is not made again."""
        count = len(self.rows)
        missing = [row for row in range(count) if row not in self.logits]
        hidden = self._now(self.last)
        if missing:
            entering = hidden if len(missing) == count else hidden[missing]
            made = self.stack.head(entering) if self.head is None else self.head.spread(self.head(entering))
            if len(missing) == count:
                return made
            self.logits.update(zip(missing, made, strict=True))
        return torch.stack([self.logits[row] for row in range(count)])

    def _chosen(self, rows: Indices) -> Tensor:
        return torch.as_tensor(rows, device=self.stack.device)

    def _turns(self, rows: Indices) -> tuple[Tensor, Tensor]:
        positions = self._chosen(self.rows[rows] + self.reference.prompt_length)
        cos, sin = self.rotary
        return cos[positions], sin[positions]


def _looks(policies: Sequence[DepthPolicy], num_layers: int) -> dict[int, Flags]:
    """Layer to who wants to look after it."""
    found: dict[int, Flags] = {}
    for row, policy in enumerate(policies):
        if policy.constant_plan(num_layers) is not None:
            continue
        for layer in policy.check_layers(num_layers):
            found.setdefault(layer, np.zeros(len(policies), dtype=bool))[row] = True
    return found
