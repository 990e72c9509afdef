"""Which products served a run: prepared, recorded, told, and never mixed in silence."""

import json
import shutil

import pytest

from lsbench.engine.native import products_for
from lsbench.engine.native.library import PRODUCTS
from lsbench.records import Products
from lsbench.store.run_folder import RunFolder
from support.models import single_thread
from support.runs import go

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

LEFT_OUT = "torch's own (left out by LSBENCH_PRODUCTS=torch)"
COMPILED = Products(kind="native", detail="compiled for AVX2", most_rows=24)


@pytest.fixture(scope="module")
def left_out(spec_for):
    """A run with torch's products; whoever changes its folder copies it first."""
    with pytest.MonkeyPatch.context() as patch, single_thread():
        patch.setenv(PRODUCTS, "torch")
        return go(spec_for("static_exit:exit_layer=2", tasks=("tiny_generate",), limit=2))


def test_torchs_products_are_recorded_and_their_cost_is_told(left_out):
    manifest = left_out.folder.manifest
    assert manifest.products == Products(kind="torch", detail="left out by LSBENCH_PRODUCTS=torch")
    (note,) = (note for note in manifest.notes if "roducts" in note)
    assert note.startswith(f"Few-row products are {LEFT_OUT}: ")
    assert "a third of memory's speed" in note
    for name in ("report.md", "report.html"):
        assert "few-row products" in (left_out.folder.path / name).read_text()


def test_going_on_with_others_is_told(left_out, tmp_path, monkeypatch):
    monkeypatch.setenv(PRODUCTS, "torch")
    path = shutil.copytree(left_out.folder.path, tmp_path / left_out.folder.run_id)
    written = (path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (path / "samples.jsonl").write_bytes(b"".join(written[:2]))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["products"] = COMPILED.model_dump()
    (path / "manifest.json").write_text(json.dumps(manifest))
    resumed = go(left_out.folder.manifest.spec, RunFolder.open(path)).folder.manifest
    assert resumed.products == COMPILED
    told = f"Resumed (segment 1) with few-row products: {COMPILED.words} then, {LEFT_OUT} now."
    assert told in resumed.notes
    assert told in (path / "report.md").read_text().replace("\\", "")


def test_what_serves_is_recorded(whole):
    import torch

    served = whole.folder.manifest.products
    assert served is not None
    assert served == products_for(torch.float32, torch.device("cpu"))
