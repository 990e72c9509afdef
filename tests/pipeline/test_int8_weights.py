"""A whole run on int8 weights: everyone runs the same, and it says which."""

import pytest

from lsbench.errors import BadInput
from lsbench.store.resume import check_resumable
from support.models import single_thread
from support.runs import go

DRAFTED = (
    "self_speculative:draft=static_exit,draft.exit_layer=2,draft.kv_fill=propagate",
    "hf_generate",
)


@pytest.mark.slow
def test_a_run_on_int8_weights_is_one_of_its_own_and_says_so(spec_for):
    spec = spec_for(*DRAFTED, tasks=("tiny_stop", "tiny_generate"), dtype="int8wo")
    with single_thread():
        outcome = go(spec)
    manifest, folder = outcome.folder.manifest, outcome.folder
    assert outcome.metrics.model.dtype == "int8wo"
    assert manifest.model is not None
    assert manifest.model.dtype == "int8wo"
    assert any("int8 weights: the baseline and every strategy" in note for note in manifest.notes)
    report = (folder.path / "report.md").read_text(encoding="utf-8")
    assert "int8wo (quantized: int8 weights)" in report
    assert "quality is the quantized model's" in report
    for strategy in outcome.metrics.strategies:
        assert strategy.parity is not None
        assert strategy.parity.compared
        assert strategy.parity.violations == 0
    floats = spec.model_copy(update={"dtype": "float32"})
    with pytest.raises(BadInput, match='dtype was "int8wo", now "float32"'):
        check_resumable(manifest, floats)
