"""What requests say: texts, tokens, limits, seeds, and what is refused."""

import pytest

from lsbench.errors import BadInput
from lsbench.evaluation.requests import build_requests
from lsbench.spec import request_seed

EOS = (1, 3)

GENERATE = """
output_type: generate_until
doc_to_text: "{{thing}} is"
doc_to_target: "x"
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""


def by_task(built):
    return {info.name: info for info in built.tasks}


def test_every_kind_of_task_gives_its_requests(spec_for, tokenizer):
    built = build_requests(
        spec_for("tiny_choice", "tiny_rolling", "tiny_generate", limit=2), tokenizer, 96, EOS
    )
    infos = by_task(built)
    assert list(infos) == ["tiny_choice", "tiny_rolling", "tiny_generate"]
    assert infos["tiny_choice"].kinds == {"score"}
    assert infos["tiny_choice"].metrics == ("acc", "acc_norm")
    assert infos["tiny_choice"].num_docs == 2
    assert infos["tiny_choice"].version == "2.5"
    assert infos["tiny_rolling"].higher_is_better["bits_per_byte"] is False
    assert infos["tiny_generate"].kinds == {"generate"}
    assert not infos["tiny_generate"].unsafe_code
    keys = [(r.task, r.doc_id, r.idx) for r in built.requests]
    assert keys == [
        *[("tiny_choice", doc, idx) for doc in range(2) for idx in range(3)],
        *[("tiny_rolling", doc, 0) for doc in range(2)],
        *[("tiny_generate", doc, 0) for doc in range(2)],
    ]
    assert built.requests[1].prompt == "Question: what colour is sky? Answer:"
    assert built.requests[1].target == " green"
    assert len({r.arguments_sha256 for r in built.requests}) == len(built.requests)


def test_groups_expand_and_repeated_names_count_once(spec_for, tokenizer):
    built = build_requests(spec_for("tiny", "tiny_choice"), tokenizer, 96, EOS)
    assert list(by_task(built)) == ["tiny_choice", "tiny_rolling"]


def test_trailing_spaces_are_scored_with_the_target(spec_for, tokenizer):
    (request, *_) = build_requests(spec_for("tiny_target", limit=1), tokenizer, 96, EOS).requests
    (window,) = request.windows
    assert request.prompt == "The sky is  "
    assert tokenizer.decode(window.context) == "The sky is"
    assert tokenizer.decode(window.continuation) == "  blue"


@pytest.mark.parametrize(("kind", "prefix"), [("tokenizer", "</s>"), ("bos_tokenizer", "<s>")])
def test_a_text_without_context_follows_the_prefix_token(kind, prefix, request, spec_for):
    tokenizer = request.getfixturevalue(kind)
    for task in ("tiny_bare", "tiny_rolling"):
        (first, *_) = build_requests(spec_for(task, limit=1), tokenizer, 96, EOS).requests
        assert tokenizer.decode(first.windows[0].context) == prefix
        assert first.prompt == ""


def test_rolling_windows_cover_every_token_once(spec_for, tokenizer):
    (first, *_) = build_requests(spec_for("tiny_rolling", limit=1), tokenizer, 16, EOS).requests
    assert len(first.windows) > 2
    assert [t for w in first.windows for t in w.continuation] == tokenizer.encode(first.target)
    assert all(len(w.context) + len(w.continuation) <= 17 for w in first.windows)


def test_a_generation_carries_its_limits_stops_and_seed(spec_for, tokenizer):
    spec = spec_for("tiny_generate", limit=2, seed=5)
    first, second = build_requests(spec, tokenizer, 96, EOS).requests
    assert (first.max_new_tokens, first.stop_strings, first.stop_token_ids) == (6, ("e", "zz"), EOS)
    assert first.sampling.greedy
    assert first.seed == request_seed(5, "tiny_generate", 0, 0) != second.seed
    assert tokenizer.decode(first.prompt_tokens) == first.prompt
    longer = build_requests(spec_for("tiny_generate", max_new_tokens=9), tokenizer, 96, EOS)
    assert {r.max_new_tokens for r in longer.requests} == {9}


def test_the_tokenizers_own_end_stops_generation_too(spec_for, tokenizer):
    (first, *_) = build_requests(spec_for("tiny_generate", limit=1), tokenizer, 96, (3,)).requests
    assert first.stop_token_ids == (3, tokenizer.eos_token_id)


def test_repeats_are_requests_of_their_own_with_seeds_of_their_own(spec_for, tokenizer):
    built = build_requests(spec_for("tiny_generate", "tiny_choice", limit=1, repeats=3), tokenizer, 96, EOS)
    generations = [r for r in built.requests if r.kind == "generate"]
    assert [r.repeat for r in generations] == [0, 1, 2]
    assert len({r.seed for r in generations}) == 3
    assert len(built.requests) == 3 + 3
    assert any("first of its 3 repeats" in note for note in built.notes)


def test_the_run_seed_does_not_change_the_few_shot_examples(spec_for, tokenizer):
    prompts = [
        [
            r.prompt
            for r in build_requests(
                spec_for("tiny_choice", num_fewshot=2, seed=s), tokenizer, 96, EOS
            ).requests
        ]
        for s in (0, 1)
    ]
    assert prompts[0] == prompts[1]
    assert prompts[0][0].count("Question:") == 3


def test_few_shot_examples_a_task_forbids_are_reported(own_task, tokenizer):
    spec = own_task("bare", GENERATE + "num_fewshot: 0\n", num_fewshot=2)
    built = build_requests(spec, tokenizer, 96, EOS)
    assert built.requests[0].prompt == "sky is"
    assert any("--num-fewshot 2 is not applied" in note for note in built.notes)


def test_the_chat_template_wraps_every_prompt(spec_for, chat_tokenizer):
    spec = spec_for("tiny_generate", apply_chat_template=True, limit=1)
    (request,) = build_requests(spec, chat_tokenizer, 96, EOS).requests
    assert request.prompt == (
        "<|im_start|>user\nQuestion: what colour is sky? Answer:<|im_end|>\n<|im_start|>assistant\n"
    )
    assert chat_tokenizer.convert_tokens_to_ids("<|im_start|>") in request.prompt_tokens


def test_a_tokenizer_without_a_chat_template_is_refused(spec_for, tokenizer):
    with pytest.raises(BadInput, match="no chat template"):
        build_requests(spec_for("tiny_generate", apply_chat_template=True), tokenizer, 96, EOS)


def test_a_prompt_that_fills_the_context_is_refused(spec_for, tokenizer):
    spec = spec_for("tiny_generate", limit=1)
    (request,) = build_requests(spec, tokenizer, 96, EOS).requests
    length = len(request.prompt_tokens)
    with pytest.raises(
        BadInput, match=rf"'tiny_generate', document 0: .* {length} tokens .* holds {length},"
    ):
        build_requests(spec, tokenizer, length, EOS)
    built = build_requests(spec, tokenizer, length + 1, EOS)
    assert built.requests[0].max_new_tokens == 1
    assert any("1 prompt(s) leave less room" in note for note in built.notes)


def test_a_scored_text_that_does_not_fit_is_refused(spec_for, tokenizer):
    spec = spec_for("tiny_target", limit=1)
    (request,) = build_requests(spec, tokenizer, 96, EOS).requests
    (window,) = request.windows
    read = len(window.context) + len(window.continuation) - 1
    assert build_requests(spec, tokenizer, read, EOS).requests == (request,)
    with pytest.raises(BadInput, match="'tiny_target', document 0"):
        build_requests(spec, tokenizer, read - 1, EOS)


def test_a_length_that_includes_the_prompt_is_converted(own_task, tokenizer):
    text = GENERATE + "generation_kwargs: {until: [q], max_length: 12}\n"
    built = build_requests(own_task("total", text), tokenizer, 96, EOS)
    assert {r.max_new_tokens + len(r.prompt_tokens) for r in built.requests} == {12}
    short = own_task("short", text.replace("12", "2"))
    with pytest.raises(BadInput, match="--max-new-tokens"):
        build_requests(short, tokenizer, 96, EOS)


def test_an_empty_target_is_refused_with_its_document(own_task, tokenizer):
    spec = own_task("empty", 'output_type: loglikelihood\ndoc_to_text: "{{thing}}"\ndoc_to_target: ""\n')
    with pytest.raises(BadInput, match="'empty', document 0: the text to score is empty"):
        build_requests(spec, tokenizer, 96, EOS)


def test_a_task_that_cannot_be_loaded_is_named(own_task, tokenizer):
    with pytest.raises(BadInput, match="Task 'broken' cannot be loaded"):
        build_requests(own_task("broken", "output_type: nonsense\n"), tokenizer, 96, EOS)


def test_our_humaneval_asks_for_the_whole_prompt(spec_for, small_humaneval, problems, tokenizer):
    built = build_requests(spec_for("humaneval", "humaneval_bpb", folder=None), tokenizer, 96, EOS)
    infos = by_task(built)
    assert infos["humaneval"].metrics == ("pass@1",)
    assert infos["humaneval"].unsafe_code
    assert infos["humaneval_bpb"].metrics == ("bits_per_byte",)
    assert infos["humaneval_bpb"].higher_is_better == {"bits_per_byte": False}
    generate = [r for r in built.requests if r.task == "humaneval"]
    assert [r.prompt for r in generate] == [problem["prompt"] for problem in problems]
    score = [r for r in built.requests if r.task == "humaneval_bpb"]
    assert [(r.prompt, r.target) for r in score] == [(p["prompt"], p["canonical_solution"]) for p in problems]
