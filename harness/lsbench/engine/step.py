"""One step: rows go up the layers together, each as far as its plan says.

What happens at each sub-layer, in order:

1. A sequence whose plan does not run it leaves exactness behind: the exact hidden state of its rows is
   kept for resuming, and at an attention sub-layer their keys and values are filled as the plan's
   ``kv_fill`` says.
2. In a sequence that runs attention, positions whose keys and values are still *pending* there join the
   new rows: they are brought up from their frontier first (``_bring_up``) and then ride along, batched,
   for as long as the new rows go on without a gap.
3. The rows of all sequences that run it do so together. A row whose attention saw a position that is not
   exact there stops being exact.
4. After a layer at which its policy wants to look, the newest row may stop or get another plan.

All new rows of one sequence share one plan; ``verify`` gives every row the full plan from its own
frontier on, which for a row that is exact already is the end: only the head is left for it. Sequences may
bring different numbers of rows, and may belong to different sessions. What a step does at a sub-layer in
Python is a few look-ups while the rows that run stay the same ones; everything else is worked out when they
change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsbench.engine.cache import APPROXIMATE, EXACT, INEXACT, MASKED, PENDING
from lsbench.engine.looking import ask, looks
from lsbench.engine.policy import ExitView
from lsbench.engine.rows import Indices, Lane, Part, Party, make_party
from lsbench.engine.stack import DecoderStack
from lsbench.engine.step_request import StepRequest, starts_of
from lsbench.engine.sublayers import fill, run_attention, run_native, runs_native


class Step:
    """Rows on their way up the decoder.

    Args:
        stack: the model.
        requests: what runs together; their rows stand one request after the other.

    Attributes:
        lanes: the step as each sequence sees it.
        num_new: all new rows; rows from there on are older positions that rode along at some time.
        views: row to the view at which its policy stopped it.
    """

    def __init__(self, stack: DecoderStack, requests: Sequence[StepRequest]) -> None:
        self.stack = stack
        self.lanes: list[Lane] = []
        row = 0
        for request in requests:
            for sequence, plan in enumerate(request.plans):
                self.lanes.append(Lane(request, sequence, row, plan))
                row += request.count
        self.num_new = row
        self.views: dict[int, ExitView] = {}
        spans = [np.arange(lane.first, lane.end) for lane in self.lanes]
        self._positions: Indices = spans[0] if len(spans) == 1 else np.concatenate(spans)
        self._state: npt.NDArray[np.uint8] = np.full(self.num_new, EXACT, dtype=np.uint8)
        """What the keys and values are that each row makes now: EXACT or APPROXIMATE."""
        self._all_exact = True
        """Whether each of ``_state`` is EXACT, which is sooner asked."""
        self._starts = starts_of(requests)
        self._begins = frozenset(() if self._starts is None else self._starts.tolist())
        self._rotary = stack.rotary(max(lane.end for lane in self.lanes))
        self._check_layers = frozenset().union(*(lane.check_layers for lane in self.lanes))
        self._observed = any(request.observer is not None for request in requests)
        # Hidden states of the rows that run now are kept apart for as long as the same ones run.
        self._hidden = (
            requests[0].hidden if len(requests) == 1 else torch.cat([request.hidden for request in requests])
        )
        self._running: Party | None = None
        self._moving = self._hidden
        self._entering: tuple[int, Tensor] = -1, self._hidden
        """In a model whose layers are parallel, the last layer whose attention ran, and what entered it."""
        self._parties: dict[tuple[object, ...], Party | None] = {}
        self._events: npt.NDArray[np.bool_] | None = None
        """What ``_eventful`` found, until that changes."""
        self._changes = 0
        """How often rows have begun, joined or left: a party is made for one such time."""

    @property
    def hidden(self) -> Tensor:
        """[N, D] hidden states of all rows as they stand now; never written to once handed out."""
        party, self._running = self._running, None
        if party is not None:
            chosen = party.chosen
            self._hidden = (
                self._moving if chosen is None else self._hidden.index_copy(0, chosen, self._moving)
            )
        return self._hidden

    def run(self) -> None:
        """Take every row up to the end of its plan."""
        index, last, entering = 0, 2 * self.stack.num_layers, self._hidden
        while index < last:
            checked = index // 2 + 1 in self._check_layers
            if checked and index % 2 == 0:
                entering = self.hidden
            party = self._gather(index)
            end = self._idle_end(index) if party is None else self._run(index, party)
            if checked and end % 2 == 0:
                self._check(end // 2, entering)
            index = end
        self._finish()

    # -- who runs -----------------------------------------------------------------------------------

    def _gather(self, index: int) -> Party | None:
        """Those that run sub-layer ``index``; what the others leave out is dealt with."""
        layer, is_mlp = divmod(index, 2)
        if index in self._begins:
            self._changes += 1
        for lane in self.lanes:
            if not lane.runs[index]:
                self._leave(lane, index)
            elif not is_mlp and lane.pending[layer]:
                riders = self._bring_up(lane, layer, lane.first, lane.riders)
                if riders:
                    lane.riders = self._by_position([*lane.riders, *riders])
                    self._changes += 1
            if lane.riders:
                lane.tally.older_rows += len(lane.riders)
                lane.tally.ridden += 1
        key = (self._changes, *[lane.runs[index] for lane in self.lanes])
        if key not in self._parties:
            members = [(lane, self._rows_of(lane, index)) for lane in self.lanes if lane.runs[index]]
            self._parties[key] = self._make_party(members)
        return self._parties[key]

    def _rows_of(self, lane: Lane, index: int) -> Indices:
        """Riders, which are older, then the new rows that have begun."""
        new = np.arange(lane.rows.start, lane.rows.stop)
        if self._starts is not None:
            new = new[self._starts[new] <= index]
        return np.concatenate([np.array(lane.riders, dtype=np.int64), new]) if lane.riders else new

    def _make_party(self, members: Sequence[tuple[Lane, Indices]]) -> Party | None:
        return make_party(members, self._positions, self._rotary, self.stack.device)

    def _by_position(self, rows: Iterable[int]) -> list[int]:
        return sorted(rows, key=self._positions.__getitem__)

    # -- pending positions --------------------------------------------------------------------------

    def _bring_up(self, lane: Lane, layer: int, limit: int, present: Sequence[int]) -> list[int]:
        """Take positions before ``limit`` that are pending at ``layer`` up to it, but those of ``present``.

        Returns:
            the rows made for them; they have yet to run the layer's attention.
        """
        pending = np.flatnonzero(lane.cache.state[lane.sequence, :limit, layer] == PENDING)
        pending = np.setdiff1d(pending, self._positions[list(present)], assume_unique=True)
        if not pending.size:
            return []
        reached = self._add_rows(lane, pending)
        for index in range(min(reached.values()), 2 * layer):
            moving = self._by_position(row for row, at in reached.items() if at == index)
            if index % 2 == 0:
                # What they would see there may be pending too: it comes up with them.
                last = int(self._positions[moving[-1]])
                moving = self._by_position([*moving, *self._bring_up(lane, index // 2, last, moving)])
            key = ("up", *moving)
            if key not in self._parties:
                self._parties[key] = self._make_party([(lane, np.array(moving))])
            party = self._parties[key]
            assert party is not None
            lane.tally.older_rows += len(moving)
            lane.tally.own_passes += 1
            self._run(index, party, alone=True)
            reached.update(dict.fromkeys(moving, index + 1))
        return list(reached)

    def _add_rows(self, lane: Lane, positions: Indices) -> dict[int, int]:
        """A row for each older position, taken up again from what was kept of it; row to its frontier."""
        first, sequence = len(self._positions), lane.sequence
        lane.has_brought_up = True
        kept = [lane.cache.resume[sequence, position] for position in positions.tolist()]
        self._hidden = torch.cat([self.hidden, torch.stack(kept)])
        self._positions = np.concatenate([self._positions, positions])
        self._state = np.concatenate([self._state, np.full(len(positions), EXACT, dtype=np.uint8)])
        # A party of all rows is one of all rows no longer, and these are exact where the others may not be.
        self._changes += 1
        self._events = None
        return dict(enumerate(lane.cache.frontier[sequence, positions].tolist(), start=first))

    # -- what is left out ---------------------------------------------------------------------------

    def _leave(self, lane: Lane, index: int) -> None:
        """``lane`` does not run ``index``: keep what it resumes from, fill keys and values."""
        leaving = [*lane.riders]
        if not lane.has_left:
            lane.has_left = True
            leaving.extend(range(lane.rows.start, lane.rows.stop))
        if leaving:
            hidden = self.hidden
            for row in leaving:
                self._stop_exactness(lane, row, index, hidden[row])
        if lane.riders:
            lane.riders = []
            self._changes += 1
        if index % 2 == 0:
            self._fill(lane, range(index // 2, index // 2 + 1))

    def _stop_exactness(self, lane: Lane, row: int, index: int, hidden: Tensor) -> None:
        """If ``row`` is exact, then up to sub-layer ``index`` and no further; ``hidden`` [D] enters it.

        A parallel layer is taken up again as a whole: its MLP does not go on from what its attention made.
        """
        if self._state[row] == EXACT:
            self._state[row] = APPROXIMATE
            self._all_exact = False
            self._events = None
            if index % 2 and self.stack.blocks[index // 2].parallel:
                index, hidden = index - 1, self._entered(index // 2)[row]
            # A view: hidden states are never written to.
            lane.cache.keep(lane.sequence, int(self._positions[row]), index, hidden)

    def _fill(self, lane: Lane, layers: range) -> None:
        """Fill, as the plan says, the keys and values of attention that is left out in ``layers``."""
        if lane.kv_fill == "recompute" or not layers:
            return
        positions = slice(lane.first, lane.end)
        state = lane.cache.state[lane.sequence, positions, layers.start : layers.stop]
        if lane.kv_fill == "mask":
            state[:] = MASKED
            return
        cos, sin = (table[positions] for table in self._rotary)
        fill(self.stack, lane, self.hidden[lane.rows], (cos, sin), layers)
        lane.tally.filled += lane.count * len(layers)
        # The hidden state that enters the first sub-layer left out is still exact.
        frontier = lane.cache.frontier[lane.sequence, positions]
        state[:] = np.where(frontier[:, None] == 2 * np.array(layers), EXACT, APPROXIMATE)

    def _idle_end(self, begin: int) -> int:
        """Where somebody runs again, if nobody runs ``begin``; what is left out until then is filled."""
        end, last = begin + 1, 2 * self.stack.num_layers
        while end < last and not (self._halts(end) or any(lane.runs[end] for lane in self.lanes)):
            end += 1
        for lane in self.lanes:
            self._fill(lane, range(begin // 2 + 1, (end + 1) // 2))
        return end

    def _halts(self, index: int) -> bool:
        """Whether rows begin, or a policy wants to look, before sub-layer ``index``."""
        layer, is_mlp = divmod(index, 2)
        looked_at = not is_mlp and (layer in self._check_layers or layer + 1 in self._check_layers)
        return looked_at or index in self._begins

    # -- running ------------------------------------------------------------------------------------

    def _enter(self, party: Party) -> Tensor:
        """[n, D] hidden states of a party's rows."""
        if party is not self._running:
            hidden = self.hidden
            self._moving = hidden if party.chosen is None else hidden[party.chosen]
            self._running = party
        return self._moving

    def _run(self, begin: int, party: Party, alone: bool = False) -> int:
        """Run sub-layer ``begin``, and those after it that can be run at once with it, unless ``alone``.

        Returns:
            the first sub-layer that was not run.
        """
        layer, is_mlp = divmod(begin, 2)
        native = runs_native(self.stack, party)
        end = self._uneventful_end(begin) if native and not (alone or self._observed) else begin + 1
        parallel = self.stack.blocks[layer].parallel
        if parallel and not is_mlp:
            self._entering = layer, self.hidden
        entered = self._entered(layer) if parallel and is_mlp else None
        hidden = self._enter(party)
        for part in party.parts:
            part.lane.cache.mark(
                part.lane.sequence,
                part.span,
                slice((begin + 1) // 2, (end + 1) // 2),
                EXACT if self._all_exact else self._state[part.rows, None],
            )
            if part.lane.riders and not alone:
                part.lane.tally.older_rows += len(part.lane.riders) * (end - begin - 1)
                part.lane.tally.ridden += end - begin - 1
        if native:
            after = run_native(self.stack, party, hidden, begin, end)
        elif is_mlp:
            if entered is not None and party.chosen is not None:
                entered = entered[party.chosen]
            after = self.stack.blocks[layer].run_mlp(hidden, entered)
        else:
            after = run_attention(self.stack, party, hidden, layer)
        if not is_mlp:
            for part, (entering,) in party.split(hidden):
                if part.lane.inexact[layer]:
                    self._lose_exactness(layer, part, entering)
        self._advance(end - 1, party, after)
        return end

    def _uneventful_end(self, begin: int) -> int:
        """Up to where what runs at ``begin`` goes on, with nothing to be done, seen or decided in between."""
        if self._events is None:
            self._events = self._eventful()
        return begin + 1 + int(self._events[begin + 1 :].argmax())

    def _eventful(self) -> npt.NDArray[np.bool_]:
        """[2L + 1] sub-layers before which rows begin, join or leave, or something is looked at."""
        last = 2 * self.stack.num_layers
        events = np.zeros(last + 1, dtype=bool)
        events[last] = True
        events[list(self._begins)] = True
        for layer in self._check_layers:
            events[[2 * layer - 2, 2 * layer]] = True
        for lane in self.lanes:
            if lane.runs is not lane.plan.run or not lane.plan.is_full:
                left_out = ~(lane.plan.flags if lane.runs is lane.plan.run else np.array(lane.runs))
                events[:last] |= left_out
                events[1:] |= left_out
            if lane.found is None:
                continue
            if self._all_exact or lane.riders or (self._state[lane.rows] == EXACT).any():
                inexact = (lane.found & INEXACT) != 0
                events[:last:2] |= inexact
                # What it saw is told before anything else runs.
                events[1:last:2] |= inexact
            else:
                events[:last:2] |= (lane.found & PENDING) != 0
        return events

    def _entered(self, layer: int) -> Tensor:
        """[N, D] what entered ``layer``, whose attention may have run."""
        last, hidden = self._entering
        return hidden if last == layer else self.hidden

    def _advance(self, index: int, party: Party, hidden: Tensor) -> None:
        """The running rows have come to ``hidden`` [n, D] by sub-layer ``index``."""
        before, self._moving = self._moving, hidden
        if self._observed:
            self._tell(index, party, before)

    def _lose_exactness(self, layer: int, part: Part, entering: Tensor) -> None:
        """Rows that saw an inexact position at ``layer`` are exact no further than its attention."""
        if not (self._all_exact or (self._state[part.rows] == EXACT).any()):
            return
        seen = part.lane.cache.state[part.lane.sequence, : part.length - 1, layer]
        inexact = np.flatnonzero(seen != EXACT)
        if not inexact.size:
            return
        for place in np.flatnonzero(part.positions > inexact[0]):
            self._stop_exactness(part.lane, int(part.rows[place]), 2 * layer, entering[int(place)])

    def _tell(self, index: int, party: Party, before: Tensor) -> None:
        """Observers hear what positions of their own session did, older ones that ride along included.

        Of several ranks all hear of rank 0's: what is learnt from it decides.
        """
        after = self._moving
        if self.stack.agreement.size > 1:
            before, after = self.stack.agreement.tensor(torch.stack([before, after]))
        for part, (entering, leaving) in party.split(before, after):
            if part.lane.observer is not None:
                part.lane.observer(index, part.positions, entering, leaving)

    # -- deciding and ending ------------------------------------------------------------------------

    def _check(self, layer: int, entering: Tensor) -> None:
        """Ask the policies that want to look after ``layer``, where it ran and something is still to run."""
        looking = [lane for lane in self.lanes if looks(lane, layer)]
        if looking:
            views, changed = ask(self.stack, looking, layer, entering, self.hidden)
            self.views.update(views)
            if changed:
                self._events = None

    def _finish(self) -> None:
        hidden = self.hidden
        for lane in self.lanes:
            undisturbed = not (lane.riders or lane.has_brought_up or lane.has_left)
            if undisturbed and (self._all_exact or (self._state[lane.rows] == EXACT).all()):
                lane.cache.complete_newest(lane.sequence, lane.first, hidden[lane.rows])
                continue
            rows = np.arange(lane.rows.start, lane.rows.stop)
            if lane.riders:
                rows = np.concatenate([lane.riders, rows])
            rows = rows[self._state[rows] == EXACT]
            lane.cache.complete(lane.sequence, self._positions[rows], hidden, rows)
            lane.cache.settle(lane.sequence, 0 if lane.has_brought_up else lane.first)
