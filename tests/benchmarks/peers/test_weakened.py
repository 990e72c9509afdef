import pytest
import torch
from safetensors.torch import load_file

from benchmarks.peers.weakened import write_weakened


def test_only_what_later_layers_add_is_scaled(tiny_model, tmp_path):
    write_weakened(tiny_model, tmp_path / "made", 3)
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_model, tmp_path / "made"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"model.layers.3.self_attn.o_proj.weight", "model.layers.3.mlp.down_proj.weight"}
    for name in changed:
        assert torch.equal(after[name], before[name] * 1e-3)
    assert (tmp_path / "made" / "config.json").read_text() == (tiny_model / "config.json").read_text()


def test_nothing_to_weaken_is_an_error(tiny_model, tmp_path):
    with pytest.raises(ValueError, match="after layer 4"):
        write_weakened(tiny_model, tmp_path / "made", 4)
