"""The engine's session against the reference, operation by operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lsbench.engine import DepthPlan, Session
from lsbench.engine.cache import APPROXIMATE, EXACT, MASKED, PENDING
from support.kv_contract.reference import Decisions, Reference
from support.kv_contract.scenarios import (
    VOCABULARY,
    Cut,
    Decided,
    DraftBegun,
    Planned,
    Scenario,
    Scripted,
    Verified,
)

TOLERANCE = 1e-9
STATES = {"pending": PENDING, "masked": MASKED, "approximate": APPROXIMATE, "exact": EXACT}


class Check:
    """A scenario through the engine and the reference; all there is is compared after each operation.

    Args:
        tiny: a model twice, transformers' own and under the engine.
        scenario: what to do.
        reference: makes the reference of one sequence, of ``tiny``.
        tolerance: what numbers may differ by, absolutely and relatively.
    """

    def __init__(
        self,
        tiny: Any,
        scenario: Scenario,
        reference: Callable[[Any], Reference] | None = None,
        tolerance: float = TOLERANCE,
    ) -> None:
        self.tiny, self.scenario, self.tolerance = tiny, scenario, tolerance
        batch = len(scenario.prompt)
        self.session = Session(tiny.stack, batch, scenario.capacity)
        make = reference or (lambda tiny: Reference(tiny.outside))
        self.references = [make(tiny) for _ in range(batch)]
        self.draft_starts: list[int | None] = [None] * batch

    def run(self) -> None:
        full = Decisions(DepthPlan.full(self.tiny.num_layers))
        logits = self.session.prefill(self._tensor(self.scenario.prompt))
        for b, prompt in enumerate(self.scenario.prompt):
            self._same(logits[b], self.references[b].run(prompt, full)[0][-1])
        self.compare()
        for operation in self.scenario.operations:
            getattr(self, f"_{type(operation).__name__.lower()}")(operation)
            self.compare()
        self.finish()

    def _planned(self, operation: Planned) -> None:
        result = self.session.forward(self._tensor(operation.tokens), operation.plan)
        for b, reference in enumerate(self.references):
            # Under one plan, all tokens are one step: what rides along rides once, with all of them.
            logits, runs = reference.run(operation.tokens[b], Decisions(operation.plan))
            self._same(result.logits[b], torch.stack(logits))
            assert (result.runs[b] == np.array(runs)).all()

    def _decided(self, operation: Decided) -> None:
        if any(length == 0 for length in self.session.lengths):
            return
        try:
            [self.session.previous_logits(b) for b in range(self.session.batch)]
        except ValueError:
            return  # Cut behind what is still known: a policy has nothing to go by.
        policies = [Scripted(script) for script in operation.decisions]
        result = self.session.forward(self._tensor(operation.tokens), policies)
        for b, reference in enumerate(self.references):
            for t, token in enumerate(operation.tokens[b]):
                logits, runs = reference.run([token], operation.decisions[b][t])
                self._same(result.logits[b, t], logits[0])
                assert result.runs[b, t].tolist() == runs

    def _draftbegun(self, operation: DraftBegun) -> None:
        self.session.begin_draft()
        self.draft_starts = [len(reference.places) for reference in self.references]

    def _verified(self, operation: Verified) -> None:
        first = [
            _on_the_way_back(reference.exact_length, start, back)
            for reference, start, back in zip(self.references, self.draft_starts, operation.back, strict=True)
        ]
        held = [reference.tokens[begin:] for reference, begin in zip(self.references, first, strict=True)]
        count = max(1, max(map(len, held)) + operation.extra)
        rng = np.random.default_rng(operation.seed)
        tokens = [[*old, *rng.integers(0, VOCABULARY, count - len(old)).tolist()] for old in held]
        for b, reference in enumerate(self.references):
            resumed = sum(self._resumed(b, position) for position in range(first[b], len(reference.places)))
            assert abs(self.session.resumable_layers(first[b], b) - resumed) < TOLERANCE
        result = self.session.verify(self._tensor(tokens), first=first)
        assert (result.layers_run == self.tiny.num_layers).all()
        assert self.session.exact_lengths == self.session.lengths
        for b, reference in enumerate(self.references):
            for t, logits in enumerate(reference.verify(tokens[b], first[b])):
                self._same(result.logits[b, t], logits)
            self._same(result.logits[b], self.tiny.full_pass(reference.tokens)[-count:])

    def _cut(self, operation: Cut) -> None:
        lengths = [
            int(held * part) for held, part in zip(self.session.lengths, operation.fractions, strict=True)
        ]
        self.session.truncate(lengths)
        for reference, length in zip(self.references, lengths, strict=True):
            del reference.places[length:]

    def compare(self) -> None:
        """All that is held equals the reference; what is called exact equals transformers' full pass."""
        cache = self.session.cache
        assert self.session.exact_lengths == tuple(r.exact_length for r in self.references)
        for b, reference in enumerate(self.references):
            length = len(reference.places)
            assert self.session.tokens(b) == tuple(reference.tokens)
            assert self.session.lengths[b] == length
            if not length:
                continue
            states = [[STATES[state] for state in place.state] for place in reference.places]
            assert cache.state[b, :length].tolist() == states
            assert cache.frontier[b, :length].tolist() == [place.frontier for place in reference.places]
            full = self.tiny.full_keys_and_values(reference.tokens)
            for position, place in enumerate(reference.places):
                assert ((b, position) in cache.resume) == self._is_kept(b, position)
                if (b, position) in cache.resume:
                    self._same(cache.resume[b, position], place.entering)
                for layer in range(reference.num_layers):
                    if place.keys[layer] is None or place.state[layer] == "masked":
                        continue
                    ours = (cache.keys[layer][b, :, position], cache.values[layer][b, :, position])
                    self._same(ours[0], place.keys[layer])
                    self._same(ours[1], place.values[layer])
                    if place.state[layer] == "exact":
                        self._same(ours[0], full[layer][0][:, position])
                        self._same(ours[1], full[layer][1][:, position])

    def _is_kept(self, sequence: int, position: int) -> bool:
        """Whether a position may be resumed: it lacks something, or is one of a draft."""
        reference, start = self.references[sequence], self.draft_starts[sequence]
        is_exact = reference.places[position].frontier == 2 * reference.num_layers
        return not is_exact or (start is not None and position >= start)

    def _resumed(self, sequence: int, position: int) -> float:
        """Layers that verifying a position takes over."""
        frontier = self.references[sequence].places[position].frontier
        share = self.session.stack.sublayer_bytes
        layer = [
            share[index] / sum(share[index // 2 * 2 : index // 2 * 2 + 2]) for index in range(len(share))
        ]
        return sum(layer[:frontier]) if self._is_kept(sequence, position) else 0.0

    def _tensor(self, values: Any) -> Tensor:
        return torch.tensor(values, device=self.session.stack.device)

    def _same(self, ours: Tensor, expected: Tensor) -> None:
        within = {"rtol": self.tolerance, "atol": self.tolerance}
        alike = ours.shape == expected.shape and ours.dtype == expected.dtype
        # Asked thousands of times, and a tenth of the work of finding words for a difference.
        if not (alike and torch.allclose(ours, expected, **within)):
            torch.testing.assert_close(ours, expected, **within)

    def finish(self) -> None:
        """Leave only exact positions, in either way; the next logits equal those of a full pass."""
        cut = [max(length, 0) for length in self.session.exact_lengths]
        self.session.truncate(cut)
        token = 7
        result = self.session.forward(
            self._tensor([[token]] * self.session.batch), DepthPlan.full(self.tiny.num_layers)
        )
        assert self.session.exact_lengths == self.session.lengths
        for b, reference in enumerate(self.references):
            self._same(result.logits[b, 0], self.tiny.full_pass([*reference.tokens[: cut[b]], token])[-1])


def _on_the_way_back(exact: int, start: int | None, back: float) -> int:
    """A position from ``exact`` back to the draft's ``start``, or on to the first position of all."""
    start = exact if start is None else min(start, exact)
    return round(exact - (exact - start) * back if back <= 1 else start * (2 - back))
