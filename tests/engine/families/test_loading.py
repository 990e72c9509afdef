"""From a folder: a family's model loads as it was, or is refused by name before a weight is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lsbench.engine.families import family_for, family_of
from lsbench.engine.loading import load_stack, model_facts
from lsbench.engine.precise import precise_logits
from lsbench.errors import UnsupportedModel
from support.families.models import BY_TYPE, VARIANTS, tiny_config, tiny_family

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]
VARIED = ("gemma2", "gpt_neox", "mixtral", "phi3", "cohere2")


def _saved(model: Any, folder: Path) -> Path:
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    # Tied weights are written once.
    weights = {tensor.data_ptr(): (name, tensor) for name, tensor in reversed(model.state_dict().items())}
    save_file(dict(weights.values()), folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIED)
def test_a_saved_model_is_loaded_as_it_was(name: str, tmp_path: Path) -> None:
    tiny = tiny_family(name)
    stack = load_stack(_saved(tiny.outside, tmp_path), "float64", "cpu")
    hidden = torch.randn(2, 16, dtype=torch.float64)
    assert torch.equal(stack.head(hidden), tiny.stack.head(hidden))
    with torch.inference_mode():
        ours = stack.model(torch.tensor([TOKENS])).logits
        torch.testing.assert_close(ours, tiny.stack.model(torch.tensor([TOKENS])).logits)
    assert model_facts(tmp_path).model_type == tiny.variant.model_type


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIED)
def test_the_precise_recheck_runs_on_it(name: str) -> None:
    """In float64, which transformers' grouped product of experts lacks."""
    model = tiny_family(name, torch.float32).stack.model
    before = model.config._experts_implementation
    found = precise_logits(model, TOKENS)
    assert found.dtype == torch.float64
    assert model.config._experts_implementation == before
    with torch.inference_mode():
        expected = model(torch.tensor([TOKENS])).logits[0, -1]
    torch.testing.assert_close(found.float(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("model_type", "options", "says"),
    [
        ("gemma3_text", {"use_bidirectional_attention": True}, "lets tokens see later ones"),
        ("qwen3", {**BY_TYPE, "layer_types": ["chunked_attention"] * 4}, "layers of type chunked_attention"),
    ],
)
def test_what_a_family_cannot_do_is_refused_by_name(
    model_type: str, options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    config = tiny_config(model_type, **options)
    config.save_pretrained(tmp_path)
    for refuse in (lambda: family_for(config), lambda: load_stack(tmp_path, "float32", "cpu")):
        with pytest.raises(UnsupportedModel, match=says) as caught:
            refuse()
        assert model_type in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "offered"), [("gemma3", "gemma3_text"), ("gptneox", "gpt_neox"), ("qwen-2", "qwen2")]
)
def test_the_nearest_name_is_offered(asked: str, offered: str) -> None:
    with pytest.raises(UnsupportedModel, match=f"nearest: {offered}"):
        family_of(asked)


def test_every_variant_is_accepted() -> None:
    for variant in VARIANTS.values():
        config = tiny_config(variant.model_type, **variant.options)
        assert variant.model_type in family_for(config).model_types
        assert tuple(family_for(config).windows(config)) == variant.windows
        assert family_for(config).is_parallel(config) == variant.parallel
