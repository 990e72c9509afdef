"""Every task of ours run offline on documents written here, and scored by hand.

The run is whole and real: requests, generation, records, sandbox, metrics. Then known texts take the place of
what a random model wrote, the folder is scored again, and what it says is held to numbers worked out below.
"""

import json
import math
import re
import shutil

import pytest

from lsbench import pipeline
from lsbench.errors import BadInput
from lsbench.report.live import LiveView
from lsbench.store.run_folder import RunFolder
from support.models import single_thread
from support.runs import go

pytestmark = pytest.mark.slow

BEGINNING = " ".join(f"word{i}" for i in range(100))
REFERENCES = ["a dog ran very fast", "it did not rain at all today"]
ARTICLES = [
    {"article": f"{BEGINNING} {reference}", "highlights": reference.replace(" ran", "\nran"), "id": str(i)}
    for i, reference in enumerate(REFERENCES)
]
XSUM = [{"document": "Some news.", "summary": reference, "id": "1"} for reference in REFERENCES]
OWN = [
    {"question": "And the dog?", "answers": [REFERENCES[0], "cats"]},
    {"question": "The weather?", "answers": REFERENCES[1]},
]
MBPP = [
    {
        "task_id": 11,
        "text": "Write a function to double a number.",
        "code": "def double(n):\r\n  return n + n",
        "test_list": ["assert double(2) == 4", "assert double(0) == 0", "assert double(-1) == -2"],
        "test_setup_code": "",
        "challenge_test_list": [],
    },
    {
        "task_id": 12,
        "text": "Write a function to add the base.",
        "code": "def add_base(n):\r\n  return n + base",
        "test_list": ["assert add_base(1) == 11", "assert add_base(0) == 10", "assert add_base(-10) == 0"],
        "test_setup_code": "base = 10",
        "challenge_test_list": [],
    },
]
HUMANEVAL = [
    {
        "task_id": f"Own/{i}",
        "prompt": f"def more{i}(x):\n",
        "entry_point": f"more{i}",
        "canonical_solution": f"    return x + {i}\n",
        "test": f"def check(f):\n    assert f(1) == {i + 1}\n",
    }
    for i in range(2)
]

TEXT_TASKS = ("cnn_dm_lm", "cnn_dm_summarization", "jsonl", "xsum_summarization")
STRATEGY = "static_exit:exit_layer=2"
DOUBLES, DOES_NOT = "def double(n):\n    return 2 * n\n", "def double(n):\n    return n\n"
ADDS, FORGETS = "def add_base(n):\n    return n + base\n", "def add_base(n):\n    return n\n"
WRITTEN = {
    ("text", "autoregressive"): [[REFERENCES[0]] * 2, [REFERENCES[1]] * 2],
    ("text", STRATEGY): [[" a dog ran fast", f" {REFERENCES[0]}\n"], [REFERENCES[1], "nothing"]],
    ("mbpp", "autoregressive"): [[DOES_NOT, DOES_NOT], [ADDS, FORGETS]],
    ("mbpp", STRATEGY): [[DOUBLES, DOES_NOT], [ADDS, ADDS]],
    ("humaneval", "autoregressive"): [["    return x\n"] * 2, ["    return x + 1\n"] * 2],
    ("humaneval", STRATEGY): [["    return x + 7\n", "    return x\n"], ["    return x\n"] * 2],
}
"""What each document's two repeats are made to say."""


def lines(documents) -> str:
    return "".join(json.dumps(document) + "\n" for document in documents)


@pytest.fixture(scope="module")
def ran(tmp_path_factory, tiny_model, spec_for):
    """The finished run: two documents of each task, two repeats of each."""
    folder = tmp_path_factory.mktemp("own_tasks")
    model = shutil.copytree(tiny_model, folder / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1024}))
    cnn, mbpp = folder / "cnn_dm", folder / "mbpp"
    for place in (cnn, mbpp):
        place.mkdir()
    (cnn / "test.jsonl").write_text(lines(ARTICLES))
    (cnn / "train.jsonl").write_text(lines(ARTICLES))
    (mbpp / "test.jsonl").write_text(lines(MBPP))
    (folder / "xsum.jsonl").write_text(lines(XSUM))
    (folder / "own.jsonl").write_text(lines(OWN))
    (folder / "humaneval.jsonl").write_text(lines(HUMANEVAL))
    with pytest.MonkeyPatch.context() as patch, single_thread():
        patch.setenv("LSBENCH_CNN_DM", str(cnn))
        patch.setenv("LSBENCH_XSUM", str(folder / "xsum.jsonl"))
        patch.setenv("LSBENCH_MBPP", str(mbpp))
        patch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        patch.setattr("lsbench.catalog.prepare_data", lambda name: folder / "humaneval.jsonl")
        spec = spec_for(
            STRATEGY,
            tasks=(*TEXT_TASKS, "mbpp", "humaneval", "humaneval_bpb"),
            model=str(model),
            data=str(folder / "own.jsonl"),
            data_prompt="question",
            data_reference="answers",
            repeats=2,
            num_fewshot=0,
            max_new_tokens=4,
        )
        yield go(spec)


