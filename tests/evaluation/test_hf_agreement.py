"""Requests and scores against lm-eval's own ``hf`` model on the same weights."""

import pytest

from lsbench.evaluation.requests import build_requests
from lsbench.evaluation.scores import score_records

TASKS = ("tiny_choice", "tiny_target", "tiny_bare", "tiny_rolling", "tiny_generate")


def lm_eval_of_its_own(model, tokenizer, spec, context, monkeypatch, **options):
    """What lm-eval reports when it runs the model itself, from its own front door."""
    from lm_eval import evaluator
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from lsbench.evaluation.isolation import isolated

    # Describing the machine takes lm-eval two seconds, and nothing here reads it.
    monkeypatch.setattr(evaluator, "add_env_info", lambda results: None)
    with isolated({"DISABLE_MULTIPROC": "1"}):
        return evaluator.simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2, max_length=context),
            tasks=list(spec.tasks),
            task_manager=TaskManager(include_path=spec.include_path, include_defaults=False),
            num_fewshot=spec.num_fewshot,
            limit=spec.limit,
            apply_chat_template=spec.apply_chat_template,
            bootstrap_iters=1000,
            **options,
        )


def responses(results) -> dict:
    found = {}
    for task, samples in results["samples"].items():
        for sample in samples:
            for idx, response in enumerate(sample["resps"]):
                found[task, sample["doc_id"], idx] = response[0]
    return found


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("tokenizer", {}),
        ("bos_tokenizer", {"num_fewshot": 1}),
        ("chat_tokenizer", {"num_fewshot": 1, "apply_chat_template": True, "limit": 3}),
    ],
)
def test_answers_and_scores_equal_those_of_hf(
    kind, options, request, model, plain_model, spec_for, monkeypatch
):
    tokenizer = request.getfixturevalue(kind)
    # A rolling text must not fit in one window; few-shot and chat prompts must fit whole.
    context = 48 if not options else 96
    spec = spec_for(*TASKS, **options)
    theirs = lm_eval_of_its_own(model, tokenizer, spec, context, monkeypatch)

    built = build_requests(spec, tokenizer, context, (tokenizer.eos_token_id,))
    plain = plain_model(tokenizer)
    records = [plain.answer(each) for each in built.requests]

    expected = responses(theirs)
    assert {(r.task, r.doc_id, r.idx) for r in records} == set(expected)
    assert max(len(r.windows) for r in built.requests if r.kind == "score" and r.rolling) > 1
    for record in records:
        wanted = expected[record.task, record.doc_id, record.idx]
        if record.kind == "generate":
            assert record.text == wanted
        elif isinstance(wanted, tuple):
            assert record.logprob == pytest.approx(wanted[0], abs=1e-4)
            assert record.is_greedy == wanted[1]
        else:
            assert record.logprob == pytest.approx(wanted, abs=1e-4)

    scored = score_records(spec, records, tokenizer, None)
    for task, result in scored.items():
        for name, measured in result.metrics.items():
            (key,) = [
                k
                for k in theirs["results"][task]
                if k == name or (k.split(",")[0] == name and "_stderr" not in k)
            ]
            assert measured.value == pytest.approx(theirs["results"][task][key], rel=1e-4)
            metric, _, chain = key.partition(",")
            stderr = theirs["results"][task][f"{metric}_stderr,{chain}"]
            if stderr != "N/A":
                assert measured.stderr == pytest.approx(stderr, rel=1e-4)
    assert set(scored) == set(TASKS)
