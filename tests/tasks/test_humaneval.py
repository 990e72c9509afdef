"""Our HumanEval asks what the built-in one asks, and scores as the paper says."""

import json
from itertools import combinations
from math import comb
from pathlib import Path

import pytest

from lsbench_tasks import NAMES, PATH
from lsbench_tasks.execution import installed
from lsbench_tasks.humaneval.problems import FIELDS, VARIABLE, load
from lsbench_tasks.humaneval.scoring import run_tests, solution_bits
from lsbench_tasks.programs import pass_at_k, programs_passed

PROBLEM = {
    "task_id": "T/0",
    "prompt": "def f(x):\n",
    "entry_point": "f",
    "canonical_solution": "    return 'é'\n",
    "test": "def check(f): ...",
}


def test_the_same_question_as_the_built_in_task():
    import lm_eval
    from lm_eval.tasks._yaml_loader import load_yaml

    builtin = load_yaml(Path(lm_eval.__file__).parent / "tasks/humaneval/humaneval.yaml", resolve_func=False)
    ours = load_yaml(PATH / "humaneval/humaneval.yaml")
    same = (
        "task",
        "doc_to_text",
        "doc_to_target",
        "generation_kwargs",
        "output_type",
        "num_fewshot",
        "repeats",
        "test_split",
        "unsafe_code",
        "metadata",
    )
    assert {key: ours[key] for key in same} == {key: builtin[key] for key in same}
    assert ours["process_results"] is programs_passed


def test_every_task_file_is_named():
    from lm_eval.tasks._yaml_loader import load_yaml

    found = [load_yaml(path, resolve_func=False)["task"] for path in PATH.rglob("*.yaml")]
    assert sorted(found) == sorted(NAMES)


def test_the_data_comes_from_the_file_that_the_environment_names(tmp_path, monkeypatch):
    path = tmp_path / "problems.jsonl"
    path.write_text(json.dumps({**PROBLEM, "extra": 1}) + "\n\n")
    monkeypatch.setenv(VARIABLE, str(path))
    split = load(version=1.0, config_source="x")["test"]
    assert set(split.column_names) == set(FIELDS)
    assert split[0] == PROBLEM


def test_missing_data_is_said_plainly(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(RuntimeError, match=VARIABLE):
        load()
    path = tmp_path / "problems.jsonl"
    path.write_text(json.dumps(PROBLEM) + "\n" + json.dumps({"task_id": "T/1"}) + "\n")
    monkeypatch.setenv(VARIABLE, str(path))
    with pytest.raises(RuntimeError, match="problem 2 lacks prompt"):
        load()


@pytest.mark.parametrize(
    ("samples", "passed", "k"), [(1, 0, 1), (1, 1, 1), (5, 2, 1), (5, 2, 3), (6, 5, 2), (4, 4, 4)]
)
def test_pass_at_k_is_the_share_of_draws_that_hold_a_pass(samples, passed, k):
    verdicts = [True] * passed + [False] * (samples - passed)
    holding = sum(any(draw) for draw in combinations(verdicts, k))
    assert pass_at_k(samples, passed, k) == pytest.approx(holding / comb(samples, k))


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([True], {"pass@1": 1.0}),
        ([True, False], {"pass@1": 0.5, "pass@2": 1.0}),
        ([False] * 10, {"pass@1": 0.0, "pass@10": 0.0}),
        ([True] + [False] * 11, {"pass@1": 1 / 12, "pass@10": 10 / 12, "pass@12": 1.0}),
    ],
)
def test_a_problem_reports_the_k_its_samples_allow(verdicts, expected):
    assert programs_passed(PROBLEM, [verdicts]) == pytest.approx(expected)


def test_all_completions_are_run_at_once_with_their_tests():
    asked = []

    def runner(programs):
        asked.append(list(programs))
        return [program.endswith("1") for program, _ in programs]

    docs = [PROBLEM, {**PROBLEM, "prompt": "P", "entry_point": "g"}]
    with installed(runner):
        assert run_tests([["1", "2"], ["1"]], docs) == [[True, False], [True]]
    tests = ["def check(f): ...\ncheck(f)"] * 2 + ["def check(f): ...\ncheck(g)"]
    assert asked == [list(zip(["def f(x):\n1", "def f(x):\n2", "P1"], tests, strict=True))]


def test_bytes_are_counted_in_utf8():
    assert solution_bits(PROBLEM, [(-3.5, False)]) == {"bits_per_byte": (-3.5, len("    return 'é'\n") + 1)}


@pytest.mark.slow
def test_the_whole_of_humaneval_loads(monkeypatch):
    from lsbench.catalog import prepare_data

    monkeypatch.setenv(VARIABLE, str(prepare_data("humaneval")))
    problems = load()["test"]
    assert len(problems) == 164
    for problem in problems:
        assert f"def {problem['entry_point']}(" in problem["prompt"]
        source = problem["prompt"] + problem["canonical_solution"] + problem["test"]
        compile(source, problem["task_id"], "exec")
