"""Each mistake: exit code 2, one line, the nearest name, no weights loaded, nothing left behind."""

import json
import os
import shutil
import subprocess
import sys

import pytest

STATIC = ("-s", "static_exit:exit_layer=2")
ONE = "tiny_generate"


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    def refuse(*_):
        raise AssertionError("weights are loaded")

    monkeypatch.setattr("lsbench.engine.loading.load_stack", refuse)


def no_runs(results) -> bool:
    return not results.exists() or list(results.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("-s", "dynamic_skp"), ["strategy 'dynamic_skp'", "'dynamic_skip'"]),
        (("-s", "static_exit:exit_layr=2"), ["'exit_layr'", "'exit_layer'"]),
        (("-s", "static_exit"), ["exit_layer"]),
        (("-s", "static_exit:exit_layer=0"), ["exit_layer", "0", "1"]),
        (("-s", "static_exit:exit_layer=two"), ["exit_layer", "two"]),
        (("-s", "static_exit:exit_layer=9"), ["exit_layer", "9", "4"]),
        (("-s", "static_exit:exit_layer=2,kv_fill=recomput"), ["kv_fill", "recomput", "recompute"]),
        (("-s", "dynamic_skip:max_skip_ratio=1.5"), ["max_skip_ratio", "1.5"]),
        (("-s", ":a=1"), ["no strategy name"]),
        ((*STATIC, *STATIC), ["static_exit:exit_layer=2 is given twice"]),
        ((), ["No strategy given", "--strategy NAME"]),
        ((*STATIC, "--model", "smollm2-135m-instuct"), ["smollm2-135m-instruct"]),
        ((*STATIC, "--dtype", "float33"), ["--dtype 'float33'", "float32"]),
        ((*STATIC, "--device", "gpu"), ["--device 'gpu'", "cpu"]),
        ((*STATIC, "--device", "cuda:99"), ["--device 'cuda:99'"]),
        ((*STATIC, "--limit", "0"), ["--limit 0"]),
        ((*STATIC, "--limit", "few"), ["--limit", "integer"]),
        ((*STATIC, "--top_p", "1.5"), ["--top-p 1.5"]),
        ((*STATIC, "--max-new-tokens", "0"), ["--max-new-tokens 0"]),
        ((*STATIC, "--temperature", "-0.5"), ["--temperature -0.5"]),
        ((*STATIC, "--tp", "2", "--backend", "local"), ["--tensor-parallel 2 needs 2", "--backend local"]),
        ((*STATIC, "--tensor-parallel", "0"), ["--tensor-parallel 0"]),
        ((*STATIC, "--replicas", "0"), ["--replicas 0"]),
        ((*STATIC, "--replicas", "2", "--device", "cuda:1"), ["--device cuda:1", "--device cuda"]),
        ((*STATIC, "--backend", "rey"), ["--backend 'rey'", "'ray'"]),
        ((*STATIC, "--ray_address", "head"), ["--ray-address 'head'", "HOST:PORT"]),
        ((*STATIC, "--max-retries", "-1"), ["--max-retries -1"]),
        ((*STATIC, "--batch_size", "0"), ["--batch-size 0"]),
        ((*STATIC, "--baseline", "autoregresive"), ["--baseline 'autoregresive'", "'autoregressive'"]),
        ((*STATIC, "--baseline", "static_exit:exit_layer=2"), ["--baseline", "without options"]),
        ((*STATIC, "--baseline", "dynamic_skip"), ["--baseline dynamic_skip", "autoregressive"]),
        ((*STATIC, "--revision", "main"), ["--revision 'main'", "hub models"]),
        ((*STATIC, "--model-args", "pretraned=x"), ["'pretraned'", "'pretrained'"]),
        ((*STATIC, "--gen_kwargs", "num_beams=2"), ["'num_beams'", "--gen-kwargs"]),
        ((*STATIC, "--limt", "3"), ["--limt", "--limit"]),
        ((*STATIC, "--num-fewshot", "50"), ["'tiny_generate'", "50 few-shot examples"]),
        ((*STATIC, "--include-path", "/nowhere/tasks"), ["--include-path '/nowhere/tasks'"]),
    ],
)
def test_a_mistake_in_the_command(more, words, cli, run_of, results):
    said = cli(*run_of(ONE, *more))
    assert said.code == 2
    for word in words:
        assert word in said.error
    assert no_runs(results)


