"""Runs whose sequences decode together."""

from pathlib import Path

import pytest

from lsbench.errors import Interrupted
from lsbench.store.run_folder import RunFolder
from support.runs import go

STRATEGIES = ("dynamic_exit:threshold=0.3", "self_speculative:draft=static_exit,draft.exit_layer=2")


@pytest.fixture(scope="module")
def runs(spec_for):
    """The same run in batches and one by one, in float64."""
    return [
        go(spec_for(*STRATEGIES, tasks=("tiny_generate", "tiny_stop"), dtype="float64", batch_size=size))
        for size in (3, 1)
    ]


def generated(run):
    return {record.key: record for record in run.folder.records() if record.kind == "generate"}


@pytest.mark.slow
def test_every_sequence_is_the_one_of_batch_size_one(runs):
    together, alone = map(generated, runs)
    assert together.keys() == alone.keys()
    for key, record in together.items():
        assert record.error is None
        assert record.token_ids == alone[key].token_ids
        assert record.text == alone[key].text
        assert record.drafted == alone[key].drafted
        assert record.layers_run == pytest.approx(alone[key].layers_run)


@pytest.mark.slow
def test_records_say_who_decoded_with_whom(runs):
    groups = {}
    for record in generated(runs[0]).values():
        assert record.batch is not None
        groups.setdefault((record.label, record.task, record.batch), []).append(record)
    assert all(len(group) == group[0].batch_size <= 3 for group in groups.values())
    assert {group[0].batch_size for group in groups.values()} > {3}
    assert all(record.batch is None for record in generated(runs[1]).values())


@pytest.mark.slow
def test_figures_are_of_batches_and_that_is_said(runs):
    for run, size in zip(runs, (3, 1), strict=True):
        for strategy in run.metrics.strategies:
            assert strategy.speed.pairs > 0
            assert (strategy.speed.batches is None) == (size == 1)
            assert (strategy.ceiling is None) == (size == 3)
        told = [method.time_shares is not None for method in (run.metrics.baseline, *run.metrics.strategies)]
        assert told == [True, True, size == 1]  # which drafts shared a step with which is not kept
        assert any("decoded together, up to 3" in note for note in run.metrics.notes) == (size == 3)
    assert runs[0].metrics.strategies[1].parity.violations == 0


OUTSIDE = ("hf_generate", "hf_assistant_early_exit:exit_layer=2", "hf_prompt_lookup")


@pytest.fixture(scope="module")
def outside(spec_for):
    """transformers' own loops in batches."""
    return go(spec_for(*OUTSIDE, tasks=("tiny_generate", "tiny_stop"), dtype="float64", batch_size=3))


@pytest.mark.slow
def test_outside_methods_give_the_tokens_of_the_baseline_in_batches_too(outside):
    assert {record.error for record in outside.folder.records()} == {None}
    for strategy in outside.metrics.strategies:
        assert strategy.fidelity.identical_outputs == 10
        assert strategy.speed.batches == 4
    records = generated(outside).values()
    assert {record.label for record in records if record.batch_size == 3} == {"autoregressive", *OUTSIDE}


@pytest.mark.slow
def test_who_takes_turns_is_named_and_nobody_else(outside, runs):
    notes = [[note for note in run.metrics.notes if "took turns" in note] for run in (outside, *runs)]
    assert [[note.split()[0] for note in said] for said in notes] == [[*OUTSIDE[1:]], [], []]


@pytest.mark.slow
def test_the_prompts_of_a_batch_are_read_before_anyone_decodes(outside):
    batches = {}
    for record in generated(outside).values():
        if len(record.token_ids) > 1:
            batches.setdefault((record.label, record.task, record.batch), []).append(record)
    for records in batches.values():
        assert max(r.ttft_s for r in records) < min(r.ttft_s + r.decode_s for r in records)


@pytest.mark.slow
def test_a_batch_that_transformers_draws_as_a_baseline_is_the_engines(spec_for):
    drawn = {"temperature": 1.2, "top_p": 0.9, "seed": 3, "dtype": "float64", "tasks": ("tiny_generate",)}
    run = go(spec_for("autoregressive", baseline="hf_generate", batch_size=3, **drawn))
    assert run.metrics.strategies[0].fidelity.identical_outputs == 5
    assert len({record.token_ids for record in generated(run).values()}) == 5


def test_a_stopped_run_goes_on(spec_for, monkeypatch):
    """Stopped with part of a batch written: what was finished stays, what was not runs again."""
    append, written = RunFolder.append, []

    def stopping(folder, record):
        append(folder, record)
        written.append(record)
        if len(written) == 5:
            raise KeyboardInterrupt

    spec = spec_for("static_exit:exit_layer=2", tasks=("tiny_generate",), batch_size=3)
    monkeypatch.setattr(RunFolder, "append", stopping)
    with pytest.raises(Interrupted):
        go(spec)
    monkeypatch.undo()
    (path,) = (path for path in Path(spec.output).iterdir() if (path / "manifest.json").exists())
    run = go(spec, RunFolder.open(path))
    records = run.folder.records()
    assert records[:5] == written
    assert sorted((r.label, r.doc_id) for r in generated(run).values()) == [
        (label, doc) for label in ("autoregressive", "static_exit:exit_layer=2") for doc in range(5)
    ]
    # The batch that was cut in two has no speed to compare; the one after it does.
    assert run.metrics.strategies[0].speed.pairs == 2
