"""Tiny models of a family as folders that transformers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from support.families.models import VARIANTS, random_model, tiny_config


def family_folder(parent: Path, name: str, **sizes: Any) -> Path:
    """A variant's random weights in float32, as ``save_pretrained`` lays them out."""
    from safetensors.torch import save_file

    folder = parent / name.replace(" ", "-")
    if folder.exists():
        return folder
    variant = VARIANTS[name]
    config = tiny_config(variant.model_type, torch.float32, **(variant.options | sizes))
    model = random_model(config, torch.float32)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    weights = {name: weight.contiguous() for name, weight in model.named_parameters()}
    # The model's own save_pretrained would import DeepSpeed first.
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder
