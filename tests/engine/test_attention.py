"""Attention with soft caps, against its formula."""

from __future__ import annotations

import pytest
import torch

from lsbench.engine.attention import attend, capped_attend


def _parts(rows: int, seen: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    shapes = ((rows, 4, 6), (1, 2, seen, 6), (1, 2, seen, 6))
    return tuple(2 * torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes)  # type: ignore[return-value]


@pytest.mark.parametrize("case", ["one row", "a prefill", "several rows, masked"])
def test_logits_are_capped_before_the_softmax(case: str) -> None:
    rows, seen = {"one row": (1, 5), "a prefill": (5, 5), "several rows, masked": (3, 5)}[case]
    queries, keys, values = _parts(rows, seen)
    sees = torch.arange(seen) <= torch.arange(seen - rows, seen)[:, None]
    mask = sees if case == "several rows, masked" else None
    made = capped_attend(3.0)(queries, keys, values, mask, case == "a prefill", 0.5)
    for row in range(rows):
        for head in range(4):
            logits = 3.0 * torch.tanh(keys[0, head // 2] @ queries[row, head] * 0.5 / 3.0)
            weights = torch.softmax(logits.masked_fill(~sees[row], -torch.inf), dim=0)
            expected = weights @ values[0, head // 2]
            torch.testing.assert_close(made[row, 6 * head : 6 * head + 6], expected)


@pytest.mark.parametrize(("rows", "causal"), [(1, False), (4, True)])
def test_a_cap_out_of_reach_changes_nothing(rows: int, causal: bool) -> None:
    queries, keys, values = _parts(rows, 4)
    plain = attend(queries, keys, values, None, causal, 0.3)
    capped = capped_attend(1e9)(queries, keys, values, None, causal, 0.3)
    torch.testing.assert_close(capped, plain)
