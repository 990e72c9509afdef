"""Scores from records: lm-eval's own, with failures left out and accounted for."""

import math
from dataclasses import dataclass
from random import Random

import pytest

from lsbench.errors import BadInput, ReplayMiss
from lsbench.evaluation.requests import build_requests
from lsbench.evaluation.scores import ratio_stderr, score_records
from lsbench.records import SampleRecord
from support.lm_eval_itself import results_of

COLOURS = ["blue", "green", "red"]


def record_of(request, **answer) -> SampleRecord:
    return SampleRecord(
        strategy="s",
        options={},
        label=answer.pop("label", "s"),
        task=request.task,
        doc_id=request.doc_id,
        idx=request.idx,
        repeat=request.repeat,
        kind=request.kind,
        arguments_sha256=request.arguments_sha256,
        prompt=request.prompt,
        prompt_tokens=1,
        **answer,
    )


def failed(record: SampleRecord) -> SampleRecord:
    answers = ("text", "logprob", "is_greedy")
    return record.model_copy(update={"error": "died", **dict.fromkeys(answers)})


def answer(request) -> dict:
    """Answers that depend on the request alone, right for some and wrong for others."""
    draw = Random(request.arguments_sha256)
    if request.kind == "score":
        return {"logprob": -10 * draw.random(), "is_greedy": draw.random() < 0.5}
    return {"text": draw.choice(["blue", "Blue", "green", "red"])}


@pytest.fixture
def recorded(spec_for, tokenizer):
    def make(*tasks, **options):
        spec = spec_for(*tasks, **options)
        built = build_requests(spec, tokenizer, 96, (1,))
        return spec, [record_of(request, **answer(request)) for request in built.requests]

    return make


def live_scores(spec, records):
    """lm-eval's results from a model class that answers by the request's own text, not by place."""
    from lm_eval.api.model import LM

    from lsbench.spec import arguments_hash

    answers = {record.arguments_sha256: record for record in records}

    class Live(LM):
        def _of(self, requests):
            return [answers[arguments_hash(request.args)] for request in requests]

        def generate_until(self, requests):
            return [record.text for record in self._of(requests)]

        def loglikelihood(self, requests):
            return [(record.logprob, record.is_greedy) for record in self._of(requests)]

        def loglikelihood_rolling(self, requests):
            return [record.logprob for record in self._of(requests)]

    with pytest.MonkeyPatch.context() as patch:
        return results_of(Live(), spec, patch, bootstrap_iters=1000)["results"]


@pytest.mark.parametrize("options", [{}, {"num_fewshot": 2, "limit": 4}])
def test_replayed_scores_equal_live_ones(recorded, options):
    tasks = ("tiny_choice", "tiny_target", "tiny_rolling", "tiny_generate")
    spec, records = recorded(*tasks, **options)
    live = live_scores(spec, records)
    scored = score_records(spec, records, None, None)
    assert tuple(scored) == tasks
    compared = 0
    for task, result in scored.items():
        assert (result.n, result.failed) == (len({r.doc_id for r in records if r.task == task}), 0)
        for key, value in live[task].items():
            metric, comma, chain = key.partition(",")
            if not comma or metric.endswith("_stderr"):
                continue
            name = key if key in result.metrics else metric
            assert result.metrics[name].value == pytest.approx(value, rel=1e-12)
            stderr = live[task][f"{metric}_stderr,{chain}"]
            if stderr != "N/A":
                assert result.metrics[name].stderr == pytest.approx(stderr, rel=1e-12)
            compared += 1
        assert len(result.metrics) == len([k for k in live[task] if "," in k and "_stderr" not in k])
    assert compared == 2 + 2 + 3 + 2
    assert {0.0, 1.0} == set(scored["tiny_generate"].per_doc["exact_match,lower"].values())


