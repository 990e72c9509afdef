from __future__ import annotations

import subprocess
import sys

from lsbench.catalog import list_models
from lsbench.spec import DEFAULT_MODEL


def test_the_default_and_the_six_layerskip_checkpoints_are_listed():
    models = list_models()
    assert models[0].name == DEFAULT_MODEL
    assert not models[0].gated
    assert {m.origin for m in models if m.gated} == {
        f"facebook/layerskip-{size}"
        for size in ("llama2-7B", "llama2-13B", "codellama-7B", "codellama-34B", "llama3-8B", "llama3.2-1B")
    }
    assert len({m.name for m in models}) == len(models)


def test_a_recommendation_names_its_source():
    for model in list_models():
        recommends = model.exit_layer is not None or model.num_speculations is not None
        assert recommends == (model.recommended_by is not None)


def test_importing_the_catalogue_loads_nothing_heavy():
    heavy = ("torch", "transformers", "huggingface_hub", "safetensors", "numpy", "tqdm", "filelock")
    code = f"import sys, lsbench.catalog; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
