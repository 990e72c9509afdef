"""Every peer on a tiny model: its tokens are ours, and what it says of time adds up."""

import time
from dataclasses import replace
from importlib import import_module

import pytest

from benchmarks.peers import gguf_file
from benchmarks.peers.agreement import disagreement
from benchmarks.peers.bench import PEERS
from benchmarks.peers.llama_cpp import LlamaCpp
from benchmarks.peers.ours import Ours
from benchmarks.peers.peer import CannotRun, package

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

OPTIONAL = {"llama_cpp": "xllamacpp", "economize": "economize", "flashspec": "flashspec"}


def make(name, setting):
    for begin, needed in OPTIONAL.items():
        if name.startswith(begin):
            pytest.importorskip(needed)
    module, _, kind = PEERS[name].partition(":")
    return getattr(import_module(f"benchmarks.peers.{module}"), kind)(setting)


@pytest.mark.parametrize("name", [name for name in PEERS if name != "transformers_compiled"])
def test_a_peer_continues_as_we_do_and_its_times_add_up(name, setting, ours, prompts):
    peer = make(name, setting)
    for prompt in prompts:
        expected = ours.decode([prompt], 20)
        begin = time.perf_counter()
        found = peer.decode([prompt], 20)
        whole_s = time.perf_counter() - begin
        assert found.outputs == expected.outputs
        assert found.first_s > 0
        assert found.decode_s > 0
        assert found.first_s + found.decode_s <= whole_s
        # Who drafts with the prompt may put out several tokens at first.
        assert 20 - 1 - setting.lookup_tokens <= found.decoded <= 20 - 1
    assert len(peer.decode([prompts[0]], 1).outputs[0]) == 1


@pytest.mark.parametrize("name", ["transformers", "llama_cpp", "economize_early_exit", "economize_lookup"])
def test_batches_are_what_their_sequences_are(name, setting, ours, prompts):
    peer = make(name, replace(setting, batch_size=2))
    expected = ours.decode(prompts, 12)
    assert expected.outputs == tuple(ours.decode([prompt], 12).outputs[0] for prompt in prompts)
    found = peer.decode(prompts, 12)
    assert found.outputs == expected.outputs
    assert found.decoded == expected.decoded == 2 * 11


@pytest.mark.parametrize(
    "name", ["transformers_early_exit", "transformers_prompt_lookup", "flashspec_lookup"]
)
def test_who_cannot_batch_says_so(name, setting):
    with pytest.raises(CannotRun, match="one sequence at a time"):
        make(name, replace(setting, batch_size=2))


def test_a_peer_of_one_kind_of_device_says_so(setting):
    with pytest.raises(CannotRun, match="on CUDA alone"):
        make("transformers_compiled", setting)
    with pytest.raises(CannotRun, match="set up for a CPU"):
        make("llama_cpp", replace(setting, device="cuda"))


def test_early_exit_stands_beside_the_same_draft_of_ours(setting, tiny_stack32, tiny_tokenizer, prompts):
    peer = make("transformers_early_exit", setting)
    drafting = Ours(tiny_stack32, tiny_tokenizer, peer.beside[0])
    assert "exit_layer=2" in drafting.name
    assert drafting.decode([prompts[0]], 16).outputs == peer.decode([prompts[0]], 16).outputs


def test_another_model_is_found_out(setting, ours, tiny_stack32, prompts, monkeypatch):
    pytest.importorskip("xllamacpp")
    groups = [[prompt] for prompt in prompts]
    assert disagreement(tiny_stack32, ours, LlamaCpp(setting), groups, 24) is None
    (setting.scratch / "float32.gguf").unlink()
    monkeypatch.setattr(gguf_file, "neighbours_together", lambda weight, heads: weight)
    why = disagreement(tiny_stack32, ours, LlamaCpp(setting), groups, 24)
    assert why is not None
    assert "differs in float32" in why


def test_a_missing_package_is_a_reason():
    with pytest.raises(CannotRun, match=r"not installed; pip install 'lsbench\[peers\]'"):
        package("no_such_package_as_this")
