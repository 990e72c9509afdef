"""The catalogue's LayerSkip checkpoints, against a hub on the loopback with a tiny model behind each name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lsbench.catalog import list_models
from support.models import random_llama

LAYERS = {
    "facebook/layerskip-llama2-7B": 32,
    "facebook/layerskip-llama2-13B": 40,
    "facebook/layerskip-codellama-7B": 32,
    "facebook/layerskip-codellama-34B": 48,
    "facebook/layerskip-llama3-8B": 32,
    "facebook/layerskip-llama3.2-1B": 16,
}
"""As many as the real ones have."""
CHECKPOINTS = [model for model in list_models() if model.origin.startswith("facebook/layerskip-")]

_CODE = """
import json, sys
import torch
from lsbench.catalog import resolve_model
from lsbench.engine import Session
from lsbench.engine.loading import load_stack, load_tokenizer, model_facts
from lsbench.spec import GenerateRequest, parse_strategy
from lsbench.strategy import Preparation
from lsbench.strategy.registry import resolve

torch.set_num_threads(1)

def through_the_engine(stack, strategy, prompt):
    strategy.check(stack.num_layers)
    strategy.prepare(Preparation(stack, ()))
    request = GenerateRequest(
        task="t", doc_id=0, arguments_sha256="", prompt="", prompt_tokens=prompt, max_new_tokens=8
    )
    emitted = list(strategy.generate(Session(stack), request))
    return [e.tokens[0] for e in emitted], [e.depth[0] for e in emitted]

@torch.inference_mode()
def by_transformers(model, exit_layer, prompt):
    # Up to the exit a token needs nothing of the layers beyond it: one full pass has its prediction.
    tokens = list(prompt)
    for place in range(8):
        hidden = model(torch.tensor([tokens]), output_hidden_states=True).hidden_states
        last = hidden[-1][0, -1] if place == 0 else model.model.norm(hidden[exit_layer][0, -1])
        tokens.append(int(model.lm_head(last).argmax()))
    return tokens[len(prompt):]

for line in sys.stdin:
    name, exit_layer = json.loads(line)
    source = resolve_model(name, check=model_facts)
    stack = load_stack(source.path, "float64", "cpu")
    prompt = tuple(load_tokenizer(source.path)("def add(a, b):")["input_ids"])
    strategy = resolve(parse_strategy(f"static_exit:exit_layer={exit_layer}"))
    tokens, depths = through_the_engine(stack, strategy, prompt)
    theirs = by_transformers(stack.model, exit_layer, prompt)
    facts = {"id": source.id, "sha256": source.sha256, "layers": stack.num_layers}
    print(json.dumps({**facts, "tokens": tokens, "depths": depths, "theirs": theirs}), flush=True)
"""


@pytest.fixture(scope="module")
def tiny_checkpoints(tmp_path_factory, tiny_tokenizer) -> dict[str, dict[str, bytes]]:
    """A random Llama of its own, as deep as the real one, behind each id."""
    from safetensors.torch import save_file

    files: dict[str, dict[str, bytes]] = {}
    for seed, (name, layers) in enumerate(LAYERS.items()):
        model = random_llama(
            seed,
            vocab_size=350,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=layers,
            max_position_embeddings=64,
            initializer_range=0.4,
            architectures=["LlamaForCausalLM"],
        )
        folder: Path = tmp_path_factory.mktemp("layerskip")
        model.config.save_pretrained(folder)
        save_file(model.state_dict(), folder / "model.safetensors", {"format": "pt"})
        tiny_tokenizer.save_pretrained(folder)
        files[name] = {path.name: path.read_bytes() for path in folder.iterdir()}
    return files


def test_the_stub_has_a_model_behind_each_entry_deeper_than_its_exit_layer():
    assert {entry.origin for entry in CHECKPOINTS} == set(LAYERS)
    for entry in CHECKPOINTS:
        assert entry.gated
        assert entry.exit_layer is not None
        assert entry.exit_layer < LAYERS[entry.origin]


@pytest.mark.slow
def test_each_is_fetched_by_its_short_name_and_runs_at_its_recommended_exit_layer(
    hub, tiny_checkpoints, tmp_path, fresh_cache
):
    hub.models, hub.token = tiny_checkpoints, "granted"
    asked = "".join(f"{json.dumps([entry.name, entry.exit_layer])}\n" for entry in CHECKPOINTS)
    cleared = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    hub_at = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url, "HF_TOKEN": "granted"}
    done = subprocess.run(
        [sys.executable, "-c", _CODE], input=asked, env={**cleared, **hub_at}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({answer["sha256"] for answer in answers}) == len(CHECKPOINTS)
    for entry, answer in zip(CHECKPOINTS, answers, strict=True):
        assert (answer["id"], answer["layers"]) == (entry.origin, LAYERS[entry.origin])
        assert answer["depths"] == [answer["layers"], *[entry.exit_layer] * 7]
        assert answer["tokens"] == answer["theirs"]
        assert len(set(answer["tokens"])) > 2


@pytest.mark.slow
def test_the_command_line_says_in_a_line_what_stands_in_the_way(hub, tiny_checkpoints, tmp_path, fresh_cache):
    """No token; access, but an architecture that the engine lacks. No weights are fetched for either."""
    name, files = "layerskip-llama3.2-1b", tiny_checkpoints["facebook/layerskip-llama3.2-1B"]
    hub.models, hub.token = {"facebook/layerskip-llama3.2-1B": files}, "granted"
    cleared = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    hub_at = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url}

    def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "lsbench", *arguments, "--model", name],
            env={**cleared, **hub_at, **environment},
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        return done.returncode, done.stdout, done.stderr.splitlines()[-1]

    code, out, said = run("run", "-s", "static_exit:exit_layer=4", "-t", "humaneval")
    assert (code, out) == (2, "")
    assert "'facebook/layerskip-llama3.2-1B' is gated: ask for access" in said
    files["config.json"] = json.dumps({**json.loads(files["config.json"]), "model_type": "gpt2"}).encode()
    code, out, said = run("check-strategy", "static_exit:exit_layer=4", HF_TOKEN="granted")
    assert (code, out) == (2, "")
    assert "Architecture 'gpt2' is not supported" in said
    assert hub.served == ["config.json"]
    assert not list(tmp_path.glob("results/*"))
