"""The hub's own library against a hub on the loopback, in a process of its own: it reads its
environment when it is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_CODE = """
import json, sys
from pathlib import Path
from lsbench.catalog import resolve_model
from lsbench.errors import LsbenchError, UnsupportedModel

stages = []
class Told:
    def update(self, stage, done, total):
        stages.append((stage, done, total))

def check(folder):
    stages.append(("checked", sorted(path.name for path in Path(folder).iterdir()), None))
    model_type = json.loads(Path(folder, "config.json").read_text())["model_type"]
    if model_type != "llama":
        raise UnsupportedModel(f"{model_type!r} is not supported")

try:
    source = resolve_model(sys.argv[1], sys.argv[2] or None, Told(), check)
    answer = {"id": source.id, "path": str(source.path), "sha256": source.sha256}
except LsbenchError as error:
    answer = {"error": type(error).__name__, "text": str(error), "code": error.exit_code}
print(json.dumps({**answer, "stages": stages}))
"""


@pytest.fixture
def resolve(tmp_path: Path, fresh_cache: Path):
    def resolved(name: str, endpoint: str, revision: str = "", **environment: str) -> dict:
        cleared = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        done = subprocess.run(
            [sys.executable, "-c", _CODE, name, revision],
            env={**cleared, "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": endpoint, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""  # no bars, no warnings of the library's own
        return json.loads(done.stdout)

    return resolved


def serve(hub, folder: Path) -> None:
    hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("refusal", "kind", "words"),
    [
        ((401, "GatedRepo"), "Unavailable", ["is gated", "hf auth login", "/facebook/layerskip-llama3.2-1B"]),
        pytest.param(
            (403, "GatedRepo"), "Unavailable", ["is gated", "ask for access"], marks=pytest.mark.slow
        ),
        pytest.param((401, None), "Unavailable", ["status 401", "hf auth login"], marks=pytest.mark.slow),
        ((404, "RepoNotFound"), "BadInput", ["no model 'facebook/layerskip-llama3.2-1B'"]),
        pytest.param((500, None), "Unavailable", ["cannot be reached", "500"], marks=pytest.mark.slow),
    ],
)
def test_what_the_hub_refuses_is_explained_in_a_line(hub, resolve, refusal, kind: str, words: list[str]):
    hub.refusal = refusal
    answer = resolve("layerskip-llama3.2-1b", hub.url)
    assert answer["error"] == kind
    assert answer["code"] == 2
    for word in [*words, "smollm2-135m-instruct", "local transformers folder", ".gguf"]:
        assert word in answer["text"]
    assert "\n" not in answer["text"]


@pytest.mark.slow
def test_the_files_of_a_gated_model_are_for_those_who_were_granted_access(hub, resolve, model_folder: Path):
    serve(hub, model_folder)
    hub.token = "granted"
    answer = resolve("owner/model", hub.url)
    assert (answer["error"], answer["code"]) == ("Unavailable", 2)
    assert "'owner/model' is gated: ask for access" in answer["text"]
    assert hub.served == []
    assert "path" in resolve("owner/model", hub.url, HF_TOKEN="granted")


@pytest.mark.slow
def test_no_network_and_offline_mode_say_what_works(resolve):
    for environment in ({}, {"HF_HUB_OFFLINE": "1"}):
        answer = resolve("owner/model", "http://127.0.0.1:9", **environment)
        assert answer["error"] == "Unavailable"
        assert "smollm2-135m-instruct" in answer["text"]


def test_an_unknown_revision_is_named(hub, resolve):
    hub.refusal = (404, "RevisionNotFound")
    answer = resolve("owner/model", hub.url, "v9")
    assert (answer["error"], "'v9'" in answer["text"]) == ("BadInput", True)


@pytest.mark.slow
def test_a_snapshot_holds_what_a_model_needs_and_serves_offline_later(hub, resolve, model_folder: Path):
    serve(hub, model_folder)
    hub.files |= {
        "pytorch_model.bin": b"the same again",
        "original/consolidated.00.pth": b"and again",
        "modeling_own.py": b"raise SystemExit('code of the repository was run')",
        "onnx/model.onnx": b"and again",
    }
    answer = resolve("owner/model", hub.url)
    assert sorted(hub.served) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert Path(answer["path"], "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    assert answer["id"] == "owner/model"
    size = sum(len(hub.files[name]) for name in hub.served if name != "config.json")
    assert ["Downloading owner/model", size, size] in answer["stages"]
    assert ["checked", ["config.json"], None] in answer["stages"]  # with nothing else fetched yet

    again = resolve("owner/model", "http://127.0.0.1:9")
    assert (again["path"], again["sha256"]) == (answer["path"], answer["sha256"])


def test_pytorch_weights_are_fetched_where_there_are_no_others(hub, resolve, model_folder: Path):
    serve(hub, model_folder)
    hub.files["pytorch_model.bin"] = hub.files.pop("model.safetensors")
    answer = resolve("owner/model", hub.url)
    assert Path(answer["path"], "pytorch_model.bin").read_bytes() == hub.files["pytorch_model.bin"]


def test_a_repository_without_weights_is_refused(hub, resolve, model_folder: Path):
    serve(hub, model_folder)
    del hub.files["model.safetensors"]
    assert "holds no weights" in resolve("owner/model", hub.url)["text"]


def test_a_model_that_cannot_run_is_refused_with_its_weights_still_at_the_hub(
    hub, resolve, model_folder: Path
):
    serve(hub, model_folder)
    hub.files["config.json"] = b'{"model_type": "gpt2"}'
    answer = resolve("owner/model", hub.url)
    assert (answer["error"], answer["code"]) == ("UnsupportedModel", 2)
    assert hub.served == ["config.json"]


def test_a_repository_that_is_no_transformers_model_is_refused_at_once(hub, resolve):
    hub.files = {"model.Q4_K_M.gguf": b"GGUF", "README.md": b"weights"}
    answer = resolve("owner/model", hub.url)
    assert (answer["error"], answer["code"]) == ("BadInput", 2)
    assert "'owner/model' has no config.json" in answer["text"]
    assert "model.Q4_K_M.gguf" in answer["text"]
    assert hub.served == []
