"""Weights read a part at a time."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from lsbench.engine.sharding import Cut
from lsbench.engine.stored_weights import HeldWeights, stored_weights

WEIGHTS = {"a": torch.arange(24.0).view(4, 6), "b": torch.arange(5.0)}
ROWS, COLUMNS = Cut(0, (slice(1, 2), slice(3, 4)), 4), Cut(1, (slice(2, 5),), 6)


@pytest.fixture(params=["one file", "several", "in memory"])
def weights(request, tmp_path):
    if request.param == "in memory":
        return HeldWeights({**WEIGHTS, "tied": WEIGHTS["a"]})
    if request.param == "one file":
        save_file(WEIGHTS, tmp_path / "model.safetensors")
    else:
        for name, weight in WEIGHTS.items():
            save_file({name: weight}, tmp_path / f"{name}.safetensors")
        index = {"weight_map": {name: f"{name}.safetensors" for name in WEIGHTS}}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    return stored_weights(tmp_path, ["a", "b", "tied"], {"tied": "a"})


def test_whole_and_in_part(weights) -> None:
    assert torch.equal(weights.read("b"), WEIGHTS["b"])
    assert torch.equal(weights.read("tied"), WEIGHTS["a"])
    assert torch.equal(weights.read("a", ROWS), WEIGHTS["a"][[1, 3]])
    assert torch.equal(weights.read("a", COLUMNS), WEIGHTS["a"][:, 2:5])


def test_a_part_keeps_no_more_than_itself_in_memory(weights) -> None:
    for cut in (ROWS, COLUMNS):
        part = weights.read("a", cut)
        assert part.untyped_storage().nbytes() == part.numel() * 4


@pytest.mark.parametrize("what", ["nothing", "other names", "no safetensors", "a broken index"])
def test_what_cannot_be_read_so_is_left_to_transformers(what, tmp_path) -> None:
    if what == "other names":
        save_file(WEIGHTS, tmp_path / "model.safetensors")
    elif what == "no safetensors":
        (tmp_path / "model.safetensors").write_bytes(b"?")
    elif what == "a broken index":
        (tmp_path / "model.safetensors.index.json").write_text("{")
    assert stored_weights(tmp_path, ["a", "c"], {}) is None
