import json

from lsbench.report.samples import CUT, sample_view

LABELS = ("dynamic_skip", "static_exit:exit_layer=20")


def view_of(records, labels=LABELS, **more):
    view = sample_view(records, "autoregressive", labels, 30, **more)
    assert view is not None
    return view, json.loads(view.data)["samples"]


def test_answers_stand_in_the_runs_order_and_part_where_they_differ(record_of):
    records = [
        record_of("dynamic_skip", "return 12"),
        record_of("autoregressive", "return 13 + x"),
        record_of(LABELS[1], "return 13"),
    ]
    _, (sample,) = view_of(records)
    assert (sample["name"], sample["prompt"]) == ("humaneval, document 0", "def f():\n")
    assert [(answer["label"], answer["text"], answer["shared"]) for answer in sample["answers"]] == [
        ("autoregressive", "return 13 + x", 13),
        ("dynamic_skip", "return 12", 8),
        (LABELS[1], "return 13", 9),
    ]


def test_each_token_has_what_is_known_of_it(record_of):
    known = {
        "token_ids": (1, 2, 3),
        "token_texts": ("a\x1b[31m", "", "\n<b>"),
        "layers_run": (30.0, 12.3456, 30.0),
        "drafted_tokens": (False, True, False),
        "confidences": (None, 0.91234, None),
        "token_s": (0.1, 0.12345, 0.2),
    }
    records = [
        record_of("autoregressive", "xyz", token_ids=(1, 2, 4), token_texts=("a", "b", "c"), layers_run=None),
        record_of("dynamic_skip", "a\n<b>", **known),
    ]
    _, (sample,) = view_of(records)
    plain, told = sample["answers"]
    assert set(plain) == {"label", "facts", "texts", "shared"}
    assert told["texts"] == ["a", "", "\n<b>"]
    assert told["shared"] == 2
    assert told["layers"] == [30, 12.35, 30]
    assert told["drafted"] == [0, 1, 0]
    assert told["confidences"] == [None, 0.912, None]
    assert told["ms"] == [100, 123.5, 200]


def test_facts_come_from_the_record(record_of):
    records = [
        record_of("autoregressive", "abcde"),
        record_of("dynamic_skip", "abcde", stop_reason="max_new_tokens", drafted=8, accepted=2),
    ]
    _, (sample,) = view_of(records)
    assert sample["answers"][1]["facts"] == (
        "5 tokens, 1.60 tokens/s, 24.0 layers per token, 25% of drafts accepted, stopped by max new tokens, "
        "identical to the baseline's"
    )
    _, (alone,) = view_of([record_of("x", "a", layers_run=None)], ("x",))
    assert alone["answers"][0]["facts"] == "1 token, stopped by stop string"


def test_a_page_that_cannot_hold_all_has_the_first_of_each_task_and_says_so(record_of):
    records = [
        record_of("autoregressive", "a", doc_id=i, task=task) for i in range(9, -1, -1) for task in "ba"
    ]
    records.append(record_of("autoregressive", "again", doc_id=0, task="a", repeat=1))
    records.append(record_of("autoregressive", "", task="c", kind="score", text=None, token_ids=None))
    view, samples = view_of(records)
    assert len(samples) == view.shown == view.known == 20
    assert view.words == "All 20 of the run."
    size = len(json.dumps(samples[0], separators=(",", ":")))
    view, samples = view_of(records, most_characters=3 * size + 10)
    assert [sample["name"] for sample in samples] == ["a, document 0", "a, document 1", "b, document 0"]
    assert "The first 3 of the run's 20" in view.words
    assert view_of(records, most_characters=1)[0].shown == 1


def test_nothing_generated_has_no_view(record_of):
    records = [record_of("autoregressive", "", kind="score", text=None, token_ids=None)]
    assert sample_view(records, "autoregressive", LABELS, 30) is None


def test_long_texts_are_cut_and_say_so(record_of):
    prompt = "x" * 5000 + "the end"
    _, (sample,) = view_of([record_of("autoregressive", "y" * 90_000, prompt=prompt)], ())
    assert sample["prompt"].startswith(CUT)
    assert sample["prompt"].endswith("the end")
    assert len(sample["prompt"]) < 3100
    assert sample["answers"][0]["text"].endswith(CUT)


def test_a_failed_answer_carries_its_error_and_no_text(record_of):
    failed = record_of("dynamic_skip", "", text=None, token_ids=None, decode_s=None, error="out of\nmemory")
    _, (sample,) = view_of([record_of("autoregressive", "abc"), failed])
    assert sample["answers"][1] == {"label": "dynamic_skip", "facts": "failed", "error": "out of memory"}


def test_a_prompt_that_the_baseline_failed_shares_nothing(record_of):
    failed = record_of("autoregressive", "", text=None, token_ids=None, error="died")
    _, (sample,) = view_of([failed, record_of("dynamic_skip", "abc")])
    assert (sample["answers"][1]["text"], sample["answers"][1]["shared"]) == ("abc", 0)
