import json

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.peers.gguf_file import NotWritable, neighbours_together, write_gguf
from support.models import random_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two layers, four heads of eight that share two of keys and values, and a head of its own."""
    model = random_llama(3, num_hidden_layers=2, vocab_size=48, tie_word_embeddings=False)
    made = tmp_path_factory.mktemp("llama")
    model.config.save_pretrained(made)
    save_file(model.state_dict(), made / "model.safetensors", {"format": "pt"})
    return made


def read(file):
    return {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}


def test_every_weight_is_there_under_llama_cpps_name_and_as_it_was(folder, tmp_path):
    write_gguf(folder, tmp_path / "model.gguf", "float32")
    found = read(tmp_path / "model.gguf")
    weights = load_file(folder / "model.safetensors")
    assert len(found) == len(weights)
    for theirs, ours in {
        "token_embd": "model.embed_tokens",
        "output": "lm_head",
        "output_norm": "model.norm",
        "blk.0.attn_norm": "model.layers.0.input_layernorm",
        "blk.1.attn_v": "model.layers.1.self_attn.v_proj",
        "blk.0.attn_output": "model.layers.0.self_attn.o_proj",
        "blk.1.ffn_norm": "model.layers.1.post_attention_layernorm",
        "blk.1.ffn_gate": "model.layers.1.mlp.gate_proj",
        "blk.1.ffn_up": "model.layers.1.mlp.up_proj",
        "blk.1.ffn_down": "model.layers.1.mlp.down_proj",
    }.items():
        tensor = found[f"{theirs}.weight"]
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        assert torch.equal(torch.tensor(tensor.data), weights[f"{ours}.weight"]), theirs
    for theirs, heads in (("q", 4), ("k", 2)):
        original = weights[f"model.layers.1.self_attn.{theirs}_proj.weight"]
        stored = torch.tensor(found[f"blk.1.attn_{theirs}.weight"].data)
        assert torch.equal(stored, neighbours_together(original, heads))
        assert not torch.equal(stored, original)


def test_what_llama_cpp_must_know_is_written(folder, tmp_path):
    write_gguf(folder, tmp_path / "model.gguf", "float32")
    fields = gguf.GGUFReader(tmp_path / "model.gguf").fields
    config = json.loads((folder / "config.json").read_text())
    for name, value in {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.embedding_length": 32,
        "llama.feed_forward_length": 64,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.rope.dimension_count": 8,
        "llama.context_length": config["max_position_embeddings"],
        "llama.vocab_size": 48,
    }.items():
        assert fields[name].contents() == value, name
    assert fields["llama.rope.freq_base"].contents() == pytest.approx(config["rope_parameters"]["rope_theta"])
    assert fields["llama.attention.layer_norm_rms_epsilon"].contents() == pytest.approx(
        config["rms_norm_eps"]
    )
    names = fields["tokenizer.ggml.tokens"].contents()
    assert len(set(names)) == 48
    assert not any("eos" in name or "bos" in name for name in fields)


def test_bfloat16_matrices_are_stored_as_such_and_vectors_rounded(folder, tmp_path):
    write_gguf(folder, tmp_path / "model.gguf", "bfloat16")
    found = read(tmp_path / "model.gguf")
    weights = load_file(folder / "model.safetensors")
    stored = found["blk.0.ffn_down.weight"]
    assert stored.tensor_type == gguf.GGMLQuantizationType.BF16
    bits = torch.tensor(stored.data).view(torch.bfloat16)
    assert torch.equal(bits, weights["model.layers.0.mlp.down_proj.weight"].bfloat16())
    norm = found["output_norm.weight"]
    assert norm.tensor_type == gguf.GGMLQuantizationType.F32
    assert torch.equal(torch.tensor(norm.data), weights["model.norm.weight"].bfloat16().float())


def test_a_tied_head_is_left_out(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    tied = tmp_path / "tied"
    tied.mkdir()
    (tied / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    (tied / "model.safetensors").symlink_to(folder / "model.safetensors")
    write_gguf(tied, tmp_path / "model.gguf", "float32")
    assert "output.weight" not in read(tmp_path / "model.gguf")


def test_heads_have_neighbours_where_they_had_halves():
    rows = torch.arange(12).reshape(12, 1)
    assert neighbours_together(rows, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "qwen2"}, "qwen2"),
        ({"attention_bias": True}, "attention_bias"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "llama3"),
    ],
)
def test_what_would_be_another_model_is_refused(folder, tmp_path, change, said):
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(NotWritable, match=said):
        write_gguf(tmp_path, tmp_path / "model.gguf", "float32")
    assert not (tmp_path / "model.gguf").exists()