def test_filters_are_named_only_where_they_clash(recorded):
    spec, records = recorded("tiny_choice", "tiny_generate")
    scored = score_records(spec, records, None, None)
    assert set(scored["tiny_choice"].metrics) == {"acc", "acc_norm"}
    assert set(scored["tiny_generate"].metrics) == {"exact_match,plain", "exact_match,lower"}


def test_failed_and_missing_documents_are_left_out_and_counted(recorded):
    spec, records = recorded("tiny_choice", num_fewshot=2)
    whole = score_records(spec, records, None, None)["tiny_choice"]
    kept = [r for r in records if (r.doc_id, r.idx) != (3, 1)]
    kept = [failed(r) if (r.doc_id, r.idx) == (0, 2) else r for r in kept]
    part = score_records(spec, kept, None, None)["tiny_choice"]
    assert (part.n, part.failed) == (3, 2)
    assert part.per_doc["acc"] == {doc: whole.per_doc["acc"][doc] for doc in (1, 2, 4)}
    assert part.metrics["acc"].value == pytest.approx(sum(part.per_doc["acc"].values()) / 3)


def test_a_later_success_stands_in_for_a_failure_whatever_their_order(recorded):
    spec, records = recorded("tiny_choice")
    whole = score_records(spec, records, None, None)
    for extended in ([failed(records[0]), *records], [*records, failed(records[0])]):
        assert score_records(spec, extended, None, None) == whole


def test_a_task_with_no_answer_at_all_has_no_metrics(recorded):
    spec, records = recorded("tiny_choice", "tiny_generate")
    scored = score_records(spec, [r for r in records if r.task == "tiny_generate"], None, None)
    empty = scored["tiny_choice"]
    assert (empty.n, empty.failed, empty.metrics, empty.per_doc) == (0, 5, {}, {})
    assert scored["tiny_generate"].n == 5


def test_per_byte_metrics_carry_weights_and_an_error(recorded):
    spec, records = recorded("tiny_rolling")
    result = score_records(spec, records, None, None)["tiny_rolling"]
    values, weights = result.per_doc["bits_per_byte"], result.weights["bits_per_byte"]
    total = sum(weights.values())
    assert (
        total
        == sum(len(text.encode()) for text in ["def add(a, b):\n    return a + b\n" * 6, "one two three"])
        + (weights[2])
    )
    mean = sum(values[doc] * weights[doc] for doc in values) / total
    assert result.metrics["bits_per_byte"].value == pytest.approx(mean, rel=1e-12)
    assert result.metrics["bits_per_byte"].stderr is not None
    bits = -sum(r.logprob for r in records) / math.log(2)
    assert result.metrics["bits_per_byte"].value == pytest.approx(bits / total, rel=1e-12)
    assert result.higher_is_better["bits_per_byte"] is False
    # A perplexity is no mean of its documents' perplexities.
    assert "word_perplexity" not in result.per_doc


def test_the_error_of_a_weighted_mean():
    equal = ratio_stderr([1.0, 2.0, 4.0, 7.0], [3.0] * 4)
    mean, values = 3.5, [1.0, 2.0, 4.0, 7.0]
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / 3)
    assert equal == pytest.approx(deviation / 2)
    assert ratio_stderr([1.0], [1.0]) is None
    # Against the spread of the statistic itself over many samples of one population.
    draw = Random(3)
    found, errors = [], []
    for _ in range(2000):
        weights = [draw.uniform(1, 5) for _ in range(60)]
        values = [draw.gauss(w, 1) for w in weights]
        found.append(sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights))
        errors.append(ratio_stderr(values, weights))
    centre = sum(found) / len(found)
    spread = math.sqrt(sum((f - centre) ** 2 for f in found) / len(found))
    assert sum(errors) / len(errors) == pytest.approx(spread, rel=0.05)


