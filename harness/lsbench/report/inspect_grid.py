"""What a heatmap of tokens and layers shows, whatever draws it: how far each layer is from the last."""

from __future__ import annotations

from typing import Literal

from lsbench.insight.outcome import Step
from lsbench.report.plain import printable

State = Literal["kept", "reached", "other"]
"""There for good; the last layer's prediction, but lost again on the way up; another prediction."""

_SHOWN = {" ": "·", "\n": "↵", "\t": "⇥"}


def state_of(step: Step, layer: int) -> State:
    """What a layer, 1..L, predicts, beside what the last one does."""
    if layer >= step.kept:
        return "kept"
    return "reached" if step.choices[layer - 1] == step.choices[-1] else "other"


def token_text(text: str, most: int | None = None) -> str:
    """A token as it is shown: white space by signs, what cannot be shown left out.

    Args:
        text: of the token.
        most: characters, the last of which says that more follow; None is all of them.
    """
    shown = "".join(_SHOWN.get(letter, letter) for letter in printable(text)) or "∅"
    return shown if most is None or len(shown) <= most else shown[: most - 1] + "…"
