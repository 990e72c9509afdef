"""Tasks whose data is on the hub, from a local copy: prompts with examples, and what is wrong with a copy."""

import json

import pytest

from lsbench.errors import BadInput, Unavailable
from lsbench.evaluation.requests import build_requests

ARTICLES = [{"article": f"News {i}. ", "highlights": f"Short {i}.\nVery."} for i in range(3)]


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """``copy(test=rows, train=rows)``: a folder in the place of CNN/DailyMail."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")

    def write(**splits):
        folder = tmp_path / "copy"
        folder.mkdir()
        for name, rows in splits.items():
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        monkeypatch.setenv("LSBENCH_CNN_DM", str(folder))

    return write


@pytest.fixture
def built(spec_for, tokenizer):
    def build(task, **options):
        return build_requests(spec_for(task, folder=None, **options), tokenizer, 1024, (1,))

    return build


@pytest.mark.slow
def test_examples_are_training_articles_the_same_before_each(copy, built):
    copy(test=ARTICLES, train=[{"article": f"Old {i}.", "highlights": f"Gone\n{i}."} for i in range(9)])
    shown = built("cnn_dm_summarization", num_fewshot=2).generations
    before = {request.prompt.removesuffix(f"Article: News {request.doc_id}. \nSummary:") for request in shown}
    (examples,) = before
    first, second, rest = examples.split("\n\n")
    assert rest == ""
    for example in (first, second):
        number = example.removeprefix("Article: Old ")[0]
        assert example == f"Article: Old {number}.\nSummary: Gone {number}."
    assert first != second
    assert all(request.stop_strings == ("\nArticle:",) for request in shown)
    with pytest.raises(BadInput, match="'cnn_dm_summarization' cannot make its prompts with 10"):
        built("cnn_dm_summarization", num_fewshot=10)
    plain = built("cnn_dm_lm", num_fewshot=2)
    assert [request.prompt for request in plain.generations] == [f"News {i}." for i in range(3)]
    assert any("allows no few-shot examples" in note for note in plain.notes)


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"train": ARTICLES}, "has no split 'test'; it has train"),
        ({"test": [{"article": "a", "summary": "b"}]}, "has no column 'highlights'; it has article, summary"),
    ],
)
def test_a_copy_that_does_not_fit(splits, said, copy, built):
    copy(**splits)
    with pytest.raises(BadInput, match=rf"Task 'cnn_dm_lm': LSBENCH_CNN_DM=.*{said}"):
        built("cnn_dm_lm")


@pytest.mark.parametrize(("path", "said"), [("nowhere", "no such folder"), ("copy.txt", "ends in .jsonl")])
def test_a_copy_that_is_not_there(path, said, built, monkeypatch, tmp_path):
    (tmp_path / "copy.txt").touch()
    monkeypatch.setenv("LSBENCH_XSUM", str(tmp_path / path))
    with pytest.raises(BadInput, match=rf"Task 'xsum_summarization': LSBENCH_XSUM=.*{said}"):
        built("xsum_summarization")


@pytest.mark.parametrize(
    ("task", "hub", "variable"),
    [
        ("cnn_dm_summarization", "abisee/cnn_dailymail", "LSBENCH_CNN_DM"),
        ("xsum_summarization", "EdinburghNLP/xsum", "LSBENCH_XSUM"),
        ("mbpp", "google-research-datasets/mbpp", "LSBENCH_MBPP"),
    ],
)
def test_without_the_hub_one_line_says_what_to_do(task, hub, variable, built, monkeypatch):
    def unreachable(name, config):
        raise ConnectionError(f"Couldn't reach {name!r} on the Hub")

    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(Unavailable) as caught:
        built(task)
    said = str(caught.value)
    assert hub in said
    assert f"set {variable} to a folder or file" in said
    assert said.endswith("Tasks that need no hub: humaneval, humaneval_bpb, jsonl.")
    assert "\n" not in said
