"""What a draft would propose for one reference: drafted from the true text, where its cycles begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsbench.engine import DecoderStack, DepthPolicy, PartialHead
from lsbench.tuning.draft_table import DraftTable, NotDrafted, Proposals, Until
from lsbench.tuning.previous_logits import Predicted, Previous, PreviousLogits
from lsbench.tuning.references import Reference
from lsbench.tuning.walk import Walk, Walked

Policies = Callable[[], DepthPolicy]
"""Makes one for each cycle: it may hold what it decided for the row before."""


class Likelihood:
    """Whether the places of a reference are easy: how often drafts were right there. A guess, and no more.

    Args:
        places: R.
    """

    def __init__(self, places: int) -> None:
        self._right = np.zeros(places, dtype=np.int64)
        self._asked = np.zeros(places, dtype=np.int64)

    def note(self, places: npt.NDArray[np.int64], agrees: npt.NDArray[np.bool_]) -> None:
        """Take what a draft came to at some places."""
        np.add.at(self._right, places, agrees)
        np.add.at(self._asked, places, 1)

    def easy(self, place: int) -> bool:
        """Whether a draft is more often right there than not; where none was asked, it is believed to be."""
        return bool(2 * self._right[place] >= self._asked[place])


class Drafting:
    """The table of a draft for one reference, which grows where a generation begins a cycle that it lacks.

    A cycle rests on those before it alone by where it begins. So it is guessed where further ones will begin,
    and those that the table lacks are drafted side by side: first the first token of each, then the second of
    those whose first was right, and so on. A wrong guess costs a few rows more. Where every place comes to
    the same in any cycle, all places are drafted at once.

    Args:
        stack: the model.
        reference: what is to be predicted.
        head: of the draft; None is the whole one.
        before: what the full model predicted.
        likely: which places other drafts found easy.
    """

    def __init__(
        self,
        stack: DecoderStack,
        reference: Reference,
        head: PartialHead | None,
        before: PreviousLogits,
        likely: Likelihood,
    ) -> None:
        self.table = DraftTable(reference.rows)
        self._stack, self._reference, self._head = stack, reference, head
        self._before = before
        self._likely = likely
        self._begun = False

    def draft(self, policies: Policies, first: int, count: int, until: Until) -> None:
        """Know the cycle that begins at a place, and those that are likely to follow it.

        Args:
            policies: of the draft.
            first: the place, from which ``table`` knows too little.
            count: tokens of a cycle at most.
            until: where the draft ends one.
        """
        firsts = np.array(self._likely_firsts(first, count, until))
        walk = Walk(self._stack, self._reference, len(firsts), self._head)
        made = shared_or_new(policies, len(firsts), self._stack.num_layers)
        branches = np.arange(len(firsts))
        previous: list[Previous] = [self._before.of(place) for place in firsts.tolist()]
        for depth in range(count):
            places = firsts[branches] + depth
            walked, found = self._step(walk, places, branches, made, previous)
            begun, self._begun = self._begun, True
            if not begun and walked.alone and self._drafted_everywhere(policies, firsts, found):
                return
            self.table.add(firsts[branches], depth, found)
            going = found.agrees & ~until.stops(found) & (places + 1 < self._reference.rows)
            if not going.any():
                return
            kept = walked.logits[torch.as_tensor(going, device=self._stack.device)]
            previous = [Predicted(row) for row in kept]
            branches = branches[going]

    def _likely_firsts(self, first: int, count: int, until: Until) -> list[int]:
        """Where cycles begin from ``first`` on that are not known, if places are as easy as is believed."""
        found: list[int] = []
        while first < self.table.places:
            try:
                rows = self.table.cycle(first, count, until)
                taken = int(self.table.rows.agrees[rows].sum())
            except NotDrafted:
                found.append(first)
                taken = self._guess(first, count, until)
            first += taken + 1
        return found

    def _guess(self, first: int, count: int, until: Until) -> int:
        """How many tokens it takes: by what this draft did in other cycles, else by what others did."""
        end = min(first + count, self.table.places)
        for place in range(first, end):
            row = self.table.latest(place)
            right = self._likely.easy(place) if row is None else self.table.rows.agrees[row]
            if not right:
                return place - first
            if row is not None and self.table.stops(row, until):
                return place - first + 1
        return end - first

    def _drafted_everywhere(
        self, policies: Policies, firsts: npt.NDArray[np.int64], known: Proposals
    ) -> bool:
        """Draft at all other places too; whether each of them comes to the same in any cycle."""
        others = np.setdiff1d(np.arange(self._reference.rows), firsts)
        rows = known
        if others.size:
            walk = Walk(self._stack, self._reference, len(others), self._head)
            made = shared_or_new(policies, len(others), self._stack.num_layers)
            previous = [self._before.of(place) for place in others.tolist()]
            walked, found = self._step(walk, others, np.arange(len(others)), made, previous)
            if not walked.alone:
                self.table.add(others, 0, found)
                return False
            rows = Proposals.joined([known, found])
        self.table.know_all(rows.at(np.argsort(np.concatenate([firsts, others]))))
        return True

    def _step(
        self,
        walk: Walk,
        places: npt.NDArray[np.int64],
        branches: npt.NDArray[np.int64],
        policies: Sequence[DepthPolicy],
        previous: Sequence[Previous],
    ) -> tuple[Walked, Proposals]:
        deciding = [policies[branch] for branch in branches]
        intended = walk.intend(places.tolist(), deciding, previous)
        walked = walk.step(places.tolist(), branches.tolist(), deciding, intended)
        found = proposals_of(self._stack, walked, self._reference.targets[places])
        self._likely.note(places, found.agrees)
        return walked, found


def shared_or_new(policies: Policies, rows: int, num_layers: int) -> list[DepthPolicy]:
    """A policy for each row; one for all where it never decides anything."""
    first = policies()
    if first.constant_plan(num_layers) is not None:
        return [first] * rows
    return [first, *(policies() for _ in range(rows - 1))]


@torch.inference_mode()
def proposals_of(stack: DecoderStack, walked: Walked, targets: npt.NDArray[np.int64]) -> Proposals:
    """What the rows of a step propose, where the reference has ``targets`` [N]."""
    choices, chances = chosen(walked.logits)
    return Proposals(
        choices=choices,
        agrees=choices == targets,
        chances=chances,
        work=work_of_rows(stack, walked),
        frontier=walked.frontier,
        runs=walked.runs,
        rides=walked.rides,
    )


@torch.inference_mode()
def chosen(logits: Tensor) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The likeliest token of each row of logits [N, V], and its probability at temperature 1."""
    precise = logits if logits.dtype == torch.float64 else logits.float()
    most, places = precise.max(dim=-1)
    chances = (most - torch.logsumexp(precise, dim=-1)).exp()
    return places.cpu().numpy(), chances.double().cpu().numpy()


def work_of_rows(stack: DecoderStack, walked: Walked) -> npt.NDArray[np.float64]:
    """[N, 6] attention and MLP sub-layers, layers by weight, checks, heads made for them, and fills."""
    weights = np.array(stack.sublayer_bytes, dtype=np.float64).reshape(-1, 2)
    shares = (weights / weights.sum(axis=1, keepdims=True)).reshape(-1)
    runs = walked.runs
    return np.stack(
        [
            runs[:, 0::2].sum(axis=1),
            runs[:, 1::2].sum(axis=1),
            (runs * shares).sum(axis=1),
            walked.checks,
            walked.spare_heads,
            walked.filled,
        ],
        axis=1,
    ).astype(np.float64)
