"""A run whose baseline is transformers' own ``generate``."""

import json
from functools import partial

import pytest

from lsbench.errors import EXIT_DONE, BadInput
from support.runs import go

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def spec_for(spec_for):
    return partial(spec_for, dtype="float64")


@pytest.mark.slow
def test_everyone_is_measured_against_transformers_own_generate(spec_for):
    spec = spec_for(
        "autoregressive",
        "static_exit:exit_layer=2",
        "hf_assistant_early_exit:exit_layer=3",
        "hf_prompt_lookup",
        baseline="hf_generate",
        tasks=("tiny_generate", "tiny_choice"),
    )
    outcome = go(spec)
    assert outcome.exit_code == EXIT_DONE
    written = json.loads((outcome.folder.path / "metrics.json").read_text())
    assert written["baseline"]["strategy"] == "hf_generate"
    assert written["baseline"]["generated_tokens"] > 40
    by_name = {s["name"]: s for s in written["strategies"]}
    for name in ("autoregressive", "hf_assistant_early_exit", "hf_prompt_lookup"):
        assert by_name[name]["lossless"] is True
        assert by_name[name]["fidelity"]["identical_outputs"] == 5
        assert by_name[name]["fidelity"]["token_agreement"]["value"] == 1
        assert by_name[name]["speed"]["pairs"] >= 4  # some end with their first token
        for task in written["baseline"]["tasks"]:
            for metric, measured in written["baseline"]["tasks"][task].items():
                assert by_name[name]["tasks"][task]["metrics"][metric]["value"] == measured["value"]
    assert by_name["autoregressive"]["depth"]["mean_layers"] == 4
    assert by_name["hf_prompt_lookup"]["depth"] is None
    assert by_name["static_exit"]["fidelity"]["token_agreement"]["value"] < 1
    for method in (written["baseline"], by_name["hf_assistant_early_exit"], by_name["hf_prompt_lookup"]):
        shares = method["time_shares"]
        assert shares["layers"] > shares["head"] > 0  # as watched before the run
        assert (shares["checks"], method["no_time_shares"]) == (None, None)
    records = outcome.folder.records()
    assert {r.kv_bytes for r in records if r.kind == "generate" and r.strategy.startswith("hf_")} == {None}
    report = (outcome.folder.path / "report.md").read_text()
    assert "hf_generate" in report
    assert "hf_prompt_lookup" in report


@pytest.mark.slow
def test_sampled_runs_draw_the_same_tokens_under_either_baseline(spec_for):
    options = {"tasks": ("tiny_generate",), "temperature": 1.5, "top_p": 0.95, "repeats": 2, "seed": 5}
    ours = go(spec_for("hf_generate", **options))
    drawn = {}
    for record in ours.folder.records():
        if record.kind == "generate":
            drawn.setdefault((record.doc_id, record.repeat), set()).add(record.token_ids)
    assert all(len(outputs) == 1 for outputs in drawn.values())
    assert len(set.union(*drawn.values())) == 10
    assert ours.metrics.strategies[0].fidelity.token_agreement.value == 1


def test_an_exit_as_deep_as_the_model_is_refused_before_weights_are_read(spec_for, monkeypatch):
    from lsbench.engine import loading

    monkeypatch.setattr(loading, "load_stack", None)
    with pytest.raises(BadInput, match="exit_layer names layer 4"):
        go(spec_for("hf_assistant_early_exit:exit_layer=4", tasks=("tiny_choice",)))


def test_an_architecture_whose_layers_cannot_be_reduced_is_refused_before_weights_are_read(
    spec_for, monkeypatch
):
    import dataclasses

    from lsbench.engine import loading

    facts = loading.model_facts
    monkeypatch.setattr(
        loading, "model_facts", lambda path: dataclasses.replace(facts(path), model_type="gpt_neox")
    )
    monkeypatch.setattr(loading, "load_stack", None)
    with pytest.raises(BadInput, match="ignores a reduced number of layers for 'gpt_neox'"):
        go(spec_for("hf_assistant_early_exit:exit_layer=2", tasks=("tiny_choice",)))
