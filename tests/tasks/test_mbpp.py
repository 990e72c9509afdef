"""Our MBPP shows what the built-in one shows, and runs a problem's own preparation before its tests."""

import ast
from pathlib import Path

from datasets import Dataset

from lsbench_tasks import PATH
from lsbench_tasks.execution import installed
from lsbench_tasks.mbpp.problems import examples
from lsbench_tasks.mbpp.scoring import run_tests
from lsbench_tasks.programs import programs_passed


def builtin_folder() -> Path:
    import lm_eval

    return Path(lm_eval.__file__).parent / "tasks/mbpp"


def test_the_same_question_as_the_built_in_task():
    from lm_eval.tasks._yaml_loader import load_yaml

    builtin = load_yaml(builtin_folder() / "mbpp.yaml", resolve_func=False)
    ours = load_yaml(PATH / "mbpp/mbpp.yaml")
    same = (
        "task", "doc_to_text", "generation_kwargs", "output_type", "num_fewshot", "target_delimiter",
        "test_split", "unsafe_code",
    )  # fmt: skip
    assert {key: ours[key] for key in same} == {key: builtin[key] for key in same}
    assert builtin["doc_to_target"].startswith("{% if is_fewshot is defined %}{{code}}\n[DONE]{% else %}")
    assert ours["fewshot_config"]["doc_to_target"] == "{{code}}\n[DONE]"
    assert builtin["fewshot_config"]["sampler"] == ours["fewshot_config"]["sampler"] == "first_n"
    assert ours["process_results"] is programs_passed


def test_the_same_examples_come_first():
    """The built-in task carries its three; they are read as they stand: importing it would fetch a metric."""
    module = ast.parse((builtin_folder() / "utils.py").read_text())
    (function,) = (node for node in module.body if getattr(node, "name", None) == "list_fewshot_samples")
    (shown,) = (node.value for node in ast.walk(function) if isinstance(node, ast.Return))
    numbers = [sample["task_id"] for sample in ast.literal_eval(shown)]
    split = Dataset.from_list([{"task_id": number} for number in range(10, 0, -1)])
    assert [problem["task_id"] for problem in examples(split)][:3] == numbers
    assert [problem["task_id"] for problem in examples(split)][3:] == [1, 5, 6, 7, 8, 9, 10]


def test_programs_run_with_preparation_and_tests():
    asked = []

    def runner(programs):
        asked.extend(programs)
        return [program == "right" for program, _ in programs]

    docs = [
        {"test_setup_code": "base = 1", "test_list": ["assert a", "assert b"]},
        {"test_setup_code": "", "test_list": ["assert c"]},
    ]
    with installed(runner):
        assert run_tests([["right", "wrong"], ["right"]], docs) == [[True, False], [True]]
    assert asked == [
        ("right", "base = 1\nassert a\nassert b"),
        ("wrong", "base = 1\nassert a\nassert b"),
        ("right", "\nassert c"),
    ]
