"""A model over two ranks against itself in one process: real DeepSpeed, two pairs of processes for all.

Ranks of one host share memory and wait for each other without pause, which takes long where others want the
processors. What does not depend on how they talk is therefore left to the pair that talks as two hosts do.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from lsbench.catalog.models import resolve_model
from lsbench.errors import BadInput, UnsupportedModel
from lsbench.execution.shards import check_shardable, foreseen_files, shared_files
from support import rank_jobs
from support.families.folders import family_folder
from support.families.models import VARIANTS
from support.ranks import Ranks, same

pytestmark = [pytest.mark.slow, pytest.mark.deepspeed, pytest.mark.usefixtures("one_thread")]

STRATEGIES = (
    "autoregressive",
    "static_exit:exit_layer=2",
    "static_exit:exit_layer=2,kv_fill=mask",
    "dynamic_exit:threshold=0.06",
    "dynamic_exit:threshold=0.06,kv_fill=propagate",
    "dynamic_exit:confidence=hidden_cosine,threshold=0.6",
    "dynamic_exit:threshold=0.2,check_vocab=12",
    "dynamic_skip:skip_set=[2.mlp,3.attention],kv_fill=mask",
    "dynamic_skip:difficulty=early_cosine,max_skip_ratio=0.4",
    "self_speculative:num_speculations=3,draft=static_exit,draft.exit_layer=2",
    "self_speculative:num_speculations=3,draft=dynamic_exit,draft.threshold=0.06,draft_stop=0.3",
    "self_speculative:num_speculations=3,draft=static_exit,draft.exit_layer=online",
    "self_speculative:draft=dynamic_skip,draft.max_skip_ratio=0.4,draft.skip_set=online,adaptive=true",
    "self_speculative:num_speculations=3,draft=static_exit,draft.exit_layer=2,draft.vocab=16",
    "hf_generate",
    "hf_assistant_early_exit:exit_layer=2",
    "hf_prompt_lookup",
)
DECIDING = tuple(each for each in STRATEGIES if "cosine" in each or "online" in each or "draft_stop" in each)
"""By what hidden states or clocks say."""
IN_EVERY_FAMILY = (
    "autoregressive",
    "dynamic_exit:threshold=0.06",
    "self_speculative:num_speculations=3,draft=dynamic_skip,draft.skip_set=[2.mlp,3.attention]",
    "hf_generate",
)
SAMPLED = {"temperature": 0.8, "top_p": 0.95}


@pytest.fixture(scope="session")
def ranks(tmp_path_factory):
    """On one host."""
    pair = Ranks(tmp_path_factory.mktemp("ranks"))
    yield pair
    pair.close()
    assert shared_files(pair.port) == []


@pytest.fixture(scope="session")
def apart(tmp_path_factory):
    """As on two hosts."""
    pair = Ranks(tmp_path_factory.mktemp("apart"), one_host=False)
    yield pair
    pair.close()


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("families")


@pytest.fixture(scope="session")
def uneven(folders) -> Path:
    """Six query heads that share three of keys and values: two ranks hold two and one."""
    sizes = {"hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 3, "intermediate_size": 33}
    return family_folder(folders / "uneven", "llama", **sizes)


def _alone(folder: Path, dtype: str, strategies: tuple[str, ...], **request) -> dict[str, list[int]]:
    stack = rank_jobs.whole(folder, dtype)
    return {each: rank_jobs.decoded(stack, each, **request) for each in strategies}


def _maps_shared_memory(process: subprocess.Popen[bytes]) -> bool:
    """Files without a name by now, which its peers hold too."""
    return "/dev/shm/" in Path(f"/proc/{process.pid}/maps").read_text()


def test_every_strategy_decodes_what_it_does_in_one_process(ranks, uneven) -> None:
    sharded = same(ranks.run(rank_jobs.decode, uneven, "float32", STRATEGIES))
    assert sharded == _alone(uneven, "float32", STRATEGIES)
    assert all(map(_maps_shared_memory, ranks.processes))


def test_so_it_does_on_two_hosts_which_share_no_memory(apart, uneven) -> None:
    sharded = same(apart.run(rank_jobs.decode, uneven, "float64", STRATEGIES))
    assert sharded == _alone(uneven, "float64", STRATEGIES)
    assert not any(map(_maps_shared_memory, apart.processes))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_family_decodes_what_it_does_in_one_process(apart, folders, name) -> None:
    folder = family_folder(folders, name)
    sharded = same(apart.run(rank_jobs.decode, folder, "float32", IN_EVERY_FAMILY))
    assert sharded == _alone(folder, "float32", IN_EVERY_FAMILY)


def test_the_embedded_model_decodes_what_it_does_in_one_process(ranks) -> None:
    """Nine query heads that share three of keys and values; compiled products, tied weights, 49152 tokens."""
    folder = resolve_model("smollm2-135m-instruct").path
    strategies = ("autoregressive", "self_speculative:draft=static_exit,draft.exit_layer=25")
    assert same(ranks.run(rank_jobs.decode, folder, "float32", strategies)) == _alone(
        folder, "float32", strategies
    )


def test_a_rank_holds_its_share_and_counts_what_all_read(apart, uneven) -> None:
    first, second = apart.run(rank_jobs.share, uneven)
    whole = rank_jobs.counts(rank_jobs.whole(uneven, "float32"))
    assert first["heads"] == (4, 2)
    assert second["heads"] == (2, 1)
    assert first["held"] + second["held"] == whole["held"] + 2 * first["everywhere"] - whole["everywhere"]
    assert first["read"] == second["read"] == whole["read"]


@pytest.mark.parametrize("dtype", ["int8wo", "bfloat16"])
def test_reduced_precisions_are_those_of_one_process(apart, uneven, dtype) -> None:
    sharded = same(apart.run(rank_jobs.decode, uneven, dtype, ("autoregressive",)))
    if dtype == "int8wo":  # rounded by the scales of whole rows
        assert sharded == _alone(uneven, dtype, ("autoregressive",))
    assert len(sharded["autoregressive"]) == 14


def test_what_is_sampled_is_what_is_sampled_in_one_process(apart, uneven) -> None:
    request = {"sampling": SAMPLED, "seed": 5}
    strategies = ("autoregressive", STRATEGIES[10], "hf_generate")
    sharded = same(apart.run(rank_jobs.decode_sampled, uneven, strategies, request))
    assert sharded == rank_jobs.sampled(rank_jobs.whole(uneven, "float32"), strategies, request)


def test_a_batch_decodes_what_it_does_in_one_process(apart, uneven) -> None:
    strategies = (*STRATEGIES[:3], STRATEGIES[10], "hf_generate")
    sharded = same(apart.run(rank_jobs.decode_together, uneven, strategies))
    assert sharded == rank_jobs.together(rank_jobs.whole(uneven, "float32"), strategies)


@pytest.mark.parametrize(("name", "where"), [("llama", "mlp"), ("gemma2", "embedding")])
def test_noise_on_one_rank_neither_hangs_nor_parts_them(ranks, folders, name, where) -> None:
    folder = family_folder(folders, name)
    noisy = same(ranks.run(rank_jobs.decode_with_noise, folder, DECIDING, where))
    assert all(len(tokens) == 14 for tokens in noisy.values())


def test_decisions_drawn_without_a_seed_are_rank_0s(ranks, uneven) -> None:
    assert len(same(ranks.run(rank_jobs.decode_by_chance, uneven, "depth"))) == 14


def test_tokens_drawn_without_a_seed_are_refused_on_every_rank(ranks, uneven) -> None:
    for outcome in ranks.run(rank_jobs.decode_by_chance, uneven, "tokens"):
        assert type(outcome).__name__ == "Disagreement"
        assert "the ranks that share the model parted" in str(outcome).lower().replace(
            "the 2 ranks", "the ranks"
        )


def test_a_failure_of_all_ranks_is_one_of_the_sample(ranks, uneven) -> None:
    assert same(ranks.run(rank_jobs.fail, uneven, (0, 1))) == "all failed"


def test_a_failure_of_one_rank_is_told_as_such(ranks, uneven) -> None:
    spared, failed = ranks.run(rank_jobs.fail, uneven, (1,))
    assert spared == "went on"
    assert "Rank 1 of 2 failed where others did not: RuntimeError: broken" in str(failed)


def test_a_model_that_predicts_otherwise_when_cut_is_refused(apart, uneven) -> None:
    for outcome in apart.run(rank_jobs.load_wrongly, uneven):
        assert isinstance(outcome, BadInput)
        assert "this llama model, cut for 2 ranks, predicts otherwise than whole" in str(outcome)


def test_other_files_than_safetensors_are_loaded_whole_and_cut(apart, uneven, tmp_path) -> None:
    import torch
    from safetensors.torch import load_file

    other = tmp_path / "other"
    shutil.copytree(uneven, other)
    torch.save(load_file(other / "model.safetensors"), other / "pytorch_model.bin")
    (other / "model.safetensors").unlink()
    strategies = ("autoregressive",)
    sharded = same(apart.run(rank_jobs.decode, other, "float32", strategies))
    assert sharded == _alone(uneven, "float32", strategies)


def test_the_recheck_of_parity_runs_over_the_shards(apart, uneven) -> None:
    first, second = apart.run(rank_jobs.recheck, uneven)
    assert first == second
    assert first == pytest.approx(rank_jobs.precisely(rank_jobs.whole(uneven, "float32")), abs=1e-9)


def test_more_ranks_than_heads_are_refused_before_weights_are_read(uneven, tmp_path) -> None:
    shutil.copy(uneven / "config.json", tmp_path)
    check_shardable(tmp_path, 3)
    with pytest.raises(BadInput, match="--tensor-parallel 4: the model has 3 key-value heads"):
        check_shardable(tmp_path, 4)


def test_an_architecture_of_no_family_is_refused_before_weights_are_read(tmp_path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(UnsupportedModel, match="'gpt2'"):
        check_shardable(tmp_path, 2)


def test_what_is_foreseen_is_what_is_found():
    """A ledger holds the names before DeepSpeed makes the files; clean-up finds them by the port."""
    foreseen = foreseen_files("127.0.0.1", 1, 2)
    try:
        for file in foreseen:
            file.write_bytes(b"")
        assert shared_files(1) == foreseen
        assert shared_files(2) == []
    finally:
        for file in foreseen:
            file.unlink(missing_ok=True)
