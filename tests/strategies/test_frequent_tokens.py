"""The tokens a model predicts most, from transformers' own predictions on the calibration prompts."""

import torch

from lsbench.strategy import Preparation
from lsbench_strategies.frequent_tokens import frequent_tokens


def test_they_are_the_likeliest_on_average_over_every_position(bench, preparation: Preparation) -> None:
    with torch.inference_mode():
        logits = torch.cat(
            [bench.stack.model(torch.tensor([p])).logits[0] for p in preparation.calibration_prompts]
        )
    expected = torch.softmax(logits, -1).mean(0)
    tokens = frequent_tokens(preparation, 61)
    assert sorted(tokens.tolist()) == list(range(61))
    in_order = expected[tokens]
    assert torch.all(in_order[:-1] >= in_order[1:] - 1e-7)
    assert torch.equal(frequent_tokens(preparation, 7), tokens[:7])


def test_prompts_count_by_their_length(bench) -> None:
    """Every position counts once, so that a long prompt is not worth as much as a short one."""
    prompts = ((1, 2, 3, 4, 5, 6, 7, 8), (9,))
    with torch.inference_mode():
        sums = [torch.softmax(bench.stack.model(torch.tensor([p])).logits[0], -1).sum(0) for p in prompts]
    expected = (sums[0] + sums[1]).argsort(descending=True)
    assert torch.equal(frequent_tokens(Preparation(bench.stack, prompts), 61), expected)
