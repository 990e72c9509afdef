"""The head's rows of a few tokens."""

from __future__ import annotations

import torch
from torch import nn

from lsbench.engine import DecoderStack
from lsbench.engine.linear import Linear

TOKENS = torch.tensor([7, 0, 28, 3])


def test_it_gives_the_logits_of_its_tokens_in_their_order(each_tiny) -> None:
    stack = each_tiny.stack
    hidden = torch.randn(5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    logits = stack.partial_head(TOKENS)(hidden)
    torch.testing.assert_close(logits, stack.head(hidden)[:, TOKENS], rtol=0, atol=1e-12)
    with torch.inference_mode():
        outside = each_tiny.outside.lm_head(each_tiny.outside.model.norm(hidden))
    torch.testing.assert_close(logits, outside[:, TOKENS], rtol=1e-9, atol=1e-9)


def test_a_bias_of_the_head_is_kept(tiny) -> None:
    import copy

    stack = DecoderStack(copy.deepcopy(tiny().outside))
    stack.head_product.bias = nn.Parameter(torch.arange(29, dtype=torch.float64), requires_grad=False)
    hidden = torch.ones(1, 16, dtype=torch.float64)
    expected = stack.head(hidden)[:, TOKENS]
    torch.testing.assert_close(stack.partial_head(TOKENS)(hidden), expected, rtol=0, atol=1e-12)


def test_it_reads_those_rows_alone_through_the_one_seam(tiny, monkeypatch) -> None:
    shapes = []
    forward = Linear.forward

    def noted(self, x):
        shapes.append((tuple(self.weight.shape), self.weight.is_contiguous()))
        return forward(self, x)

    monkeypatch.setattr(Linear, "forward", noted)
    head = tiny().stack.partial_head(TOKENS)
    assert shapes == []
    for _ in range(2):
        head(torch.ones(1, 16, dtype=torch.float64))
    assert shapes == [((4, 16), True)] * 2
