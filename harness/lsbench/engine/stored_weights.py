"""Weights read a part at a time: from a checkpoint's files, or from a model that had to be loaded whole."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from lsbench.engine.mapped_files import forget, unchanged_mappings
from lsbench.engine.sharding import Cut

_LET_GO_AFTER = 64 << 20
"""Bytes read of mapped files until their pages are let go of, though the files stay open."""
_ONE_FILE, _INDEX = "model.safetensors", "model.safetensors.index.json"


class Weights(Protocol):
    """A model's weights by name."""

    def read(self, name: str, cut: Cut | None = None) -> Tensor:
        """A new tensor of the part that is cut out, or of all; in the precision that it is kept in."""
        ...


class StoredWeights:
    """In a checkpoint's safetensors files, of which no more is read than is asked for.

    Args:
        files: weight to the file that holds it.
        same_as: weights that are others under another name, as tied heads are.
    """

    def __init__(self, files: Mapping[str, Path], same_as: Mapping[str, str]) -> None:
        self._files, self._same_as = files, same_as
        self._open: dict[Path, Any] = {}
        self._read = 0

    def read(self, name: str, cut: Cut | None = None) -> Tensor:
        """From the file."""
        name = self._same_as.get(name, name)
        path = self._files[name]
        if self._read > _LET_GO_AFTER:
            self._read = 0
            forget(unchanged_mappings())
        if path not in self._open:
            from safetensors import safe_open

            self._open[path] = safe_open(path, framework="pt", device="cpu")
        if cut is None:
            whole: Tensor = self._open[path].get_tensor(name)
            self._read += whole.nbytes
            return whole
        stored = self._open[path].get_slice(name)
        # A copy: what is cut out keeps all of it in memory.
        part = torch.cat([stored[_at(cut, span)] for span in cut.spans], dim=cut.dim)
        self._read += part.nbytes
        return part


class HeldWeights:
    """Of a model in memory."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights

    def read(self, name: str, cut: Cut | None = None) -> Tensor:
        """A copy."""
        weight = self._weights[name]
        if cut is None:
            return weight.clone()
        return torch.cat([weight[_at(cut, span)] for span in cut.spans], dim=cut.dim)


def stored_weights(folder: Path, names: Collection[str], same_as: Mapping[str, str]) -> StoredWeights | None:
    """The weights of a folder, where its files name them as the model does.

    Args:
        folder: of the checkpoint.
        names: of all weights of the model.
        same_as: weights that are others under another name, and need not be in the files.

    Returns:
        None where they are not safetensors files, or hold what transformers has to convert.
    """
    try:
        files = _files(folder)
    except (OSError, ValueError, KeyError):
        return None
    wanted = {same_as.get(name, name) for name in names}
    return StoredWeights(files, same_as) if wanted <= files.keys() else None


def _files(folder: Path) -> dict[str, Path]:
    from safetensors import SafetensorError, safe_open

    index = folder / _INDEX
    if index.exists():
        listed: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {name: folder / file for name, file in listed.items()}
    path = folder / _ONE_FILE
    try:
        with safe_open(path, framework="pt", device="cpu") as stored:
            return dict.fromkeys(stored.keys(), path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _at(cut: Cut, span: slice) -> tuple[slice, ...]:
    return (*(slice(None) for _ in range(cut.dim)), span)
