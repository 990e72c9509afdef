"""What can happen to a session: a prompt and the operations after it, drawn or written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st

from lsbench.engine import DepthPlan, DepthPolicy, ExitView, StepContext
from support.kv_contract.reference import Decisions

VOCABULARY = 29


class Scripted(DepthPolicy):
    """A policy that does at each token what it was told."""

    def __init__(self, script: Sequence[Decisions]) -> None:
        self.script = list(script)
        self.now = self.script[0]

    def plan(self, context: StepContext) -> DepthPlan:
        self.now = self.script.pop(0)
        return self.now.plan

    def replan(self, layer: int, exit_view: ExitView) -> DepthPlan | None:
        return self.now.replacements.get(layer)

    def should_exit(self, layer: int, exit_view: ExitView) -> bool:
        if layer == self.now.stop and layer % 2:
            exit_view.logits  # noqa: B018 - half of the stops look at the prediction first, and it is reused
        return layer == self.now.stop


@dataclass(frozen=True)
class Planned:
    """``forward`` of tokens [B, T] under one plan."""

    tokens: tuple[tuple[int, ...], ...]
    plan: DepthPlan


@dataclass(frozen=True)
class Decided:
    """``forward`` of tokens [B, T] under a policy for each sequence."""

    tokens: tuple[tuple[int, ...], ...]
    decisions: tuple[tuple[Decisions, ...], ...]


@dataclass(frozen=True)
class Verified:
    """``verify`` of what is not exact, and ``extra`` tokens more where the most of it is held.

    It begins so much of the way back to the draft's beginning: 0 at what is not exact, 1 at the beginning,
    and beyond 1 among what was there before, to the very first position at 2.
    """

    extra: int
    seed: int
    back: tuple[float, ...]


@dataclass(frozen=True)
class DraftBegun:
    """``begin_draft``."""


@dataclass(frozen=True)
class Cut:
    """``truncate`` of each sequence to a fraction of what it holds."""

    fractions: tuple[float, ...]


@dataclass(frozen=True)
class Scenario:
    """A prompt [B, T] and what follows."""

    prompt: tuple[tuple[int, ...], ...]
    capacity: int
    operations: tuple[Any, ...]


FILLS = st.sampled_from(["recompute", "recompute", "propagate", "mask"])


def exit_plans(num_layers: int) -> st.SearchStrategy[DepthPlan]:
    return st.builds(
        lambda e, fill: DepthPlan.exit_at(num_layers, e, fill), st.integers(1, num_layers), FILLS
    )


def skip_plans(num_layers: int) -> st.SearchStrategy[DepthPlan]:
    """Holes of layers or single sub-layers, now and then with an exit besides."""
    layers = st.sets(st.integers(0, num_layers - 1), min_size=1, max_size=2).map(
        lambda chosen: {2 * layer + part for layer in chosen for part in (0, 1)}
    )
    holes = st.sets(st.integers(0, 2 * num_layers - 1), min_size=1, max_size=3) | layers
    exits = st.just(num_layers) | st.integers(1, num_layers)

    def build(skipped: set[int], exit_layer: int, fill: Any) -> DepthPlan:
        return DepthPlan.skipping(num_layers, skipped | set(range(2 * exit_layer, 2 * num_layers)), fill)

    return st.builds(build, holes, exits, FILLS)


@st.composite
def scenarios(draw: st.DrawFn, num_layers: int, batch: int, max_operations: int) -> Scenario:
    token = st.integers(0, VOCABULARY - 1)

    def tokens(most: int) -> st.SearchStrategy[tuple[tuple[int, ...], ...]]:
        return st.integers(1, most).flatmap(lambda n: st.tuples(*[st.tuples(*[token] * n)] * batch))

    # A few plans that come back, so that what one token leaves out another one runs.
    exits, skips = exit_plans(num_layers), skip_plans(num_layers)
    plan = st.sampled_from([DepthPlan.full(num_layers), draw(exits), draw(skips), draw(exits | skips)])
    inner = st.integers(1, num_layers - 1)
    one = st.builds(
        Decisions, plan, st.just({}) | st.dictionaries(inner, plan, max_size=2), st.none() | inner
    )
    decided = tokens(2).flatmap(
        lambda ids: st.builds(Decided, st.just(ids), st.tuples(*[st.tuples(*[one] * len(ids[0]))] * batch))
    )
    planned = st.builds(Planned, tokens(2), plan)
    back = st.sampled_from([0.0, 0.0, 1.0, 1.0]) | st.floats(0, 2)
    verified = st.builds(Verified, st.integers(0, 3), st.integers(0, 10**6), st.tuples(*[back] * batch))
    cut = st.builds(Cut, st.tuples(*[st.floats(0.3, 1)] * batch))
    begun = st.builds(DraftBegun)
    kinds = st.one_of(planned, planned, planned, planned, decided, decided, verified, begun, cut)
    operations = draw(st.lists(kinds, min_size=max_operations // 2, max_size=max_operations))
    if draw(st.booleans()):
        operations.insert(0, DraftBegun())
    return Scenario(draw(tokens(2)), draw(st.integers(1, 24)), tuple(operations))


def hard_scenarios(num_layers: int) -> dict[str, Scenario]:
    """What chance seldom finds."""
    full = DepthPlan.full(num_layers)
    shallow = DepthPlan.exit_at(num_layers, 1)
    hole = DepthPlan.skipping(num_layers, [2])
    late_hole = DepthPlan.skipping(num_layers, [4])

    def mix(*chosen: DepthPlan) -> Scenario:
        planned = [Planned(((number,),), plan) for number, plan in enumerate(chosen, start=1)]
        return Scenario(((3, 1),), 4, tuple(planned))

    def draft(*after: Any) -> Scenario:
        """Two shallow tokens that a third takes to full depth, and a fourth that stops; then ``after``."""
        drafted = mix(shallow, DepthPlan.exit_at(num_layers, 2), full, shallow).operations
        return Scenario(((3, 1),), 4, (DraftBegun(), *drafted, *after))

    whole, half = Verified(1, 5, (1.0,)), Verified(2, 6, (0.5,))
    return {
        "a draft is verified from its beginning": draft(whole, Planned(((9,),), full)),
        "a draft is verified from the middle, and nothing new": draft(Verified(0, 5, (0.5,))),
        "a draft is cut among what became exact, and others come": draft(Cut((0.5,)), whole),
        "a draft is cut, goes on, and is cut before its beginning": draft(
            Cut((0.7,)), Planned(((8,),), shallow), half, Cut((0.2,)), Planned(((9, 4),), full), whole
        ),
        "a draft follows a draft": draft(
            DraftBegun(), Planned(((9,),), shallow), Planned(((6,),), full), whole
        ),
        # The second token exits before layer 2; the third leaves layer 2 out and so needs it at layer 3: on
        # its way there it needs what the first token left out at layer 2.
        "what a rider needs is pending": mix(hole, shallow, hole, full),
        # Riders join at layer 2 and stop at layer 3, which the second token leaves out, and are needed at 4.
        "riders meet a gap": mix(shallow, shallow, late_hole, full),
    }
