"""The model with later layers that hardly act: one for which drafting with the first layers ought to pay."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

_ADDS = re.compile(r"layers\.(\d+)\.(?:self_attn\.o_proj|mlp\.down_proj)\.weight$")
"""The products whose results a layer adds to the hidden state, in models written as Llama is."""


def write_weakened(folder: Path, made: Path, exit_layer: int, factor: float = 1e-3) -> None:
    """Copy a model, scaling what the layers after ``exit_layer`` add to the hidden state.

    Args:
        folder: the model, safetensors of a family that names its parts as Llama does.
        made: the folder to make.
        exit_layer: layers count from 1; those above it are weakened.
        factor: what is left of them.

    Raises:
        ValueError: nothing was found to be weakened.
    """
    made.mkdir()
    found = 0
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            if file.is_file():
                shutil.copy(file, made)
            continue
        tensors = {}
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a mapping
                weight, layer = opened.get_tensor(name), _ADDS.search(name)
                weaken = layer is not None and int(layer[1]) >= exit_layer
                found += weaken
                tensors[name] = weight * factor if weaken else weight
        save_file(tensors, made / file.name, {"format": "pt"})
    if not found:
        raise ValueError(f"{folder} has no weights named as Llama's after layer {exit_layer}")
