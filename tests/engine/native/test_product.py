"""The compiled product against a product in float64: odd shapes, strides, biases and numbers of rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lsbench.engine.native import prepare

DTYPES = [torch.float32, torch.bfloat16]

pytestmark = pytest.mark.skipif(not prepare().available, reason=prepare().detail)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.lsbench.product.default(x, weight, bias)


def _int8_product(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.lsbench.product_int8.default(x, weight, scale, bias)


def _check(
    dtype: torch.dtype, rows: int, width: int, out: int, biased: bool, seed: int, gap: int = 0
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    x, weight = drawn(rows, width), drawn(out, width + gap)[:, :width]
    bias = drawn(out) if biased else None
    ours = _product(x, weight, bias)
    assert ours.dtype == dtype
    assert ours.shape == (rows, out)
    exact = x.double() @ weight.double().T + (0 if bias is None else bias.double())
    # What rounding may add up to: of every term in float32, and of the outcome in its own precision.
    terms = x.double().abs() @ weight.double().abs().T + 1
    allowed = 2**-22 * (8 + width / 8) * terms + (2**-8 if dtype == torch.bfloat16 else 2**-23) * exact.abs()
    assert ((ours.double() - exact).abs() <= allowed).all()


@settings(max_examples=150, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    rows=st.integers(1, 19),
    width=st.integers(1, 200),
    out=st.integers(1, 70),
    biased=st.booleans(),
    seed=st.integers(0, 99),
    gap=st.integers(0, 5),
)
@example(torch.float32, 5, 64, 33, True, 0, 0)
@example(torch.bfloat16, 9, 63, 1, False, 0, 1)
def test_it_is_the_product(dtype, rows, width, out, biased, seed, gap):
    _check(dtype, rows, width, out, biased, seed, gap)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("width", "out"), [(576, 3072), (1536, 577), (4096, 130)])
def test_it_is_the_product_where_threads_share_it(dtype, width, out):
    _check(dtype, 5, width, out, biased=True, seed=1)


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    rows=st.integers(2, 20),
    width=st.integers(1, 150),
    out=st.integers(1, 40),
    chosen=st.integers(0, 19),
)
def test_a_row_gives_the_same_bits_alone_and_among_others(dtype, rows, width, out, chosen):
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn((rows, width), generator=generator).to(dtype)
    weight = torch.randn((out, width), generator=generator).to(dtype)
    one = x[chosen % rows][None]
    assert torch.equal(_product(x, weight, None)[chosen % rows], _product(one, weight, None)[0])


def test_leading_dimensions_and_other_layouts_are_taken():
    x, weight = torch.randn(4, 3, 2).transpose(0, 1), torch.randn(2, 5).T
    torch.testing.assert_close(_product(x, weight, None), x @ weight.T)
    assert _product(torch.randn(0, 2), weight, None).shape == (0, 5)


@pytest.mark.parametrize(
    ("x", "weight", "bias", "said"),
    [
        (torch.zeros(2, 3), torch.zeros(4, 5), None, r"\[2, 3\] and \[4, 5\]"),
        (torch.zeros(2, 3), torch.zeros(4, 3).bfloat16(), None, "Float with BFloat16"),
        (torch.zeros(2, 3).double(), torch.zeros(4, 3).double(), None, "float32 or bfloat16, got Double"),
        (torch.zeros(2, 3), torch.zeros(4, 3), torch.zeros(3), r"bias must be \[out\]"),
    ],
)
def test_what_does_not_fit_is_refused(x, weight, bias, said):
    with pytest.raises(RuntimeError, match=said):
        _product(x, weight, bias)


def test_torch_knows_the_shape_of_its_outcome():
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        made = _product(torch.empty(2, 7, 3), torch.empty(5, 3), None)
    assert made.shape == (2, 7, 5)


def _check_int8(
    rows: int, width: int, out: int, biased: bool, seed: int, gap: int = 0, outlier: float = 1
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((rows, width), generator=generator)
    x[:, seed % width] *= outlier
    weight = torch.randint(-127, 128, (out, width + gap), generator=generator, dtype=torch.int8)[:, :width]
    scale = torch.rand(out, generator=generator)
    bias = torch.randn(out, generator=generator) if biased else None
    ours = _int8_product(x, weight, scale, bias)
    assert ours.dtype == torch.float32
    assert ours.shape == (rows, out)
    wide = weight.double() * scale.double()[:, None]
    exact = x.double() @ wide.T + (0 if bias is None else bias.double())
    # What rounding may add up to: of every term in float32, of an input against its row's largest, and of the
    # outcome.
    terms = x.double().abs() @ wide.abs().T + 1
    largest = x.double().abs().amax(1, keepdim=True) * wide.abs().sum(1)
    allowed = 2**-22 * (8 + width / 8) * terms + 2**-23 * (largest + exact.abs())
    assert ((ours.double() - exact).abs() <= allowed).all()


@settings(max_examples=100, deadline=None)
@given(
    rows=st.integers(1, 19),
    width=st.integers(1, 300),
    out=st.integers(1, 70),
    biased=st.booleans(),
    seed=st.integers(0, 99),
    gap=st.integers(0, 5),
    outlier=st.sampled_from([0, 1, 1000]),
)
@example(8, 64, 33, True, 0, 0, 1)
@example(1, 1, 1, False, 0, 3, 0)
def test_of_int8_weights_it_is_the_scaled_product(rows, width, out, biased, seed, gap, outlier):
    _check_int8(rows, width, out, biased, seed, gap, outlier)


@pytest.mark.parametrize(("width", "out"), [(576, 3072), (1536, 577), (4096, 130)])
def test_of_int8_weights_it_is_the_product_where_threads_share_it(width, out):
    _check_int8(5, width, out, biased=True, seed=1)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(2, 20), width=st.integers(1, 150), out=st.integers(1, 40), chosen=st.integers(0, 19))
def test_a_row_gives_the_same_bits_alone_and_among_others_with_int8_weights(rows, width, out, chosen):
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn((rows, width), generator=generator)
    weight = torch.randint(-127, 128, (out, width), generator=generator, dtype=torch.int8)
    scale, bias = torch.rand((2, out), generator=generator)
    one = x[chosen % rows][None]
    for added in (None, bias):
        among, alone = (_int8_product(entering, weight, scale, added) for entering in (x, one))
        assert torch.equal(among[chosen % rows], alone[0])


def test_extreme_inputs_and_weights_stay_within_their_range():
    """The largest input of a row takes all its bits, and sums of the largest weights do not overflow."""
    x = torch.tensor([[1.0], [-1.0], [1e32], [-1.0000001], [0.0], [1e-25]]).expand(6, 5000)
    for weight in (-127, 127):
        made = _int8_product(x, torch.full((3, 5000), weight, dtype=torch.int8), torch.full((3,), 1e-6), None)
        torch.testing.assert_close(made, x[:, :1].expand(6, 3) * (weight * 5000 * 1e-6), rtol=1e-5, atol=0)


def test_inputs_that_are_no_numbers_give_none():
    weight, scale = torch.ones(4, 70, dtype=torch.int8), torch.ones(4)
    for bad in (torch.nan, torch.inf, -torch.inf):
        x = torch.ones(2, 70)
        x[0, 69] = bad
        made = _int8_product(x, weight, scale, None)
        assert not made[0].isfinite().any()
        assert torch.equal(made[1], torch.full((4,), 70.0))


@pytest.mark.parametrize(
    ("x", "weight", "scale", "said"),
    [
        (torch.zeros(2, 3), torch.zeros(4, 5, dtype=torch.int8), torch.ones(4), r"\[2, 3\] and \[4, 5\]"),
        (torch.zeros(2, 3), torch.zeros(4, 3), torch.ones(4), "int8 weights, got Float"),
        (
            torch.zeros(2, 3).double(),
            torch.zeros(4, 3, dtype=torch.int8),
            torch.ones(4),
            "got Double and Float",
        ),
        (torch.zeros(2, 3), torch.zeros(4, 3, dtype=torch.int8), torch.ones(3), r"scale must be \[out\]"),
    ],
)
def test_int8_weights_that_do_not_fit_are_refused(x, weight, scale, said):
    with pytest.raises(RuntimeError, match=said):
        _int8_product(x, weight, scale, None)


def test_torch_knows_the_shape_with_int8_weights():
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        made = _int8_product(
            torch.empty(2, 7, 3), torch.empty(5, 3, dtype=torch.int8), torch.empty(5), torch.empty(5)
        )
    assert made.shape == (2, 7, 5)