def test_records_of_other_requests_are_misses(recorded):
    spec, records = recorded("tiny_choice")
    changed = records[0].model_copy(update={"arguments_sha256": "0" * 64})
    with pytest.raises(ReplayMiss, match="answers another request"):
        score_records(spec, [changed, *records[1:]], None, None)
    beyond = records[0].model_copy(update={"doc_id": 99})
    with pytest.raises(ReplayMiss, match="document 99"):
        score_records(spec, [*records, beyond], None, None)
    with pytest.raises(ReplayMiss, match="'tiny_choice', but the run has no such task"):
        score_records(spec.model_copy(update={"tasks": ("tiny_rolling",)}), records, None, None)
    with pytest.raises(ReplayMiss, match="answers another request"):
        score_records(spec.model_copy(update={"num_fewshot": 1}), records, None, None)


def test_only_one_strategy_is_scored_at_a_time(recorded):
    spec, records = recorded("tiny_choice")
    other = records[0].model_copy(update={"label": "other"})
    with pytest.raises(BadInput, match="other, s"):
        score_records(spec, [*records, other], None, None)


def test_fidelity_records_are_passed_over(recorded):
    spec, records = recorded("tiny_choice")
    fidelity = records[0].model_copy(update={"kind": "fidelity", "doc_id": 50, "label": "other"})
    assert score_records(spec, [*records, fidelity], None, None) == score_records(spec, records, None, None)


def test_chat_runs_need_the_tokenizer_to_be_scored(spec_for, chat_tokenizer):
    spec = spec_for("tiny_generate", apply_chat_template=True)
    built = build_requests(spec, chat_tokenizer, 96, (1,))
    records = [record_of(request, text="blue") for request in built.requests]
    assert score_records(spec, records, chat_tokenizer, None)["tiny_generate"].n == 5
    with pytest.raises(BadInput, match="tokenizer"):
        score_records(spec, records, None, None)


@dataclass
class Outcome:
    passed: bool


class Judge:
    """Stands where the sandbox stands and decides by reading the program."""

    def __init__(self):
        self.batches = []

    def run_many(self, programs):
        self.batches.append(programs)
        return [Outcome("right" in program) for program, _ in programs]


def test_programs_are_judged_by_the_sandbox_in_one_batch(spec_for, small_humaneval, problems, tokenizer):
    spec = spec_for("humaneval", "humaneval_bpb", folder=None, repeats=2)
    built = build_requests(spec, tokenizer, 96, (1,))
    right = {(0, 0), (0, 1), (2, 1)}
    records = [
        record_of(r, text="right" if (r.doc_id, r.repeat) in right else "wrong")
        if r.kind == "generate"
        else record_of(r, logprob=-8.0 * (r.doc_id + 1), is_greedy=False)
        for r in built.requests
    ]
    judge = Judge()
    scored = score_records(spec, records, None, judge)
    (batch,) = judge.batches
    assert len(batch) == 8
    assert batch[0] == (problems[0]["prompt"] + "right", problems[0]["test"] + "\ncheck(f0)")
    result = scored["humaneval"]
    assert result.per_doc["pass@1"] == {0: 1.0, 1: 0.0, 2: 0.5, 3: 0.0}
    assert result.per_doc["pass@2"] == {0: 1.0, 1: 0.0, 2: 1.0, 3: 0.0}
    assert result.metrics["pass@1"].value == pytest.approx(0.375)
    assert result.metrics["pass@1"].stderr == pytest.approx(0.2393567769)
    assert result.higher_is_better["pass@2"] is True
    solutions = [len(problem["canonical_solution"].encode()) for problem in problems]
    bpb = scored["humaneval_bpb"].metrics["bits_per_byte"]
    assert bpb.value == pytest.approx(80 / math.log(2) / sum(solutions))
    assert bpb.stderr is not None


def test_programs_are_never_run_without_a_sandbox(spec_for, small_humaneval, tokenizer):
    spec = spec_for("humaneval", folder=None)
    built = build_requests(spec, tokenizer, 96, (1,))
    with pytest.raises(BadInput, match="no sandbox"):
        score_records(spec, [record_of(r, text="x") for r in built.requests], None, None)
