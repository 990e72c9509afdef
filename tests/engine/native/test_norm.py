"""The compiled RMS norm against one in float64: odd widths, any number of rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsbench.engine.block import RmsNorm
from lsbench.engine.native import prepare

pytestmark = pytest.mark.skipif(not prepare().available, reason=prepare().detail)
DTYPES = [torch.float32, torch.bfloat16]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(DTYPES), st.integers(1, 20), st.integers(1, 150), st.integers(0, 99))
def test_it_is_the_norm(dtype, rows, width, seed):
    generator = torch.Generator().manual_seed(seed)
    x, weight = (torch.randn(shape, generator=generator).to(dtype) for shape in ((rows, width), (width,)))
    ours = torch.ops.lsbench.rms_norm(x, weight, 1e-5)
    exact = x.double() * (x.double().square().mean(-1, keepdim=True) + 1e-5).rsqrt() * weight.double()
    assert ours.dtype == dtype
    allowed = (2**-8 if dtype == torch.bfloat16 else 2**-20) * (exact.abs() + 1e-6)
    assert ((ours.double() - exact).abs() <= allowed).all()
    alone = torch.cat([torch.ops.lsbench.rms_norm(row[None], weight, 1e-5) for row in x])
    assert torch.equal(alone, ours)


def test_what_does_not_fit_is_refused():
    with pytest.raises(RuntimeError, match=r"rms_norm: \[..., D\] and \[D\]"):
        torch.ops.lsbench.rms_norm(torch.ones(2, 4), torch.ones(3), 1e-5)
    with pytest.raises(RuntimeError, match="rms_norm: Float with Double"):
        torch.ops.lsbench.rms_norm(torch.ones(2, 4), torch.ones(4, dtype=torch.float64), 1e-5)


def test_compilers_know_its_shape():
    with torch.device("meta"):
        assert torch.ops.lsbench.rms_norm(torch.ones(3, 8), torch.ones(8), 1e-5).shape == (3, 8)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
def test_the_engines_norm_gives_the_same_by_it(dtype):
    class Holder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.rand(24).to(dtype), requires_grad=False)

    norm = RmsNorm(Holder(), 1e-5)
    x = torch.randn(3, 24).to(dtype)
    plain = torch.nn.functional.rms_norm(x, (24,), norm.weight, 1e-5)
    torch.testing.assert_close(norm(x), plain)
    torch.testing.assert_close(norm(x.repeat(9, 1))[:3], plain)
