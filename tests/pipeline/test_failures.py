"""What fails in a run: a sample, a strategy, or the asking."""

from pathlib import Path

import pytest

from lsbench import pipeline
from lsbench.errors import EXIT_SAMPLES_FAILED, BadInput
from lsbench.spec import StrategyChoice
from lsbench.store.run_folder import RunFolder
from lsbench.strategy import Emitted, Strategy
from support.runs import go

pytestmark = pytest.mark.usefixtures("one_thread")


class Unlucky(Strategy):
    """Ends too early on the second document, and cannot score."""

    def generate(self, session, request):
        if request.doc_id != 1:
            yield Emitted((50,) * request.max_new_tokens, None)

    def score(self, session, window, sampler=None):
        raise RuntimeError("out of luck")


@pytest.fixture
def unlucky(register):
    register("unlucky", Unlucky)


@pytest.mark.usefixtures("unlucky")
def test_a_failed_sample_is_recorded_and_the_run_goes_on(spec_for):
    outcome = go(spec_for("unlucky", "static_exit:exit_layer=4", tasks=("tiny_generate", "tiny_choice")))
    assert outcome.exit_code == EXIT_SAMPLES_FAILED
    assert outcome.metrics.status == outcome.folder.manifest.status == "failed_samples"
    unlucky, fine = outcome.metrics.strategies
    assert (unlucky.tasks["tiny_generate"].n, unlucky.tasks["tiny_generate"].failed) == (4, 1)
    assert (unlucky.tasks["tiny_choice"].n, unlucky.tasks["tiny_choice"].failed) == (0, 5)
    assert unlucky.fidelity is None
    assert fine.tasks["tiny_generate"].failed == 0
    assert fine.fidelity.token_agreement.value == 1
    errors = {r.error for r in outcome.folder.records() if r.error}
    assert errors == {
        "BrokenStrategy: ended after 0 tokens with no stop condition met",
        "RuntimeError: out of luck",
    }
    assert any("unlucky: " in note and "failed" in note for note in outcome.metrics.notes)
    again = go(outcome.folder.manifest.spec, RunFolder.open(outcome.folder.path))
    tries = {r.attempt for r in again.folder.records() if r.error}
    assert tries == {2}
    assert {r.attempt for r in again.folder.records() if not r.error} == {1}


@pytest.mark.parametrize("warmup", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 2))])
def test_prompts_are_warmed_up_with_and_discarded(warmup, spec_for, register):
    seen = []

    class Watching(Strategy):
        def generate(self, session, request):
            seen.append(request.doc_id)
            yield Emitted((50,) * request.max_new_tokens, None)

    register("watching", Watching)
    outcome = go(spec_for("watching", tasks=("tiny_generate",), limit=3, warmup=warmup))
    watched = [1] if warmup else []  # a loop of its own is seen to warm up, and watched once in its parts
    assert seen == [*range(warmup), *watched, 0, 1, 2]
    assert len([r for r in outcome.folder.records() if r.label == "watching" and not r.error]) == 3


class Unready(Strategy):
    def prepare(self, preparation):
        raise ZeroDivisionError("nothing to divide by")


def test_a_run_that_cannot_begin_leaves_no_folder(spec_for, register):
    register("unready", Unready)
    spec = spec_for("unready", tasks=("tiny_generate",))
    with pytest.raises(BadInput, match="unready cannot calibrate"):
        go(spec)
    assert list(Path(spec.output).iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategies": ()}, "No strategy given"),
        ({"strategies": (StrategyChoice(name="dynamic_skip"),) * 2}, "given twice"),
        ({"baseline": "autoregresive"}, "--baseline.*Did you mean 'autoregressive'"),
        ({"baseline": "static_exit:exit_layer=4"}, "--baseline.*without options"),
        ({"baseline": "dynamic_skip"}, "--baseline.*full model"),
        ({"model": "smollm2"}, "smollm2-135m-instruct"),
        ({"tasks": ()}, "task"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_read(changes, words, spec_for):
    spec = spec_for("static_exit:exit_layer=2").model_copy(update=changes)
    with pytest.raises(BadInput, match=words):
        pipeline.check(spec)
