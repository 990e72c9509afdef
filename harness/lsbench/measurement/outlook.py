"""What is said before a run of a strategy that has nothing to hope for on this checkpoint.

A warning must not keep anyone from a run that pays: shares are taken at the upper end of what was seen, and a
draft at its best length where it decides that itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

import numpy as np

from lsbench.measurement.bounds import best_draft, depth_speedup, speedup_of, steady, upper_share
from lsbench.measurement.ceiling import Work
from lsbench.records import Outlook, StepCost

_MOST_WRONG = 0.5
"""Agreement below which a strategy's output is mostly another text."""
_NO_GAIN = 1.02
"""A bound up to which exits are not worth looking for."""
_SURE = 1.96
"""Standard errors on either side of a mean, for 95 %."""


def about_outlooks(
    outlooks: Sequence[Outlook], costs: Sequence[StepCost], num_layers: int, greedy: bool, alone: bool
) -> list[str]:
    """What should be known before the run.

    Args:
        outlooks: of some of its strategies.
        costs: of this machine, by width.
        num_layers: L.
        greedy: whether the run is: acceptance of drawn tokens does not follow from the likeliest ones.
        alone: whether sequences decode one at a time, which costs are of.
    """
    settled = steady(costs)
    said: list[str] = []
    for outlook in outlooks:
        if outlook.kind == "decodes":
            said += _about_decoding(outlook)
        elif outlook.kind == "drafts" and greedy and alone:
            said += _about_drafting(outlook, settled, num_layers)
        elif outlook.kind == "exits" and greedy and alone:
            said += _about_exits(outlook, settled, num_layers)
    return said


def _about_decoding(outlook: Outlook) -> list[str]:
    agreed, compared = _counts(outlook)
    if not compared or upper_share(agreed, compared) >= _MOST_WRONG:
        return []
    return [
        f"{outlook.label}: {_seen(outlook)}, so that its output will be another text than the full model's. "
        "Expect its quality to fall."
    ]


def _about_drafting(outlook: Outlook, costs: Sequence[StepCost], num_layers: int) -> list[str]:
    agreed, compared = _counts(outlook)
    most = outlook.num_speculations or 0
    if not compared or len(costs) < 2 or most < 1:
        return []
    texts = [np.array(text, dtype=bool) for text in outlook.agrees]
    draft = outlook.layers, outlook.resumed_layers, costs, num_layers, outlook.draft_head
    lengths = [most] if outlook.fixed_length else range(1, most + 1)
    played = best_draft(texts, *draft, lengths)
    chance = upper_share(agreed, compared)
    hoped = max(_speed_at(chance, length, outlook, costs, num_layers) for length in lengths)
    if max(played.speedup, hoped) >= 1:
        return []
    shortest = best_draft(texts, *draft, range(1, most + 1))
    if shortest.speedup >= 1:
        way = f"num_speculations={shortest.num_speculations} would be about {shortest.speedup:.2f}×"
        return [
            f"{outlook.label}: {_seen(outlook)}. Drafting {most} tokens a cycle cannot pay here: about "
            f"{played.speedup:.2f}× (an estimate from what layers cost); {way}."
        ]
    kind = "early-exit drafts" if outlook.exit_layer is not None else "such drafts"
    return [
        f"{outlook.label}: {_seen(outlook)}: {kind} cannot pay here. Expect about {played.speedup:.2f}× (an "
        "estimate from what layers cost)."
    ]


def _speed_at(
    chance: float, length: int, outlook: Outlook, costs: Sequence[StepCost], num_layers: int
) -> float:
    """Of drafts of a length, each token of which is taken with a chance of its own."""
    work = Work(
        tokens=1 + fsum(chance**place for place in range(1, length + 1)),
        drafted=length,
        draft_layers=outlook.layers,
        resumed_layers=outlook.resumed_layers,
        layers=num_layers,
        draft_head=outlook.draft_head,
    )
    return speedup_of(work, costs, num_layers)


def _about_exits(outlook: Outlook, costs: Sequence[StepCost], num_layers: int) -> list[str]:
    if not costs:
        return []
    hoped = depth_speedup(max(1.0, outlook.layers - _SURE * outlook.spread), costs, num_layers)
    if hoped > _NO_GAIN:
        return []
    bound = depth_speedup(outlook.layers, costs, num_layers)
    layers = ", ".join(map(str, outlook.candidates))
    return [
        f"{outlook.label}: of the layers at which it may stop ({layers}), the model's own final token is "
        f"first predicted at layer {outlook.layers:.1f} of {num_layers} on average. A rule that changes no "
        f"token is at most {bound:.2f}×, however well it foresees."
    ]


def _seen(outlook: Outlook) -> str:
    agreed, compared = _counts(outlook)
    share = (
        f"{agreed / compared:.0%} of the time ({agreed} of {compared} tokens that it wrote before the run)"
    )
    if outlook.exit_layer is not None:
        return f"at layer {outlook.exit_layer} the model predicts its own final token {share}"
    return f"without the layers that it leaves out the model predicts its own final token {share}"


def _counts(outlook: Outlook) -> tuple[int, int]:
    """How many places agree, of how many."""
    return sum(map(sum, outlook.agrees)), sum(map(len, outlook.agrees))