def test_products_that_there_are_not(cli, run_of, results, monkeypatch):
    monkeypatch.setenv("LSBENCH_PRODUCTS", "nativ")
    said = cli(*run_of(ONE, *STATIC))
    assert said.code == 2
    assert "LSBENCH_PRODUCTS 'nativ'. Did you mean 'native'?" in said.error
    assert no_runs(results)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("runn",), ["'runn'", "'run'"]),
        (("rn", "--help"), ["'rn'", "'run'"]),
        (("frobnicate",), ["'frobnicate'", "Known: run, tune, ", "compare", "report"]),
        (("ls", "strategy"), ["'strategy'", "'strategies'"]),
        (("report",), ["run"]),
        (("report", "none"), ["'none'"]),
        (("run", "--strategy"), ["--strategy", "argument"]),
        (("run", "-s", "dynamic_skip"), ["No task given", "--tasks"]),
        (("run", "-s", "dynamic_skip", "-t", ", ,"), ["No task given"]),
        (("run", "--resume", "latest"), ["--output"]),
        (("run", "-C", "/nowhere.yaml"), ["/nowhere.yaml", "No such file"]),
        (("run", "-t", "humanevl", "-s", "nothing_like_it"), ["nothing_like_it"]),
    ],
)
def test_a_mistake_of_form(arguments, words, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = cli(*arguments)
    assert said.code == 2
    for word in words:
        assert word in said.error


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"model_type": "gpt2"}, ["'gpt2' is not supported", "llama"]), ({}, ["exit_layer", "9", "4"])],
)
@pytest.mark.parametrize("command", ["run", "check-strategy"])
def test_what_a_model_cannot_do_is_told_before_its_weights_are_wanted(
    command, changes, words, cli, tiny_model, tiny_tasks, results, tmp_path
):
    """The folder holds a configuration and no weights."""
    config = json.loads((tiny_model / "config.json").read_text())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, **changes}))
    asked = {
        "run": ("-s", "static_exit:exit_layer=9", "-t", ONE, "--include-path", tiny_tasks, "-o", results),
        "check-strategy": ("static_exit:exit_layer=9",),
    }
    said = cli(command, *asked[command], "--model", tmp_path / "model")
    assert said.code == 2
    for word in words:
        assert word in said.error
    assert no_runs(results)


@pytest.mark.slow
def test_an_unknown_task_is_looked_for_among_all_of_lm_evals(cli, run_of, results, monkeypatch):
    """Which takes seconds to read, and is read in the tests of ``lsbench.evaluation``."""
    from lsbench.evaluation import tasks

    read, asked = tasks._read_index, []

    def without_theirs(folder, builtin, files):
        asked.append(builtin)
        return read(folder, False, files)

    monkeypatch.setattr(tasks, "_read_index", without_theirs)
    said = cli(*run_of("tiny_generat", *STATIC))
    assert (said.code, "'tiny_generate'" in said.error) == (2, True)
    said = cli(*run_of("humanevl", *STATIC))
    assert (said.code, "'humaneval'" in said.error) == (2, True)
    assert asked == [False, True] * 2
    assert no_runs(results)


def test_a_prompt_longer_than_the_context(cli, run_of, results):
    said = cli(*run_of("tiny_long", *STATIC))
    assert said.code == 2
    assert "document 0" in said.error
    assert "160" in said.error
    assert no_runs(results)


def test_a_configuration_with_a_misspelt_field(cli, run_of, results, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("limits: 3\n")
    said = cli(*run_of(ONE, *STATIC, "--config", config))
    assert said.code == 2
    assert "'limits'" in said.error
    assert "'limit'" in said.error
    assert no_runs(results)


def test_a_folder_that_is_no_model(cli, run_of, results, tmp_path, tiny_model):
    empty = tmp_path / "empty"
    empty.mkdir()
    said = cli(*run_of(ONE, *STATIC, "--model", empty))
    assert (said.code, "no config.json" in said.error) == (2, True)
    (empty / "config.json").write_text("{ not json")
    assert cli(*run_of(ONE, *STATIC, "--model", empty)).error.count(str(empty))
    shutil.copy(tiny_model / "config.json", empty)
    said = cli(*run_of(ONE, *STATIC, "--model", empty))
    assert (said.code, str(empty) in said.error) == (2, True)
    shutil.copy(tiny_model / "model.safetensors", empty)
    said = cli(*run_of(ONE, *STATIC, "--model", empty))
    assert (said.code, "tokenizer" in said.error) == (2, True)
    assert no_runs(results)


def test_an_architecture_nobody_declared(cli, run_of, results, tmp_path, tiny_tokenizer):
    import torch
    from safetensors.torch import save_file
    from transformers import GPT2Config

    folder = tmp_path / "gpt2"
    GPT2Config(n_layer=2, n_embd=8, n_head=2).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    save_file({"wte": torch.zeros(1)}, folder / "model.safetensors")
    said = cli(*run_of(ONE, *STATIC, "--model", folder))
    assert said.code == 2
    assert "gpt2" in said.error
    assert "llama" in said.error
    assert no_runs(results)


def test_a_chat_template_the_tokenizer_has_not(cli, run_of, results, tmp_path, tiny_model):
    folder = tmp_path / "plain"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").unlink()
    said = cli(*run_of(ONE, *STATIC, "--model", folder, "--apply_chat_template"))
    assert (said.code, "no chat template" in said.error) == (2, True)
    assert no_runs(results)


def test_an_output_that_cannot_be_written(cli, run_of, tmp_path):
    (tmp_path / "taken").write_text("a file")
    for place in (tmp_path / "taken", tmp_path / "taken" / "below", "/proc/lsbench", "/dev/null"):
        said = cli(*run_of(ONE, *STATIC, "--output", place))
        assert said.code == 2
        assert str(place) in said.error
        assert "--output DIR" in said.error


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_folder_one_may_not_write_to(tmp_path):
    """Root may write anywhere, so an unprivileged child asks, from within the folder."""
    tmp_path.chmod(0o555)
    program = (
        "import os, sys; from pathlib import Path; from lsbench.errors import BadInput;"
        "from lsbench.store.naming import ensure_writable;"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: ensure_writable(Path('results'))\n"
        "except BadInput as error: sys.exit(str(error))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Cannot write results to results: Permission denied")


# -- resuming and reporting what cannot be trusted --------------------------------------------------------


@pytest.fixture
def stopped(finished, results):
    """A copy of a run, as if it had been killed after its fifth sample."""
    folder = results / finished.name
    shutil.copytree(finished, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    lines = (folder / "samples.jsonl").read_text().splitlines(keepends=True)[:5]
    (folder / "samples.jsonl").write_text("".join(lines))
    return folder


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--limit", "4"), ["limit was 3, now 4"]),
        (("--seed", "1"), ["seed was 0, now 1"]),
        (("-s", "static_exit:exit_layer=3"), ["strategies", "exit_layer=2", "exit_layer=3"]),
        (("-t", "tiny_generate"), ["tasks was", "tiny_rolling"]),
        (("--max-new-tokens", "4"), ["max_new_tokens was not given, now 4"]),
        (("--model", "smollm2-135m-instruct"), ["model was"]),
    ],
)
def test_another_question_than_the_runs_own(given, words, cli, stopped, results):
    before = (stopped / "samples.jsonl").read_bytes()
    said = cli("run", "--resume", stopped.name, "--output", results, *given)
    assert said.code == 2
    for word in ["Cannot resume", *words]:
        assert word in said.error
    assert (stopped / "samples.jsonl").read_bytes() == before


