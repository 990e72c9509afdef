"""Answers of a whole run against lm-eval's own ``hf`` model and transformers' own ``generate``."""

import pytest

from support.lm_eval_itself import assert_same_answers, results_of
from support.runs import go

pytestmark = pytest.mark.usefixtures("one_thread")


def lm_eval_of_its_own(spec, monkeypatch):
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=spec.model, batch_size=4, device="cpu", dtype="float32")
    multiturn = spec.apply_chat_template
    return results_of(model, spec, monkeypatch, fewshot_as_multiturn=multiturn, bootstrap_iters=0)


def of_the_baseline(outcome):
    return [r for r in outcome.folder.records() if r.label == "autoregressive" and r.kind != "fidelity"]


@pytest.mark.slow
def test_texts_and_log_likelihoods_equal_those_of_lm_evals_own_model(whole, monkeypatch):
    assert_same_answers(of_the_baseline(whole), lm_eval_of_its_own(whole.folder.manifest.spec, monkeypatch))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"num_fewshot": 1}, {"num_fewshot": 1, "apply_chat_template": True, "limit": 3}]
)
def test_so_they_do_with_examples_and_as_a_chat(options, spec_for, monkeypatch):
    spec = spec_for("static_exit:exit_layer=4", **options)
    assert_same_answers(of_the_baseline(go(spec)), lm_eval_of_its_own(spec, monkeypatch))


def test_tokens_are_those_of_transformers_own_generate(whole, tiny_model):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    written = [r for r in whole.folder.records() if r.kind == "generate" and r.label == "autoregressive"]
    assert {record.stop_reason for record in written} >= {"stop_string", "max_new_tokens"}
    for record in written:
        prompt = tokenizer(record.prompt, return_tensors="pt").input_ids
        assert prompt.shape[1] == record.prompt_tokens
        limit = 12 if record.task == "tiny_generate" else 30
        theirs = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=limit, do_sample=False
        )[0, prompt.shape[1] :].tolist()
        assert theirs[: len(record.token_ids)] == list(record.token_ids)
        if record.stop_reason == "max_new_tokens":
            assert len(record.token_ids) == limit
