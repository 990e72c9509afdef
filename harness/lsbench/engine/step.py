"""One step: rows go up the layers together, each as far as its plan says.

What happens at each sub-layer, in order:

1. The rows whose plan runs it are active. At an attention sub-layer, positions whose keys and values are
   still *pending* there join them: they are brought up from their frontier first (``_bring_up``) and
   then ride along, batched, for as long as the active rows go on without a gap.
2. A row that does not run it leaves exactness behind: its exact hidden state is kept for resuming, and
   at an attention sub-layer its keys and values are filled as the plan's ``kv_fill`` says.
3. The active rows run. A row whose attention saw a position that is not exact there stops being exact.
4. After a layer at which its policy wants to look, the newest row may stop or get another plan.

All rows of one sequence share one plan; ``verify`` gives every row the full plan from its own frontier on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsbench.engine.block import attend
from lsbench.engine.cache import APPROXIMATE, EXACT, MASKED, PENDING, KVCache
from lsbench.engine.plan import DepthPlan
from lsbench.engine.policy import DepthPolicy, ExitView
from lsbench.engine.stack import DecoderStack

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Group:
    """The active rows of one sequence, in ascending position."""

    sequence: int
    rows: slice | Indices
    """Where they stand among the active rows."""
    positions: Indices
    contiguous: bool


class Step:
    """Rows on their way up the decoder.

    Args:
        stack: the model.
        cache: the sequences; the new positions are appended already.
        sequences, positions: [N] which position of which sequence each row is.
        hidden: [N, D] entering each row's ``start``.
        start: [N] first sub-layer of each row.
        plans: the plan of each sequence that has rows.
        policies: who may stop a sequence's single row or change its plan.
    """

    def __init__(
        self,
        stack: DecoderStack,
        cache: KVCache,
        sequences: Indices,
        positions: Indices,
        hidden: Tensor,
        start: Indices,
        plans: Mapping[int, DepthPlan],
        policies: Mapping[int, DepthPolicy],
    ) -> None:
        self.stack, self.cache = stack, cache
        self.sequences, self.positions, self.hidden, self.start = sequences, positions, hidden, start
        self.num_new = len(sequences)
        self.fill = {sequence: plan.kv_fill for sequence, plan in plans.items()}
        self.runs = np.stack([plans[int(sequence)].flags for sequence in sequences])
        self.exact = np.ones(self.num_new, dtype=bool)
        self.riding = np.zeros(self.num_new, dtype=bool)
        self.views: dict[int, ExitView] = {}
        """Row to the view at which it stopped."""
        self._rotary_index = torch.as_tensor(positions, device=stack.device)
        cos, sin = stack.rotary(int(cache.lengths.max()))
        self._cos, self._sin = cos[self._rotary_index], sin[self._rotary_index]
        self._checks = {
            sequence: (policy, frozenset(policy.check_layers(stack.num_layers)))
            for sequence, policy in policies.items()
        }
        self._groups: dict[bytes, list[_Group]] = {}
        self._masks: dict[bytes, list[Tensor | None]] = {}
        self._resuming = bool(start.any())
        self._read_states()

    def _read_states(self) -> None:
        """Which layers hold pending, masked or inexact positions of the sequences in this step."""
        layers = self.stack.num_layers
        self.has_pending = np.zeros(layers, dtype=bool)
        self.has_masked = np.zeros(layers, dtype=bool)
        self.has_inexact = np.zeros(layers, dtype=bool)
        for sequence in {int(s) for s in self.sequences}:
            if self.cache.is_exact(sequence):
                continue
            new = self.positions[self.sequences == sequence]
            state = self.cache.state[sequence, : int(new.max())]
            older = np.ones(len(state), dtype=bool)
            older[new[new < len(state)]] = False
            state = state[older]
            self.has_pending |= (state == PENDING).any(0)
            self.has_masked |= (state == MASKED).any(0)
            self.has_inexact |= (state != EXACT).any(0)

    def run(self) -> None:
        """Take every row up to the end of its plan."""
        for layer in range(self.stack.num_layers):
            entering = self.hidden
            attention, mlp = 2 * layer, 2 * layer + 1
            active = self._active(attention)
            if active.size and self.has_pending[layer]:
                active = self._with_riders(layer, active)
            self._leave(attention, active)
            if active.size:
                self._attention(layer, active)
            active = self._active(mlp)
            self._leave(mlp, active)
            if active.size:
                self._mlp(layer, active)
            if self._checks:
                self._check(layer + 1, entering)
        self._finish()

    # -- who runs -----------------------------------------------------------------------------------

    def _active(self, index: int) -> Indices:
        """Rows that run sub-layer ``index``: by plan, or riding with those of their sequence."""
        chosen = self.runs[:, index] & (self.start <= index)
        if self.riding.any():
            leaders = self.sequences[: self.num_new][chosen[: self.num_new]]
            chosen = chosen | (self.riding & np.isin(self.sequences, leaders))
        return np.flatnonzero(chosen)

    def _with_riders(self, layer: int, active: Indices) -> Indices:
        joined = [active]
        for sequence in np.unique(self.sequences[active]):
            rows = active[self.sequences[active] == sequence]
            riders = self._bring_up(layer, int(sequence), rows)
            joined.append(riders)
        return np.sort(np.concatenate(joined))

    def _bring_up(self, layer: int, sequence: int, rows: Indices) -> Indices:
        """Take every pending position that ``rows`` would see at ``layer`` up to that layer.

        Returns:
            the rows made for them; they have yet to run the layer's attention.
        """
        limit = int(self.positions[rows].max())
        pending = np.flatnonzero(self.cache.state[sequence, :limit, layer] == PENDING)
        pending = pending[~np.isin(pending, self.positions[rows])]
        if not pending.size:
            return pending
        riders = self._add_riders(sequence, pending)
        reached = {int(row): int(self.cache.frontier[sequence, self.positions[row]]) for row in riders}
        for index in range(min(reached.values()), 2 * layer):
            moving = np.array(sorted(row for row, at in reached.items() if at == index), dtype=np.int64)
            if index % 2 == 0:
                # What they would see there may be pending too: that comes up with them.
                for row in self._bring_up(index // 2, sequence, moving):
                    reached[int(row)] = index
                moving = np.array(sorted(row for row, at in reached.items() if at == index), dtype=np.int64)
                self._attention(index // 2, moving)
            else:
                self._mlp(index // 2, moving)
            reached.update({int(row): index + 1 for row in moving})
        return np.array(sorted(reached), dtype=np.int64)

    def _add_riders(self, sequence: int, positions: Indices) -> Indices:
        count = len(positions)
        first = len(self.sequences)
        # A position that rode before and stopped is taken up again from what was kept when it stopped.
        self.sequences = np.concatenate([self.sequences, np.full(count, sequence)])
        self.positions = np.concatenate([self.positions, positions])
        self.start = np.concatenate([self.start, self.cache.frontier[sequence, positions].astype(np.int64)])
        self.exact = np.concatenate([self.exact, np.ones(count, dtype=bool)])
        self.riding = np.concatenate([self.riding, np.ones(count, dtype=bool)])
        self.runs = np.concatenate([self.runs, np.zeros((count, self.runs.shape[1]), dtype=bool)])
        kept = torch.stack([self.cache.resume[sequence, int(position)] for position in positions])
        self.hidden = torch.cat([self.hidden, kept])
        index = torch.as_tensor(positions, device=self.stack.device)
        cos, sin = self.stack.rotary(int(self.cache.lengths.max()))
        self._cos = torch.cat([self._cos, cos[index]])
        self._sin = torch.cat([self._sin, sin[index]])
        return np.arange(first, first + count)

    def _leave(self, index: int, active: Indices) -> None:
        """Rows that have begun but do not run ``index``: keep what they resume from, fill keys and values."""
        if len(active) == len(self.sequences):
            return
        passing = self.start <= index
        passing[active] = False
        for row in np.flatnonzero(passing & self.exact & (self.riding | (np.arange(len(passing)) < self.num_new))):
            self._keep(int(row), index, self.hidden[int(row)])
        self.riding[passing] = False
        if index % 2:
            return
        passing[self.num_new :] = False
        for sequence in np.unique(self.sequences[passing]):
            rows = np.flatnonzero(passing & (self.sequences == sequence))
            self._fill(index // 2, int(sequence), rows, index)

    def _keep(self, row: int, index: int, hidden: Tensor) -> None:
        """``row`` is exact up to sub-layer ``index`` and no further; ``hidden`` [D] enters it."""
        sequence, position = int(self.sequences[row]), int(self.positions[row])
        self.exact[row] = False
        self.cache.frontier[sequence, position] = index
        self.cache.resume[sequence, position] = hidden.clone()
        self.cache.note_inexact(sequence)

    def _fill(self, layer: int, sequence: int, rows: Indices, index: int) -> None:
        mode = self.fill[sequence]
        positions = self.positions[rows]
        if mode == "mask":
            self.cache.state[sequence, positions, layer] = MASKED
        elif mode == "propagate":
            chosen = torch.as_tensor(rows, device=self.stack.device)
            keys, values = self.stack.blocks[layer].project_kv(
                self.hidden[chosen], self._cos[chosen], self._sin[chosen]
            )
            group = _Group(sequence, slice(0, len(rows)), positions, _is_contiguous(positions))
            self._write(layer, group, keys, values)
            # The hidden state that enters the first sub-layer left out is still exact.
            exact = self.cache.frontier[sequence, positions] == index
            self.cache.state[sequence, positions, layer] = np.where(exact, EXACT, APPROXIMATE)

    # -- running ------------------------------------------------------------------------------------

    def _attention(self, layer: int, active: Indices) -> None:
        whole = len(active) == len(self.sequences)
        block = self.stack.blocks[layer]
        chosen = None if whole else torch.as_tensor(active, device=self.stack.device)
        hidden = self.hidden if chosen is None else self.hidden[chosen]
        cos, sin = (self._cos, self._sin) if chosen is None else (self._cos[chosen], self._sin[chosen])
        queries, keys, values = block.project(hidden, cos, sin)
        groups = self._grouped(active)
        outputs: list[Tensor] = []
        for number, group in enumerate(groups):
            self._write(layer, group, keys[group.rows], values[group.rows])
            rows = active[group.rows]
            self.cache.state[group.sequence, group.positions, layer] = np.where(self.exact[rows], EXACT, APPROXIMATE)
            outputs.append(self._attend(layer, group, number, active, queries[group.rows]))
        if len(groups) == 1 and isinstance(groups[0].rows, slice):
            attended = outputs[0]
        else:
            attended = hidden.new_empty((len(active), block.shape.query_width))
            for group, output in zip(groups, outputs, strict=True):
                attended[group.rows] = output
        if self.has_inexact[layer] or self._resuming or len(self.sequences) > self.num_new:
            for group in groups:
                self._lose_exactness(layer, group, active, hidden)
        self._put(chosen, block.finish_attention(hidden, attended))

    def _mlp(self, layer: int, active: Indices) -> None:
        whole = len(active) == len(self.sequences)
        chosen = None if whole else torch.as_tensor(active, device=self.stack.device)
        hidden = self.hidden if chosen is None else self.hidden[chosen]
        self._put(chosen, self.stack.blocks[layer].run_mlp(hidden))

    def _put(self, chosen: Tensor | None, hidden: Tensor) -> None:
        if chosen is None:
            self.hidden = hidden
        else:
            self.hidden = self.hidden.index_copy(0, chosen, hidden)

    def _grouped(self, active: Indices) -> list[_Group]:
        key = active.tobytes()
        if key not in self._groups:
            groups: list[_Group] = []
            sequences = self.sequences[active]
            for sequence in np.unique(sequences):
                rows = np.flatnonzero(sequences == sequence)
                rows = rows[np.argsort(self.positions[active[rows]])]
                positions = self.positions[active[rows]]
                in_order = bool((np.diff(rows) == 1).all())
                selector = slice(int(rows[0]), int(rows[-1]) + 1) if in_order else rows
                groups.append(_Group(int(sequence), selector, positions, _is_contiguous(positions)))
            self._groups[key] = groups
            self._masks[key] = [self._causal_mask(group) for group in groups]
        return self._groups[key]

    def _causal_mask(self, group: _Group) -> Tensor | None:
        """[N, n] True where a row sees a position; None where every row sees all or a prefill is causal."""
        positions = group.positions
        if len(positions) == 1 or (group.contiguous and positions[0] == 0):
            return None
        length = int(positions[-1]) + 1
        return torch.as_tensor(np.arange(length)[None] <= positions[:, None], device=self.stack.device)

    def _write(self, layer: int, group: _Group, keys: Tensor, values: Tensor) -> None:
        """Store [N, Hkv, d] keys and values at the group's positions."""
        positions = group.positions
        for tensor, new in ((self.cache.keys[layer], keys), (self.cache.values[layer], values)):
            slots = tensor[group.sequence]
            if group.contiguous:
                slots[:, int(positions[0]) : int(positions[-1]) + 1] = new.transpose(0, 1)
            else:
                slots[:, torch.as_tensor(positions, device=tensor.device)] = new.transpose(0, 1)

    def _attend(self, layer: int, group: _Group, number: int, active: Indices, queries: Tensor) -> Tensor:
        length = int(group.positions[-1]) + 1
        keys = self.cache.keys[layer][group.sequence, :, :length]
        values = self.cache.values[layer][group.sequence, :, :length]
        mask = self._masks[active.tobytes()][number]
        causal = group.contiguous and int(group.positions[0]) == 0
        if self.has_masked[layer]:
            visible = self.cache.state[group.sequence, :length, layer] != MASKED
            if not visible.all():
                sees = (np.arange(length)[None] <= group.positions[:, None]) & visible
                mask, causal = torch.as_tensor(sees, device=self.stack.device), False
        return attend(queries, keys, values, mask, causal, self.stack.shape.scale)

    def _lose_exactness(self, layer: int, group: _Group, active: Indices, entering: Tensor) -> None:
        """Rows that saw an inexact position at ``layer`` are exact no further than its attention."""
        rows = active[group.rows]
        if not self.exact[rows].any():
            return
        seen = self.cache.state[group.sequence, : int(group.positions[-1]), layer]
        inexact = np.flatnonzero(seen != EXACT)
        if not inexact.size:
            return
        where = np.arange(len(active))[group.rows]
        for row, place, position in zip(rows, where, group.positions, strict=True):
            if self.exact[row] and position > inexact[0]:
                self._keep(int(row), 2 * layer, entering[int(place)])

    # -- deciding and ending ------------------------------------------------------------------------

    def _check(self, layer: int, entering: Tensor) -> None:
        if layer >= self.stack.num_layers:
            return
        for row in range(self.num_new):
            sequence = int(self.sequences[row])
            if sequence not in self._checks or layer not in self._checks[sequence][1]:
                continue
            if not self.runs[row, 2 * layer - 2 : 2 * layer].any() or not self.runs[row, 2 * layer :].any():
                continue
            policy = self._checks[sequence][0]
            view = ExitView(self.hidden[row], entering[row], self.stack.head)
            revised = policy.replan(layer, view)
            if revised is not None:
                self.runs[row, 2 * layer :] = revised.flags[2 * layer :]
                self.fill[sequence] = revised.kv_fill
            if policy.should_exit(layer, view):
                self.runs[row, 2 * layer :] = False
                self.views[row] = view

    def _finish(self) -> None:
        whole = 2 * self.stack.num_layers
        done = np.flatnonzero(self.exact & ((np.arange(len(self.exact)) < self.num_new) | self.riding))
        for row in done:
            sequence, position = int(self.sequences[row]), int(self.positions[row])
            self.cache.frontier[sequence, position] = whole
            self.cache.resume.pop((sequence, position), None)
        if self._resuming or len(self.sequences) > self.num_new:
            for sequence in {int(s) for s in self.sequences}:
                self.cache.note_exactness(sequence)


def _is_contiguous(ascending: Sequence[int] | Indices) -> bool:
    return int(ascending[-1]) - int(ascending[0]) + 1 == len(ascending)
