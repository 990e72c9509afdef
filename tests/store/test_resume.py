from __future__ import annotations

from pathlib import Path

import pytest

from lsbench.errors import BadInput
from lsbench.records import Products
from lsbench.spec import RunSpec, StrategyChoice
from lsbench.store.manifest import Manifest, ModelFacts
from lsbench.store.resume import changes_since, check_resumable
from lsbench.store.run_folder import RunFolder

OTHER: dict[str, object] = {
    "strategies": (StrategyChoice(name="dynamic_skip", options={"max_skip_ratio": 0.5}),),
    "baseline": "hf_generate",
    "tasks": ("humaneval", "gsm8k"),
    "model": "other",
    "revision": "main",
    "dtype": "bfloat16",
    "device": "cuda",
    "include_path": "tasks",
    "data": "own.jsonl",
    "data_prompt": "question",
    "data_reference": "answer",
    "data_fewshot": "shots.jsonl",
    "limit": 40,
    "num_fewshot": 3,
    "apply_chat_template": True,
    "max_new_tokens": 9,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 7,
    "seed": 1,
    "batch_size": 2,
    "tensor_parallel": 2,
    "repeats": 2,
    "warmup": 0,
    "threads": 1,
    "sandbox": "strict",
}

ELSEWHERE: dict[str, object] = {
    "output": "/elsewhere",
    "backend": "ray",
    "ray_address": "10.0.0.1:6379",
    "max_retries": 0,
    "replicas": 2,
}
"""What says where a run takes place, not what it measures."""


@pytest.fixture
def manifest(tmp_path: Path, spec: RunSpec) -> Manifest:
    with RunFolder.create(tmp_path, spec) as folder:
        model = ModelFacts(id="tiny", path=None, sha256="abc", num_layers=4, dtype="float32")
        return folder.update_manifest(model=model)


def test_the_same_question_may_go_elsewhere(manifest: Manifest, spec: RunSpec):
    check_resumable(manifest, spec, "abc")
    check_resumable(manifest, spec.model_copy(update=ELSEWHERE))


def test_every_field_is_tried():
    assert OTHER.keys() ^ ELSEWHERE.keys() == RunSpec.model_fields.keys()


@pytest.mark.parametrize("field", OTHER)
def test_any_other_question_is_refused_by_field(manifest: Manifest, spec: RunSpec, field: str):
    other = RunSpec.model_validate({**dict(spec), field: OTHER[field]})
    with pytest.raises(BadInput, match=f"Cannot resume {manifest.run_id}: {field} was .*, now ") as caught:
        check_resumable(manifest, other)
    assert "\n" not in str(caught.value)


def test_both_values_are_shown(manifest: Manifest, spec: RunSpec):
    other = spec.model_copy(update={"limit": None, "strategies": OTHER["strategies"]})
    with pytest.raises(BadInput) as caught:
        check_resumable(manifest, other)
    assert (
        "strategies was [dynamic_skip:max_skip_ratio=0.4], now [dynamic_skip:max_skip_ratio=0.5]; "
        "limit was 4, now not given"
    ) in str(caught.value)


def test_other_weights_are_refused(manifest: Manifest, spec: RunSpec):
    with pytest.raises(BadInput, match="had SHA-256 abc, now xyz"):
        check_resumable(manifest, spec, "xyz")


COMPILED = Products(kind="native", detail="compiled for AVX2", most_rows=24)
TORCHS = Products(kind="torch", detail="no C++ compiler was found")


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (
            COMPILED,
            TORCHS,
            "compiled for AVX2, up to 24 rows then, torch's own (no C++ compiler was found) now",
        ),
        (
            TORCHS,
            COMPILED,
            "torch's own (no C++ compiler was found) then, compiled for AVX2, up to 24 rows now",
        ),
        (None, COMPILED, "torch's own then, compiled for AVX2, up to 24 rows now"),
    ],
)
def test_other_products_are_told(manifest: Manifest, before, now, told: str):
    begun = manifest.model_copy(update={"products": before})
    assert changes_since(begun, 2, now) == [f"Resumed (segment 2) with few-row products: {told}."]


@pytest.mark.parametrize("now", [COMPILED, None])
def test_the_same_products_are_not(manifest: Manifest, now):
    assert changes_since(manifest.model_copy(update={"products": COMPILED}), 2, now) == []
