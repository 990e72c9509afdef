"""The baseline."""

import torch

from lsbench.strategy.registry import load_strategy


def test_claims_to_be_lossless_and_is_the_only_one_of_these_to_do_so() -> None:
    claims = {
        name: load_strategy(name).lossless for name in ("autoregressive", "static_exit", "dynamic_skip")
    }
    assert claims == {"autoregressive": True, "static_exit": False, "dynamic_skip": False}


def test_runs_every_layer_for_every_token(bench) -> None:
    assert bench.run("autoregressive", count=5).depths == (6.0,) * 5


def test_gives_the_tokens_of_transformers(bench) -> None:
    prompt = (5, 17, 3)
    theirs = bench.stack.model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, 3, dtype=torch.int64),
        max_new_tokens=20,
        do_sample=False,
        eos_token_id=None,
    )
    assert list(bench.run("autoregressive", prompt, 20).tokens) == theirs[0, 3:].tolist()
