"""Options that act in a whole run."""

import pytest

from lsbench.errors import EXIT_DONE
from support.runs import go

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def test_repeats_and_sampling_act_and_clashes_are_noted(spec_for):
    spec = spec_for(
        "static_exit:exit_layer=4",
        tasks=("tiny_generate",),
        repeats=3,
        limit=2,
        temperature=1.5,
        top_k=50,
        max_new_tokens=6,
        seed=3,
    )
    outcome = go(spec)
    records = [r for r in outcome.folder.records() if r.kind == "generate"]
    assert {(r.doc_id, r.repeat) for r in records} == {(d, n) for d in (0, 1) for n in (0, 1, 2)}
    assert len(records) == 2 * 3 * 2
    by_label = {
        label: {(r.doc_id, r.repeat): r.token_ids for r in records if r.label == label}
        for label in ("autoregressive", "static_exit:exit_layer=4")
    }
    drawn = by_label["autoregressive"]
    assert drawn == by_label["static_exit:exit_layer=4"]
    assert len(set(drawn.values())) > 3
    assert max(map(len, drawn.values())) == 6
    assert outcome.metrics.strategies[0].fidelity.token_agreement.value == 1
    notes = outcome.folder.manifest.notes
    assert any("temperature" in note and "1.5" in note for note in notes)
    assert set(notes) <= set(outcome.metrics.notes)
    other = go(spec.model_copy(update={"seed": 4}))
    assert {r.token_ids for r in other.folder.records() if r.kind == "generate"} != set(drawn.values())


def test_a_strategy_that_is_the_baseline_is_not_run_twice(spec_for):
    outcome = go(spec_for("autoregressive", "static_exit:exit_layer=2", tasks=("tiny_choice",), limit=1))
    assert {r.label for r in outcome.folder.records()} == {"autoregressive", "static_exit:exit_layer=2"}
    assert [s.label for s in outcome.metrics.strategies] == ["static_exit:exit_layer=2"]
    alone = go(spec_for("autoregressive", tasks=("tiny_choice",), limit=1))
    assert alone.metrics.strategies == ()
    assert alone.exit_code == EXIT_DONE


def test_float64_and_a_limit_of_new_tokens(spec_for):
    outcome = go(
        spec_for("static_exit:exit_layer=4", tasks=("tiny_stop",), dtype="float64", max_new_tokens=1)
    )
    assert outcome.metrics.model.dtype == "float64"
    assert {len(r.token_ids) for r in outcome.folder.records() if r.kind == "generate"} == {1}
    assert outcome.metrics.strategies[0].speed.speedup is None
