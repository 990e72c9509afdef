from __future__ import annotations

import json

import pytest
import torch
from transformers import GenerationConfig, GPT2Config

from lsbench.engine.loading import load_stack, load_tokenizer, model_facts, resolve_device, resolve_dtype
from lsbench.errors import BadInput, UnsupportedModel


@pytest.fixture
def folder(tiny, tmp_path):
    """A checkpoint as transformers writes it."""
    tiny("biased", torch.float32).outside.save_pretrained(tmp_path)
    return tmp_path


def _change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_facts_come_without_weights(folder):
    (folder / "model.safetensors").unlink()
    GenerationConfig(eos_token_id=[7, 8]).save_pretrained(folder)
    facts = model_facts(folder)
    assert (facts.num_layers, facts.context_length, facts.eos_token_ids) == (4, 512, (7, 8))


@pytest.mark.parametrize(("written", "expected"), [(None, ()), (5, (5,)), ([5, 6], (5, 6))])
def test_ends_of_sequence_come_from_the_configuration_where_generation_names_none(folder, written, expected):
    _change_config(folder, eos_token_id=written)
    (folder / "generation_config.json").unlink(missing_ok=True)
    assert model_facts(folder).eos_token_ids == expected


def test_a_loaded_stack_predicts_what_was_saved(tiny, folder):
    stack = load_stack(folder, "float32", "cpu")
    with torch.inference_mode():
        logits = stack.model(torch.tensor([[3, 1, 4]])).logits[0]
    expected = tiny("biased", torch.float32).full_pass([3, 1, 4])
    torch.testing.assert_close(logits, expected)
    assert load_stack(folder, "bfloat16", "cpu").dtype == torch.bfloat16


def test_a_folder_without_a_configuration_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(BadInput, match="no configuration that transformers can read") as caught:
            model_facts(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"model_type": "no-such-model"}', "{}"])
def test_a_configuration_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadInput) as caught:
        model_facts(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_unsupported_architecture_is_refused_before_its_weights_load(tmp_path):
    GPT2Config().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModel, match="'gpt2' is not supported"):
        model_facts(tmp_path)
    with pytest.raises(UnsupportedModel, match="'gpt2' is not supported"):
        load_stack(tmp_path, "float32", "cpu")


@pytest.mark.parametrize("more", [{}, {"auto_map": {"AutoConfig": "configuration_grok.GrokConfig"}}])
def test_an_architecture_unknown_to_transformers_is_refused_by_name(tmp_path, more):
    """One that brings its own code too: that would have to be run, and is not asked for."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "grok9", **more}))
    with pytest.raises(UnsupportedModel, match=r"'grok9' is not supported.*llama"):
        model_facts(tmp_path)


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadInput, match="no weights that transformers can read") as caught:
        load_stack(folder, "float32", "cpu")
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_tokenizer_is_refused(folder):
    with pytest.raises(BadInput, match="no tokenizer that transformers can read") as caught:
        load_tokenizer(folder)
    assert "\n" not in str(caught.value)


def test_devices_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(BadInput, match="'cuda': torch finds no CUDA device here; use --device cpu"):
        resolve_device("cuda")
    with pytest.raises(BadInput, match="'gpu' is not a device"):
        resolve_device("gpu")
    with pytest.raises(BadInput, match="'meta': the engine runs on cpu and cuda"):
        resolve_device("meta")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == "cuda"
    assert resolve_device("cuda:1") == "cuda:1"
    with pytest.raises(BadInput, match=r"'cuda:2': this machine has 2 CUDA device\(s\)"):
        resolve_device("cuda:2")


def test_precision_follows_the_device():
    assert resolve_dtype("auto", "cpu") == "float32"
    assert resolve_dtype("auto", "cuda:1") == "bfloat16"
    assert resolve_dtype("float64", "cuda") == "float64"