@pytest.fixture(scope="module")
def scored(ran):
    """The same folder with texts that are known, scored again."""
    samples = ran.folder.path / "samples.jsonl"
    rows = [json.loads(row) for row in samples.read_text().splitlines()]
    for row in rows:
        kind = "text" if row["task"] in TEXT_TASKS else row["task"]
        if row["kind"] == "generate":
            row["text"] = WRITTEN[kind, row["label"]][row["doc_id"]][row["repeat"]]
        elif row["kind"] == "score":
            row["logprob"] = -8.0 * (row["doc_id"] + 1) * (2 if row["label"] == STRATEGY else 1)
    samples.write_text(lines(rows))
    metrics = pipeline.rescore(RunFolder.open(ran.folder.path), LiveView(quiet=True)).metrics
    (strategy,) = metrics.strategies
    return metrics.baseline.tasks, strategy.tasks


def test_the_run_is_whole(ran):
    assert ran.exit_code == 0
    (strategy,) = ran.metrics.strategies
    assert {name: (task.n, task.failed) for name, task in strategy.tasks.items()} == dict.fromkeys(
        (*TEXT_TASKS, "mbpp", "humaneval", "humaneval_bpb"), (2, 0)
    )
    prompts = {(row.task, row.doc_id): row.prompt for row in ran.folder.records() if row.kind == "generate"}
    assert prompts["cnn_dm_lm", 1] == BEGINNING
    assert prompts["cnn_dm_summarization", 0] == f"Article: {BEGINNING} {REFERENCES[0]}\nSummary:"
    assert prompts["xsum_summarization", 1] == "Article: Some news.\nSummary:"
    assert prompts["jsonl", 0] == "And the dog?"
    assert prompts["mbpp", 0].endswith("assert double(-1) == -2\n[BEGIN]\n")
    (sha256,) = ran.folder.manifest.files_sha256.values()
    assert len(sha256) == 64


@pytest.mark.parametrize("task", TEXT_TASKS)
def test_texts_are_scored_as_by_hand(task, scored):
    baseline, strategy = scored
    # Of "a dog ran fast" all 4 words and 2 of 3 pairs stand in the reference, which has 5 words, 4 pairs;
    # the longest common subsequence is all 4 words.
    # F of precision 1 and recall 4/5 is 8/9, of 2/3 and 2/4 it is 4/7. The other repeat is right (1), and so
    # is the first of the second document, whose second has no word in common (0).
    words = ((8 / 9 + 1) / 2 + (1 + 0) / 2) / 2
    pairs = ((4 / 7 + 1) / 2 + (1 + 0) / 2) / 2
    # Runs of 1 to 4 words that the reference has too, of all runs: 4/4 2/3 1/2 0/1, 5/5 4/4 3/3 2/2,
    # 7/7 6/6 5/5 4/4 and 0/1. 17 words stand where the references have 5 + 5 + 7 + 7 = 24.
    shortness = math.exp(1 - 24 / 17)
    bleu = 100 * shortness * (16 / 17 * 12 / 13 * 9 / 10 * 6 / 7) ** (1 / 4)
    by_hand = {"rouge1": words, "rouge2": pairs, "rougeL": words, "exact_match": 1 / 2, "bleu": bleu}
    best = {"rouge1": 1, "rouge2": 1, "rougeL": 1, "exact_match": 1, "bleu": 100}
    found = strategy[task]
    assert {name: found.metrics[name].value for name in by_hand} == pytest.approx(by_hand)
    assert {name: baseline[task][name].value for name in best} == pytest.approx(best)
    assert {name: found.difference[name].value for name in by_hand} == pytest.approx(
        {name: by_hand[name] - best[name] for name in by_hand}
    )
    assert found.metrics["bleu"].stderr is not None
    assert found.tells_apart


@pytest.mark.parametrize(
    ("task", "alone", "either", "baseline_alone", "baseline_either"),
    [
        # One of two programs for the first problem, both for the second; the baseline: none, one.
        ("mbpp", (1 / 2 + 1) / 2, 1, (0 + 1 / 2) / 2, 1 / 2),
        # x + 0 is right for the first problem, x + 1 for the second.
        ("humaneval", (1 / 2 + 0) / 2, 1 / 2, 1, 1),
    ],
)
def test_programs_are_scored_as_by_hand(task, alone, either, baseline_alone, baseline_either, scored):
    baseline, strategy = scored
    assert strategy[task].metrics["pass@1"].value == pytest.approx(alone)
    assert strategy[task].metrics["pass@2"].value == pytest.approx(either)
    assert baseline[task]["pass@1"].value == pytest.approx(baseline_alone)
    assert baseline[task]["pass@2"].value == pytest.approx(baseline_either)
    assert strategy[task].difference["pass@1"].value == pytest.approx(alone - baseline_alone)


def test_bits_per_byte_are_scored_as_by_hand(scored):
    baseline, strategy = scored
    solutions = 2 * len("    return x + 0\n")
    assert baseline["humaneval_bpb"]["bits_per_byte"].value == pytest.approx(24 / math.log(2) / solutions)
    assert strategy["humaneval_bpb"].difference["bits_per_byte"].value == pytest.approx(
        24 / math.log(2) / solutions
    )


def test_a_file_that_has_changed_is_neither_scored_nor_gone_on_with(ran, scored):
    own = ran.folder.manifest.spec.data
    with open(own, "a", encoding="utf-8") as file:
        file.write("\n")
    folder = RunFolder.open(ran.folder.path)
    with pytest.raises(BadInput, match=rf"own\.jsonl has changed since {re.escape(folder.run_id)} began"):
        pipeline.rescore(folder, LiveView(quiet=True))
    with pytest.raises(BadInput, match=r"own\.jsonl has changed"):
        go(folder.manifest.spec, folder)
