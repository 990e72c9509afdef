"""``--data`` and the task that reads it: mistakes are one line and exit code 2, before any weights."""

import pytest

GOOD = '{"prompt": "The sky is", "reference": "blue"}\n{"prompt": "Ink is", "reference": "black"}\n'


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    def refuse(*_):
        raise AssertionError("weights are loaded")

    monkeypatch.setattr("lsbench.engine.loading.load_stack", refuse)


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(GOOD)
    return path


@pytest.mark.parametrize(
    ("task", "more", "words"),
    [
        ("jsonl", (), ["add --data FILE", "--data-prompt"]),
        ("jsonl", ("--data", "nowhere.jsonl"), ["nowhere.jsonl", "No such file"]),
        ("jsonl", ("--data", "{own}", "--data-prompt", "promt"), ["'promt'", "mean 'prompt'?"]),
        ("jsonl", ("--data", "{own}", "--num-fewshot", "2"), ["2 set aside"]),
        ("jsonl", ("--data", "{own}", "--data-fewshot", "{own}"), ["add --num-fewshot N"]),
        ("jsonl", ("--data", "{own}", "--data-fewshot", "{own}", "-f", "1"), ["is the file of --data"]),
        ("tiny_generate", ("--data", "{own}"), ["--data '", "add --tasks jsonl"]),
        ("tiny_generate", ("--data-reference", "answer"), ["--data-reference 'answer'", "leave"]),
    ],
)
def test_a_mistake(task, more, words, own, cli, run_of, results):
    said = cli(*run_of(task, "-s", "dynamic_skip", *(word.format(own=own) for word in more)))
    assert said.code == 2
    for word in words:
        assert word in said.error
    assert not results.exists()


@pytest.mark.slow
def test_bad_lines_stop_a_run_and_a_search_before_they_begin(own, cli, run_of, results):
    own.write_text(GOOD + "{\n" + '{"prompt": 3, "reference": "x"}\n')
    run = run_of("jsonl", "-s", "dynamic_skip", "--data", own)
    for command in (run, ["tune", *run[1:]]):
        said = cli(*command)
        assert said.code == 2
        assert "2 of 4 lines cannot be used: line 3: not JSON" in said.error
        assert "line 4: 'prompt' is a number" in said.error
    assert not results.exists()


def test_a_configuration_made_for_a_file_serves_other_tasks(own, tmp_path, cli, run_of):
    shown = cli(*run_of("jsonl", "-s", "dynamic_skip", "--data", own, "--print-config"))
    assert f"data: {own}" in shown.out
    config = tmp_path / "own.yaml"
    config.write_text(shown.out)
    same = cli("run", "--config", config, "--print-config")
    assert same.out == shown.out
    other = cli("run", "--config", config, "--tasks", "humaneval", "--print-config")
    assert "data: null" in other.out
