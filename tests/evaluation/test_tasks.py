"""Task names: known, unknown, refused, and how much must load to tell."""

import subprocess
import sys

import pytest

from lsbench.errors import BadInput
from lsbench.evaluation.tasks import check_task_names, list_tasks
from lsbench_tasks import NAMES, OFFLINE


def in_a_fresh_process(code: str, *arguments: str, **variables: str) -> str:
    import os

    environment = {**os.environ, **variables}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_our_own_names_are_checked_without_loading_lm_eval():
    code = (
        "import sys; from lsbench.evaluation.tasks import check_task_names; check_task_names(['humaneval']);"
        "print([m for m in ('lm_eval', 'torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    assert in_a_fresh_process(code).strip() == "[]"


def test_the_listed_names_are_those_of_the_folder():
    listed = list_tasks(builtin=False)
    assert tuple(task.name for task in listed) == NAMES
    assert {(task.kind, task.source) for task in listed} == {("task", "lsbench")}


def test_ours_come_first_and_groups_are_marked(task_folder):
    listed = list_tasks(str(task_folder), builtin=False)
    assert tuple(task.name for task in listed[: len(NAMES)]) == NAMES
    kinds = {task.name: (task.kind, task.source) for task in listed}
    assert kinds["tiny"] == ("group", "include path")
    assert kinds["tiny_choice"] == ("task", "include path")


def test_names_of_the_include_path_are_known(task_folder):
    check_task_names(["tiny", "tiny_choice", "humaneval"], str(task_folder))


def test_no_name_is_refused():
    with pytest.raises(BadInput, match="No task"):
        check_task_names([])


def test_an_include_path_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(BadInput, match="is not a folder"):
        check_task_names(["humaneval"], str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["runs_code", "group_that_runs_code"])
def test_code_outside_the_sandbox_is_refused_before_loading(tmp_path, name):
    (tmp_path / "runs_code.yaml").write_text(
        "task: runs_code\nunsafe_code: true\noutput_type: generate_until\n"
    )
    (tmp_path / "group.yaml").write_text("group: group_that_runs_code\ntask: [{task: runs_code}]\n")
    with pytest.raises(BadInput, match="'runs_code' would run generated code outside"):
        check_task_names([name], str(tmp_path))


def test_a_group_cannot_switch_code_on_unseen(tmp_path, spec_for, tokenizer, task_folder):
    from lsbench.evaluation.requests import build_requests

    for file in task_folder.glob("*"):
        if file.is_file():
            (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "sly.yaml").write_text("group: sly\ntask: [{task: tiny_generate, unsafe_code: true}]\n")
    with pytest.raises(BadInput, match="'tiny_generate' would run generated code outside"):
        build_requests(spec_for("sly", folder=tmp_path), tokenizer, 96, (1,))


@pytest.mark.slow
def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(BadInput, match=r"Unknown task 'humanevall'.*'humaneval'"):
        check_task_names(["humanevall"])
    with pytest.raises(BadInput, match="'gsm8k'"):
        check_task_names(["gsm8kk"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mbpp_plus", "humaneval_instruct", "humaneval_64"])
def test_built_in_tasks_that_run_code_are_refused(name):
    with pytest.raises(BadInput, match=f"{name!r} would run generated code outside"):
        check_task_names([name])


@pytest.mark.slow
def test_ours_replaces_the_built_in_one_when_both_indexes_are_read(small_humaneval, spec_for):
    from lsbench.evaluation.isolation import isolated
    from lsbench.evaluation.tasks import data_environment, find_tasks, is_ours

    manager = find_tasks(["humaneval", "gsm8k"], None)
    assert "hellaswag" in manager.task_index
    spec = spec_for("humaneval", "gsm8k", folder=None)
    with isolated(data_environment(spec)):
        (task,) = manager.load(["humaneval"])["tasks"].values()
    assert is_ours(task)
    assert len(task.eval_docs) == 4
    sources = {listed.name: listed.source for listed in list_tasks()}
    assert sources["humaneval"] == "lsbench"
    assert sources["gsm8k"] == "lm-eval"


@pytest.mark.slow
def test_data_that_needs_the_hub_is_refused_in_one_line_offline(tmp_path):
    """A task of one's own that is as lm-eval's: theirs would have their whole index read."""
    (tmp_path / "far_away.yaml").write_text(
        "task: far_away\ndataset_path: openai/gsm8k\ndataset_name: main\ntest_split: test\n"
        "output_type: generate_until\ndoc_to_text: '{{question}}'\ndoc_to_target: '{{answer}}'\n"
    )
    code = """
import sys
from lsbench.errors import Unavailable
from lsbench.evaluation.isolation import isolated
from lsbench.evaluation.tasks import load_tasks
from lsbench.spec import RunSpec
try:
    with isolated():
        load_tasks(RunSpec(strategies=(), tasks=("far_away",), include_path=sys.argv[1]))
except Unavailable as error:
    print(error)
"""
    said = in_a_fresh_process(
        code, str(tmp_path), HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HOME="/nonexistent/hf"
    )
    assert said.count("\n") == 1
    assert "'far_away'" in said
    assert all(name in said for name in OFFLINE)
    assert "xsum" not in said
