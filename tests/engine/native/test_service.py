"""What serves a model, and why."""

import pytest
import torch

from lsbench.engine.native import service
from lsbench.engine.native.library import GRAPHS, NativeStatus
from lsbench.engine.native.service import products_for
from lsbench.records import Products

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def found(monkeypatch):
    def make(available, detail, rows):
        monkeypatch.setattr(service, "prepare", lambda tell: NativeStatus(available, detail))
        monkeypatch.setattr(service, "most_rows", lambda dtype, device, tell: rows)

    return make


@pytest.mark.parametrize(
    ("dtype", "device"), [(torch.float32, CUDA), (torch.float64, CPU), (torch.float16, CPU)]
)
def test_where_there_are_none_nothing_is_built(dtype, device, monkeypatch):
    monkeypatch.delenv(GRAPHS, raising=False)
    monkeypatch.setattr(service, "prepare", lambda tell: pytest.fail("it is built"))
    products = products_for(dtype, device)
    assert products.kind == "torch"
    none = f"none are compiled for {'cuda' if device == CUDA else str(dtype)[6:]}"
    assert products.detail == (f"{none}; {service.GRAPHS_ON}" if device == CUDA else none)
    assert products.most_rows is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_ones_serve_up_to_where_they_win(found, dtype):
    found(True, "compiled for AVX2", 12)
    products = products_for(dtype, CPU)
    assert products == Products(kind="native", detail="compiled for AVX2", most_rows=12)
    assert products.words == "compiled for AVX2, up to 12 rows"


def test_torchs_serve_where_they_win_or_nothing_could_be_built(found):
    found(True, "compiled for AVX2", 0)
    assert (
        products_for(torch.float32, CPU).words
        == "torch's own (they win with any number of rows, as measured here)"
    )
    found(False, "ninja was not found", 0)
    assert products_for(torch.float32, CPU).words == "torch's own (ninja was not found)"
