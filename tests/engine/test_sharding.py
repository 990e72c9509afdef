"""Which part of every weight a rank holds, and that the parts make up the whole."""

from __future__ import annotations

import pytest
import torch

from lsbench.engine import DepthPlan, Session
from lsbench.engine.families import family_for
from lsbench.engine.linear import Linear, Spread, fuse
from lsbench.engine.quantized import quantized
from lsbench.engine.ranks_in_turn import run_on_ranks
from lsbench.engine.sharding import Rank, check_ranks, cuts, heads_of
from lsbench.errors import BadInput
from support.families.models import tiny_config, tiny_family


@pytest.mark.parametrize(
    ("width", "size", "grain", "widths"),
    [
        (576, 2, 32, [288, 288]),
        (1536, 4, 32, [384] * 4),
        (9, 2, 1, [5, 4]),
        (100, 3, 32, [32, 32, 36]),
        (20, 3, 32, [7, 7, 6]),
    ],
)
def test_parts_lie_side_by_side(width, size, grain, widths) -> None:
    parts = [Rank(number, size).part(width, grain) for number in range(size)]
    assert [part.stop - part.start for part in parts] == widths
    assert [part.start for part in parts] == [0, *[part.stop for part in parts[:-1]]]
    assert parts[-1].stop == width


@pytest.mark.parametrize("name", ["llama", "phi3", "gpt_neox", "olmo2", "cohere", "mixtral", "stablelm"])
@pytest.mark.parametrize("size", [1, 2])
def test_the_parts_of_every_weight_make_up_the_whole(name, size) -> None:
    model = tiny_family(name).outside
    family = family_for(model.config)
    weights = dict(model.named_parameters(remove_duplicate=False))
    shapes = {each: tuple(weight.shape) for each, weight in weights.items()}
    found = [cuts(family, model.config, shapes, Rank(number, size)) for number in range(size)]
    assert f"{family.head}.weight" in found[0]
    for each, cut in found[0].items():
        spans = [span for cuts_of in found for span in cuts_of[each].spans]
        covered = sorted(i for span in spans for i in range(span.start, span.stop))
        assert covered == list(range(cut.whole)) == list(range(shapes[each][cut.dim]))


def test_more_ranks_than_key_value_heads_are_refused() -> None:
    config = tiny_config("llama", num_key_value_heads=2)
    check_ranks(family_for(config), config, 2)
    with pytest.raises(BadInput, match="--tensor-parallel 3: the model has 2 key-value heads"):
        check_ranks(family_for(config), config, 3)


def test_heads_that_do_not_divide_go_with_those_they_share() -> None:
    config = tiny_config("llama", hidden_size=36, num_attention_heads=9, num_key_value_heads=3)
    family = family_for(config)
    assert [heads_of(family, config, Rank(number, 2)) for number in range(2)] == [(6, 2), (3, 1)]


@pytest.mark.parametrize(
    "name",
    [
        *("gemma2", "gpt_neox", "qwen2_moe"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("llama", "phi3", "olmo2")),
    ],
)
def test_a_model_in_two_parts_is_the_model(name) -> None:
    whole = tiny_family(name).stack
    tokens, plan = torch.tensor([[5, 17, 3, 24, 8, 21]]), DepthPlan.skipping(4, (3, 4), "propagate")

    def job(stack):
        session = Session(stack)
        first = session.forward(tokens[:, :4], plan).logits
        outside = stack.model(tokens, use_cache=False).logits
        return torch.cat([first, session.forward(tokens[:, 4:], plan).logits, outside], dim=1)

    expected = job(whole)
    for made in run_on_ranks(whole, 2, job):
        if isinstance(made, Exception):
            raise made
        assert torch.allclose(made, expected, atol=1e-5)


def test_what_a_token_reads_is_counted_on_all_ranks() -> None:
    whole = tiny_family("qwen2_moe").stack
    read = run_on_ranks(whole, 2, lambda stack: (stack.sublayer_bytes, stack.head_product.weight_bytes))
    assert read == [(whole.sublayer_bytes, whole.head_product.weight_bytes)] * 2


def test_one_rank_adds_bias_and_residual_once() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias, x, hidden = (
        torch.randn(size, generator=generator, dtype=torch.float64) for size in ((6, 8), (6,), (3, 8), (3, 6))
    )
    brought: list[torch.Tensor] = []

    def part(columns: slice, adds: bool) -> Linear:
        spread = Spread(lambda tensor: brought.append(tensor) or tensor, adds, 8, columns)
        mine = torch.nn.Parameter(weight[:, columns].contiguous())
        return Linear(mine, torch.nn.Parameter(bias), spread=spread)

    first, second = part(slice(0, 5), True), part(slice(5, 8), False)
    with torch.no_grad():
        for each in (first, second):
            each(x)
            each.onto(hidden, x, 0.5)
    product = x @ weight.T + bias
    assert torch.allclose(brought[0] + brought[2], product)
    assert torch.allclose(brought[1] + brought[3], hidden + 0.5 * product)
    assert first.weight_bytes == second.weight_bytes == (48 + 6) * 8
    assert second.product.bias is None
    assert second.chosen(torch.tensor([1, 4])).weight_bytes == (16 + 2) * 8


def test_fused_products_count_the_outputs_of_all_ranks() -> None:
    parts = [Linear(torch.nn.Parameter(torch.zeros(rows, 4)), outputs=2 * rows) for rows in (3, 1, 1)]
    assert fuse(parts).weight_bytes == 2 * 5 * 4 * 4


def test_a_part_of_a_row_is_rounded_by_the_scale_of_the_whole_row() -> None:
    weight = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    whole, scales = quantized(weight)
    largest = weight.abs().amax(dim=1)
    part, same = quantized(weight[:, 4:9], lambda _: largest)
    assert torch.equal(same, scales)
    assert torch.equal(part, whole[:, 4:9])
