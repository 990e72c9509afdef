from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from lsbench.engine import Sampler, likeliest, probabilities
from lsbench.engine.native import prepare
from lsbench.spec import Sampling

SOME_LOGITS = torch.tensor([1.0, 3.0, 0.5, 2.5, -1.0, 2.0, 0.0], dtype=torch.float64)


def _by_transformers(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """In the order in which ``generate`` puts them."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature)])
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    return torch.softmax(warpers(torch.tensor([[0]]), logits[None].clone())[0], dim=-1)


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(2, 60),
    temperature=st.floats(0.05, 5),
    top_k=st.integers(0, 70),
    top_p=st.floats(0.001, 1),
)
def test_the_distribution_is_transformers_own(seed, size, temperature, top_k, top_p):
    logits = 3 * torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    ours = probabilities(logits, sampling)
    torch.testing.assert_close(ours, _by_transformers(logits, sampling), rtol=1e-9, atol=1e-12)
    assert ours.sum().item() == pytest.approx(1)


def test_rows_are_independent():
    logits = torch.randn(2, 3, 11, dtype=torch.float64)
    sampling = Sampling(temperature=0.7, top_k=5, top_p=0.8)
    ours = probabilities(logits, sampling)
    for row in range(2):
        for column in range(3):
            torch.testing.assert_close(ours[row, column], _by_transformers(logits[row, column], sampling))


def test_greedy_gives_all_mass_to_the_likeliest():
    assert probabilities(SOME_LOGITS, Sampling()).tolist() == [0, 1, 0, 0, 0, 0, 0]
    assert Sampler(Sampling(), 0).choose(SOME_LOGITS) == 1


@pytest.mark.parametrize("sampling", [Sampling(temperature=1, top_k=1), Sampling(temperature=1, top_p=1e-9)])
def test_one_token_is_always_left(sampling):
    assert probabilities(SOME_LOGITS, sampling).tolist() == [0, 1, 0, 0, 0, 0, 0]


def test_ties_at_the_edge_of_top_k_all_stay():
    result = probabilities(torch.tensor([1.0, 2.0, 1.0, 0.0]), Sampling(temperature=1, top_k=2))
    assert (result > 0).tolist() == [True, True, True, False]


def test_top_p_reaches_its_mass_with_as_few_tokens_as_can_be():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64).log()
    for top_p, kept in ((0.4, 1), (0.6, 2), (0.79, 2), (0.81, 3), (0.96, 4)):
        assert (probabilities(logits, Sampling(temperature=1, top_p=top_p)) > 0).sum() == kept


def test_half_precision_is_widened():
    result = probabilities(SOME_LOGITS.bfloat16(), Sampling(temperature=0.5))
    assert result.dtype == torch.float32
    assert result.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1),
        Sampling(temperature=0.6),
        Sampling(temperature=1.5, top_k=4),
        Sampling(temperature=1, top_p=0.85),
        Sampling(temperature=0.8, top_k=5, top_p=0.9),
    ],
)
def test_draws_follow_the_distribution(sampling):
    """Chi-square over 4000 draws of one fixed seed; a right sampler fails one such seed in 10 000."""
    expected = probabilities(SOME_LOGITS, sampling)
    sampler = Sampler(sampling, seed=1)
    counts = torch.bincount(torch.tensor([sampler.choose(SOME_LOGITS) for _ in range(4000)]), minlength=7)
    kept = expected > 0
    assert counts[~kept].sum() == 0
    assert chisquare(counts[kept].numpy(), 4000 * expected[kept].numpy()).pvalue > 1e-4


def test_draws_depend_on_the_seed_alone():
    sampling = Sampling(temperature=1)

    def draws(seed: int) -> list[int]:
        sampler = Sampler(sampling, seed)
        return [sampler.choose(SOME_LOGITS) for _ in range(50)]

    first = draws(5)
    torch.manual_seed(123)
    state = torch.get_rng_state()
    interleaved = Sampler(sampling, 5), Sampler(sampling, 6)
    pairs = [[sampler.choose(SOME_LOGITS) for sampler in interleaved] for _ in range(50)]
    assert [pair[0] for pair in pairs] == first
    assert [pair[1] for pair in pairs] == draws(6) != first
    assert torch.equal(torch.get_rng_state(), state)


def test_greedy_consumes_nothing():
    sampler, untouched = Sampler(Sampling(), 3), Sampler(Sampling(), 3)
    sampler.choose(SOME_LOGITS)
    assert sampler.uniform() == untouched.uniform()


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_the_ends_of_the_unit_interval_draw_tokens_that_have_mass(monkeypatch, uniform):
    monkeypatch.setattr(Sampler, "uniform", lambda self: uniform)
    sampler = Sampler(Sampling(temperature=1), 0)
    drawn = sampler.draw(torch.tensor([0.0, 0.1, 0.0, 0.2, 0.3, 0.0]))
    assert drawn == (1 if uniform == 0 else 4)


def test_a_distribution_need_not_sum_to_one():
    sampler, halved = Sampler(Sampling(temperature=1), 9), Sampler(Sampling(temperature=1), 9)
    weights = torch.tensor([0.2, 0.5, 0.3])
    assert [sampler.draw(weights) for _ in range(40)] == [halved.draw(weights / 8) for _ in range(40)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_likeliest_of_each_row_is_the_first_of_those_alike(dtype):
    logits = torch.tensor([[0.0, 3.0, 1.0, 3.0], [-1.0, -2.0, -1.5, -3.0], [1.0, 1.0, 1.0, 2.0]], dtype=dtype)
    assert likeliest(logits) == [1, 0, 3]


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
    st.integers(1, 4),
    st.integers(1, 130),
    st.integers(0, 999),
)
def test_of_several_alike_the_first_is_the_likeliest(dtype, rows, vocabulary, seed):
    prepare()  # so that compiled code finds it, where there is any
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(-3, 3, (rows, vocabulary), generator=generator).to(dtype)
    assert likeliest(logits) == logits.double().numpy().argmax(-1).tolist()
    assert likeliest(torch.full_like(logits, -torch.inf)) == [0] * rows
