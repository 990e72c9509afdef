"""What a heatmap of tokens and layers shows, whatever draws it: how far each layer is from the last."""

from __future__ import annotations

from typing import Literal

from lsbench.insight.outcome import Step
from lsbench.report.plain import ascii_only, printable

State = Literal["kept", "reached", "other"]
"""There for good; the last layer's prediction, but lost again on the way up; another prediction."""

_SIGNS = {" ": "▁", "\n": "↵", "\t": "⇥"}
_ASCII_SIGNS = {" ": "_", "\n": "\\n", "\t": "\\t"}


def state_of(step: Step, layer: int) -> State:
    """What a layer, 1..L, predicts, beside what the last one does."""
    if layer >= step.kept:
        return "kept"
    return "reached" if step.choices[layer - 1] == step.choices[-1] else "other"


def token_text(text: str, most: int | None = None, plain: bool = False) -> str:
    """A token as it is shown: white space by signs, what cannot be shown left out.

    Args:
        text: of the token.
        most: characters, the last of which says that more follow; None is all of them.
        plain: in ASCII alone.
    """
    signs = _ASCII_SIGNS if plain else _SIGNS
    shown = "".join(signs.get(letter, letter) for letter in printable(text)) or "∅"
    if most is not None and len(shown) > most:
        shown = shown[: most - 1] + "…"
    return ascii_only(shown) if plain else shown
