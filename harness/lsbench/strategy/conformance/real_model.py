"""A bench with a checkpoint on it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from lsbench.engine.loading import load_stack, load_tokenizer, resolve_device
from lsbench.strategy.calibration import CALIBRATION_TEXTS
from lsbench.strategy.conformance.bench import Bench

_TOKENS, _FEW = 6, 2
_DRAWS = 150
"""Drawn on a model of as many layers with a tiny vocabulary, which is not fast any more."""
_CALIBRATED, _CALIBRATION_TOKENS = 4, 48
"""Calibration prompts, and how much of each: what is checked holds however well a strategy is calibrated."""
_TEXTS = (
    "def area(width, height):\n    return width * height\n\ndef perimeter(width, height):\n    return",
    "Monday: rain. Tuesday: rain. Wednesday: rain. Thursday: sun. Friday: rain. Saturday: rain. Sunday:",
    "one two three one two four one two five one two six two one three two one four two one",
    "Translate to French.\nsea: mer\nriver: fleuve\nmountain: montagne\nforest:",
    "The committee met on the first of May to discuss the bridge, and",
    "{",
)
"""Plain text, text that repeats itself, the same few words going on differently, and next to nothing."""


def real_bench(path: Path, name: str, device: str = "auto") -> Bench:
    """A checkpoint in float64, with short prompts.

    Args:
        path: a transformers folder.
        name: what to call it.
        device: where to put it.

    Raises:
        BadInput: the folder cannot be read.
        UnsupportedModel: no family declares the architecture.
    """
    tokenizer = load_tokenizer(path)

    def ids(text: str) -> tuple[int, ...]:
        return tuple(cast("list[int]", tokenizer(text)["input_ids"]))

    stack = load_stack(path, "float64", resolve_device(device))
    return Bench(
        f"{name} ({stack.num_layers} layers) in float64",
        stack,
        tuple(map(ids, _TEXTS)),
        tuple(ids(text)[:_CALIBRATION_TOKENS] for text in CALIBRATION_TEXTS[:_CALIBRATED]),
        max_new_tokens=_TOKENS,
        few=_FEW,
        draws=_DRAWS,
    )
