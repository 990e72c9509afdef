from lsbench.report.samples import CUT, preview

LABELS = ("dynamic_skip", "static_exit:exit_layer=20")


def test_answers_stand_in_the_runs_order_and_part_where_they_differ(record_of):
    records = [
        record_of("dynamic_skip", "return 12"),
        record_of("autoregressive", "return 13 + x"),
        record_of(LABELS[1], "return 13"),
    ]
    (sample,) = preview(records, "autoregressive", LABELS, 3)
    assert (sample.task, sample.doc_id) == ("humaneval", 0)
    assert [(answer.label, answer.shared, answer.rest) for answer in sample.answers] == [
        ("autoregressive", "return 13 + x", ""),
        ("dynamic_skip", "return 1", "2"),
        (LABELS[1], "return 13", ""),
    ]


def test_facts_come_from_the_record(record_of):
    records = [
        record_of("autoregressive", "abcde"),
        record_of("dynamic_skip", "abcde", stop_reason="max_new_tokens"),
    ]
    (sample,) = preview(records, "autoregressive", LABELS, 3)
    assert sample.answers[1].facts == (
        "5 tokens, 1.60 tokens/s, 24.0 layers per token, stopped by max new tokens, "
        "identical to the baseline's"
    )
    (alone,) = preview([record_of("x", "a", layers_run=None)], "autoregressive", ("x",), 3)
    assert alone.answers[0].facts == "1 token, stopped by stop string"


def test_only_the_first_prompts_of_each_generating_task(record_of):
    records = [
        record_of("autoregressive", "a", doc_id=i, task=task) for i in range(9, -1, -1) for task in "ba"
    ]
    records.append(record_of("autoregressive", "again", doc_id=0, task="a", repeat=1))
    records.append(record_of("autoregressive", "", task="c", kind="score", text=None, token_ids=None))
    samples = preview(records, "autoregressive", LABELS, 2)
    assert [(sample.task, sample.doc_id) for sample in samples] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert samples[0].answers[0].shared == "a"


def test_long_texts_are_cut_and_say_so(record_of):
    prompt = "x" * 5000 + "the end"
    (sample,) = preview([record_of("autoregressive", "y" * 9000, prompt=prompt)], "autoregressive", (), 1)
    assert sample.prompt_tail.startswith(CUT)
    assert sample.prompt_tail.endswith("the end")
    assert len(sample.prompt_tail) < 700
    assert sample.answers[0].shared.endswith(CUT)


def test_a_failed_answer_carries_its_error_and_no_text(record_of):
    failed = record_of("dynamic_skip", "", text=None, token_ids=None, decode_s=None, error="out of memory")
    (sample,) = preview([record_of("autoregressive", "abc"), failed], "autoregressive", LABELS, 1)
    assert (sample.answers[1].error, sample.answers[1].facts, sample.answers[1].rest) == (
        "out of memory",
        "failed",
        "",
    )


def test_a_prompt_that_the_baseline_failed_shares_nothing(record_of):
    failed = record_of("autoregressive", "", text=None, token_ids=None, error="died")
    (sample,) = preview([failed, record_of("dynamic_skip", "abc")], "autoregressive", LABELS, 1)
    assert (sample.answers[1].shared, sample.answers[1].rest) == ("", "abc")