def test_a_run_nobody_knows(cli, stopped, results):
    said = cli("run", "--resume", stopped.name[:-1] + "?", "--output", results)
    assert said.code == 2
    assert stopped.name in said.error


def test_damaged_samples(cli, stopped, results):
    lines = (stopped / "samples.jsonl").read_text().splitlines(keepends=True)
    (stopped / "samples.jsonl").write_text("".join([lines[0], "{half\n", *lines[1:]]))
    for command in (("run", "--resume"), ("report", "--rescore")):
        said = cli(*command, stopped.name, "--output", results)
        assert (said.code, "samples.jsonl, line 2 is damaged" in said.error) == (2, True)
    (stopped / "samples.jsonl").write_text("".join([*lines, lines[0]]))
    said = cli("run", "--resume", stopped.name, "--output", results)
    assert (said.code, "line 6: the same request as line 1" in said.error) == (2, True)


@pytest.mark.parametrize("content", ["", "{}", "null", '{"schema": 99}', "\x00"])
def test_a_damaged_manifest(content, cli, stopped, results):
    (stopped / "manifest.json").write_text(content)
    for command in (("run", "--resume"), ("report",), ("report", "--rescore")):
        said = cli(*command, stopped.name, "--output", results)
        assert (said.code, "manifest.json" in said.error) == (2, True)
    assert "damaged" in cli("ls", "runs", "--output", results).out


def test_damaged_metrics(cli, stopped, results):
    (stopped / "metrics.json").write_text("{")
    said = cli("report", stopped.name, "--output", results)
    assert (said.code, "--rescore" in said.error) == (2, True)
    (stopped / "metrics.json").unlink()
    said = cli("report", stopped.name, "--output", results)
    assert said.code == 2
    assert f"lsbench run --resume {stopped}" in said.error


def test_other_weights_than_the_runs_own(cli, stopped, results):
    manifest = json.loads((stopped / "manifest.json").read_text())
    manifest["model"]["sha256"] = "0" * 64
    (stopped / "manifest.json").write_text(json.dumps(manifest))
    said = cli("run", "--resume", stopped.name, "--output", results)
    assert (said.code, "weights" in said.error) == (2, True)


def test_a_folder_that_another_process_writes_to(cli, stopped, results):
    import filelock

    with filelock.FileLock(stopped / ".lock"):
        for command in (("run", "--resume"), ("report", "--rescore")):
            said = cli(*command, stopped.name, "--output", results)
            assert (said.code, "another process" in said.err) == (2, True)


@pytest.mark.usefixtures("plugins")
def test_a_plugin_that_cannot_be_imported(cli, run_of, results):
    said = cli(*run_of(ONE, "-s", "broken"))
    assert said.code == 2
    assert "'broken' of thirdparty 0.1" in said.error
    assert "thirdparty_gone" in said.error
    assert no_runs(results)
