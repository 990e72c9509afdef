import copy

import pytest
import torch

from lsbench.engine import DecoderStack
from lsbench.execution.recheck import Comparison, compare
from support.models import random_llama

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPT = (5, 6, 7)


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float64], ids=str)
def stack(request):
    model = random_llama(2, vocab_size=40, intermediate_size=48, num_hidden_layers=3)
    return DecoderStack(model.to(request.param))


def greedy(stack, count):
    ids = torch.tensor([PROMPT])
    return tuple(
        stack.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            min_new_tokens=count,
            pad_token_id=0,
        )[0, 3:].tolist()
    )


def precise(stack, tokens):
    with torch.no_grad():
        return copy.deepcopy(stack.model).double()(torch.tensor([tokens])).logits[0, -1]


def test_equal_outputs_have_nothing_to_recheck(stack, monkeypatch):
    monkeypatch.setattr(stack, "model", None)
    assert compare(stack, PROMPT, (1, 2, 3), [1, 2, 3]) == Comparison()


def test_an_output_that_ends_too_soon_or_too_late_has_no_margin(stack):
    assert compare(stack, PROMPT, (1, 2, 3), (1, 2)) == Comparison(first_difference=2)
    assert compare(stack, PROMPT, (1, 2), (1, 2, 3)) == Comparison(first_difference=2)


@pytest.mark.parametrize("place", [0, 1, 4])
def test_the_margin_is_what_the_worse_token_lacks_in_precise_logits(stack, place):
    output = greedy(stack, 6)
    logits = precise(stack, (*PROMPT, *output[:place]))
    for wrong in (logits.argsort(descending=True)[1], logits.argmin()):
        other = (*output[:place], int(wrong), 0)
        found = compare(stack, PROMPT, output, other)
        assert found.first_difference == place
        assert found.margin == pytest.approx(float(logits.max() - logits[wrong]), rel=1e-3, abs=1e-4)
        assert compare(stack, PROMPT, other, output) == found
    assert found.margin > 3 * found.noise


def test_two_wrong_tokens_that_tie_with_each_other_are_no_tie(stack):
    logits = precise(stack, PROMPT)
    worst, second = (int(token) for token in logits.argsort()[:2])
    found = compare(stack, PROMPT, (worst,), (second,))
    assert found.margin == pytest.approx(float(logits.max() - logits[worst]), rel=1e-3)


def test_the_noise_is_that_of_the_precision(stack):
    output = greedy(stack, 6)
    other = (*output[:5], (output[5] + 1) % 40)
    found = compare(stack, PROMPT, output, other)
    scale = float(precise(stack, (*PROMPT, *output[:5])).abs().max())
    low, high = {
        torch.float64: (0, 1e-6),  # transformers' RMS norm computes in float32 whatever it is given
        torch.float32: (1e-8, 1e-5),
        torch.bfloat16: (1e-3, 0.2),
    }[stack.dtype]
    assert low * scale <= found.noise < high * scale


def test_a_planted_tie_is_within_the_noise(stack):
    output = greedy(stack, 5)
    twin = next(token for token in range(40) if token not in output)
    head = stack.model.lm_head.weight
    head[twin] = head[output[4]]
    found = compare(stack, PROMPT, output, (*output[:4], twin, 1))
    assert found.first_difference == 4
    assert found.margin <= found.noise + 1e-12


def test_a_faulty_engine_neither_passes_for_noise_nor_moves_the_reference(stack):
    output = greedy(stack, 6)
    other = (*output[:3], (output[3] + 1) % 40)
    before = compare(stack, PROMPT, output, other)
    for block in stack.blocks:
        block.run_mlp = lambda hidden: hidden * 7
    assert compare(stack, PROMPT, output, other) == before
