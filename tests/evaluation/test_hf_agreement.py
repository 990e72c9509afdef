"""Requests and scores against lm-eval's own ``hf`` model on the same weights."""

import pytest

from lsbench.evaluation.requests import build_requests
from lsbench.evaluation.scores import score_records
from support.lm_eval_itself import assert_same_answers, results_of

TASKS = ("tiny_choice", "tiny_target", "tiny_bare", "tiny_rolling", "tiny_generate")


@pytest.mark.slow
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
    from lm_eval.models.huggingface import HFLM

    tokenizer = request.getfixturevalue(kind)
    # A rolling text must not fit in one window; few-shot and chat prompts must fit whole.
    context = 48 if not options else 96
    spec = spec_for(*TASKS, **options)
    its_own = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2, max_length=context)
    theirs = results_of(its_own, spec, monkeypatch, bootstrap_iters=1000)

    built = build_requests(spec, tokenizer, context, (tokenizer.eos_token_id,))
    plain = plain_model(tokenizer)
    records = [plain.answer(each) for each in built.requests]

    assert_same_answers(records, theirs)
    assert max(len(r.windows) for r in built.requests if r.kind == "score" and r.rolling) > 1

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
