"""``lsbench inspect`` at the command line."""

import json
from pathlib import Path

import pytest

from lsbench.insight.outcome import Inspection


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Nothing to look at"),
        (("a prompt", "--tasks", "humaneval"), "exclude each other"),
        (("a prompt", "--limit", "3"), "--limit is for --tasks"),
        (("  ",), "The prompt is empty"),
        (("a prompt", "--max-new-tokens", "1"), "give 2 or more"),
        (("a prompt", "--max-new-tokens", "0"), "--max-new-tokens 0"),
        (("a prompt", "--model", "smollm2-135m-instuct"), "Did you mean 'smollm2-135m-instruct'?"),
        (("a prompt", "--dtype", "float3"), "--dtype 'float3'"),
        (("a prompt", "--output", "/proc/none"), "Cannot write results to /proc/none"),
    ],
)
def test_what_is_wrong_is_told_in_a_line_and_nothing_is_loaded(cli, arguments, told, monkeypatch):
    monkeypatch.setattr("lsbench.catalog.resolve_model", None)
    said = cli("inspect", *arguments)
    assert said.code == 2
    assert told in said.error


@pytest.mark.slow
def test_a_prompt_and_a_task_are_looked_into(cli, tiny_model, tiny_tasks, results, monkeypatch):
    monkeypatch.setattr("lsbench.execution.costs._BUDGET_S", 0.05)
    common = ("--model", tiny_model, "--threads", 1, "--output", results)
    said = cli("inspect", "what is a thing", "--max-new-tokens", 9, *common, "--json")
    assert said.code == 0
    made = Inspection.model_validate_json(said.out)
    (folder,) = results.iterdir()
    assert folder.name == made.inspect_id
    assert made.model_dump(by_alias=True, mode="json") == json.loads((folder / "inspect.json").read_text())
    assert made.texts[0].prompt == "what is a thing"
    assert 1 <= len(made.texts[0].steps) <= 8
    assert made.num_layers == 4
    assert len(made.layers) == 4
    assert made.layers[-1].agreement == 1
    assert made.follows[0].split(",")[0] in said.err
    assert "inspect.html" in said.err

    tasks = ("--tasks", "tiny_generate", "--include-path", tiny_tasks, "--limit", 2)
    said = cli("inspect", *tasks, *common, "--quiet")
    assert said.code == 0
    assert said.err == ""
    path = Path(said.out.strip())
    assert sorted(file.name for file in path.iterdir()) == ["inspect.html", "inspect.json"]
    made = Inspection.model_validate_json((path / "inspect.json").read_bytes())
    assert [text.name for text in made.texts] == ["tiny_generate 0", "tiny_generate 1"]

    said = cli("inspect", "--tasks", "tiny_choice", "--include-path", tiny_tasks, *common)
    assert (said.code, "generates nothing" in said.err) == (2, True)
