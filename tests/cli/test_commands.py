import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

STATIC = ("-s", "static_exit:exit_layer=2")


# -- run ----------------------------------------------------------------------------------------------------


def test_json_is_all_there_is_on_stdout(cli, run_of, results, plugins):
    said = cli(*run_of("tiny_generate", *STATIC, "-s", "chatty", "--limit", "2", "--json"))
    assert said.code == 0
    (folder,) = results.iterdir()
    assert json.loads(said.out) == json.loads((folder / "metrics.json").read_text())
    assert said.out == (folder / "metrics.json").read_text()
    assert "chatty says hello" in said.err
    assert "lsbench: Reading tasks" in said.err
    assert f"Results: {folder}" in said.err
    assert "Loading weights" not in said.err


def test_quiet_says_only_where_the_results_are(cli, run_of, results):
    said = cli(*run_of("tiny_choice", *STATIC, "--limit", "1", "--quiet"))
    (folder,) = results.iterdir()
    assert (said.code, said.out, said.err) == (0, f"{folder}\n", "")
    said = cli("report", "latest", "--output", results, "--quiet", "--json")
    assert (said.code, json.loads(said.out)["run_id"], said.err) == (0, folder.name, "")


def test_the_table_is_printed_in_the_end(cli, run_of):
    said = cli(*run_of("tiny_generate", *STATIC, "--limit", "1"))
    assert said.code == 0
    assert "How fast" in said.out
    assert "Results: " in said.out
    assert "lsbench: Scoring static_exit:exit_layer=2" in said.err


@pytest.mark.usefixtures("plugins")
def test_failed_samples_have_an_exit_code_of_their_own(cli, run_of, results):
    said = cli(*run_of("tiny_generate", "-s", "unlucky", "--limit", "3", "--json"))
    assert said.code == 4
    metrics = json.loads(said.out)
    assert metrics["status"] == "failed_samples"
    assert metrics["strategies"][0]["tasks"]["tiny_generate"]["failed"] == 1
    again = cli("run", "--resume", metrics["run_id"], "--output", results, "--json")
    assert again.code == 4
    assert json.loads(again.out)["strategies"][0]["tasks"] == metrics["strategies"][0]["tasks"]


SPELLINGS = [
    ("--max-new-tokens", "--max_new_tokens", "5"),
    ("--num-fewshot", "--num_fewshot", "1"),
    ("--num-fewshot", "-f", "1"),
    ("--limit", "-L", "3"),
    ("--batch-size", "-b", "1"),
    ("--batch-size", "--batch_size", "1"),
    ("--tensor-parallel", "--tp", "1"),
    ("--tensor-parallel", "--tensor_parallel", "1"),
    ("--ray-address", "--ray_address", "head:6379"),
    ("--max-retries", "--max_retries", "5"),
    ("--output", "-o", "somewhere"),
    ("--output", "--output_path", "somewhere"),
    ("--output", "--output-path", "somewhere"),
    ("--include-path", "--include_path", "tasks"),
    ("--tasks", "-t", "a,b"),
    ("--strategy", "-s", "dynamic_skip"),
    ("--model", "-m", "x/y"),
    ("--model-args", "-a", "pretrained=x/y"),
    ("--model-args", "--model_args", "pretrained=x/y,dtype=float32"),
    ("--gen-kwargs", "--gen_kwargs", "temperature=0.5,max_gen_toks=4"),
    ("--top-p", "--top_p", "0.5"),
    ("--top-k", "--top_k", "5"),
]


def printed(cli, *flags):
    said = cli("run", "-t", "z", "-s", "autoregressive", *flags, "--print-config")
    assert (said.code, said.err) == (0, "")
    return yaml.safe_load(said.out)


@pytest.mark.parametrize(("one", "other", "value"), SPELLINGS)
def test_spellings_mean_the_same(one, other, value, cli):
    plain = printed(cli)
    spelt = printed(cli, one, value)
    assert spelt == printed(cli, other, value) == printed(cli, f"{one}={value}")
    if value != "1" or "num" in one:
        assert spelt != plain


def test_chat_templates_and_prints_can_be_spelt_either_way(cli):
    one = printed(cli, "--apply_chat_template")
    assert one == printed(cli, "--apply-chat-template")
    assert one["apply_chat_template"] is True
    assert cli("run", "-t", "z", "--print_config").code == 0


def test_a_printed_configuration_is_the_run(cli, run_of, tmp_path):
    flags = run_of("tiny_generate,tiny_choice", *STATIC, "-s", "dynamic_skip:max_skip_ratio=0.3", "-L", 2)
    config = tmp_path / "run.yaml"
    config.write_text(cli(*flags, "--print-config").out)
    assert cli("run", "--config", config, "--print-config").out == config.read_text()
    assert cli("run", "-C", config, "-L", "1", "--print-config").out == config.read_text().replace(
        "limit: 2", "limit: 1"
    )
    said = cli("run", "--config", config, "--json", "--limit", "1")
    metrics = json.loads(said.out)
    assert [s["label"] for s in metrics["strategies"]] == [
        "static_exit:exit_layer=2",
        "dynamic_skip:max_skip_ratio=0.3",
    ]
    assert metrics["strategies"][0]["tasks"]["tiny_choice"]["n"] == 1


# -- report -------------------------------------------------------------------------------------------------


def test_reports_are_made_again_from_what_is_stored(cli, finished, tmp_path):
    folder = tmp_path / finished.name
    shutil.copytree(finished, folder)
    reports = {name: (folder / name).read_text() for name in ("report.html", "report.md")}
    for name in reports:
        (folder / name).unlink()
    said = cli("report", folder)
    assert said.code == 0
    assert "How fast" in said.out
    assert {name: (folder / name).read_text() for name in reports} == reports


def test_scores_are_made_again_without_the_model(cli, run_of, results, tiny_model, tmp_path):
    model = tmp_path / "passing"
    shutil.copytree(tiny_model, model)
    said = cli(*run_of("tiny_generate,tiny_choice,tiny_rolling", *STATIC, "--model", model, "--json"))
    assert said.code == 0
    shutil.rmtree(model)
    (folder,) = results.iterdir()
    (folder / "metrics.json").unlink()
    again = cli("report", folder.name[:15], "--output", results, "--rescore", "--json")
    assert again.code == 0
    assert json.loads(again.out) == json.loads(said.out)
    assert (folder / "metrics.json").read_text() == said.out


def test_a_chat_run_is_scored_again_as_long_as_its_tokenizer_is_there(
    cli, run_of, results, tiny_model, tmp_path
):
    model = tmp_path / "passing"
    shutil.copytree(tiny_model, model)
    said = cli(
        *run_of("tiny_choice", *STATIC, "--model", model, "--apply_chat_template", "--json", "-L", "2")
    )
    assert said.code == 0
    (model / "model.safetensors").unlink()
    again = cli("report", "latest", "-o", results, "--rescore", "--json")
    assert json.loads(again.out) == json.loads(said.out)
    shutil.rmtree(model)
    gone = cli("report", "latest", "-o", results, "--rescore")
    assert (gone.code, "tokenizer" in gone.err) == (2, True)


def test_a_run_is_scored_again_where_its_plugin_is_not_installed(
    cli, run_of, results, plugin_folder, monkeypatch
):
    """Whether each strategy claimed to be lossless when it ran is in the manifest."""
    monkeypatch.syspath_prepend(str(plugin_folder))
    said = cli(*run_of("tiny_generate,tiny_choice", "-s", "dawdling", *STATIC, "-L", "2", "--json"))
    assert said.code == 0
    monkeypatch.undo()
    assert cli("check-strategy", "dawdling").code == 2  # it is gone
    (folder,) = results.iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["lossless"] == {
        "autoregressive": True,
        "dawdling": True,
        "static_exit:exit_layer=2": False,
    }
    again = cli("report", "latest", "-o", results, "--rescore", "--json")
    assert (again.code, json.loads(again.out)) == (0, json.loads(said.out))
    assert cli("report", "latest", "-o", results).code == 0

    # A folder of before: what is installed is asked, and what is not is named.
    del manifest["lossless"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    gone = cli("report", "latest", "-o", results, "--rescore")
    assert (gone.code, "'dawdling'" in gone.err) == (2, True)
    monkeypatch.syspath_prepend(str(plugin_folder))
    again = cli("report", "latest", "-o", results, "--rescore", "--json")
    assert (again.code, json.loads(again.out)) == (0, json.loads(said.out))


# -- ls -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("plugins")
def test_strategies_are_listed_with_the_broken_ones_named(cli):
    said = cli("ls", "strategies")
    assert said.code == 0
    for word in ("autoregressive", "exit_layer", "required", "max_skip_ratio", "seconds before each token"):
        assert word in said.out
    assert "broken (thirdparty 0.1) cannot be used:" in said.out
    assert "thirdparty_gone" in said.out


def test_tasks_and_models_are_listed(cli, tiny_tasks):
    said = cli("ls", "tasks", "--include_path", tiny_tasks)
    assert said.code == 0
    names = [line.split("\t")[0] for line in said.out.splitlines()]
    assert {"humaneval", "humaneval_bpb", "tiny_generate", "tiny_rolling"} <= set(names)
    said = cli("ls", "models")
    assert said.code == 0
    assert "smollm2-135m-instruct" in said.out
    assert "layerskip-llama3.2-1b" in said.out


def test_runs_are_listed(cli, finished, tmp_path):
    said = cli("ls", "runs", "--output", finished.parent)
    assert said.code == 0
    assert finished.name in said.out.splitlines()
    assert "complete · " in said.out
    assert "tiny_rolling" in said.out
    assert "static_exit:exit_layer=2" in " ".join(said.out.split())
    assert cli("ls", "runs", "--output", tmp_path / "none").out == f"no runs in {tmp_path / 'none'}\n"


# -- the process --------------------------------------------------------------------------------------------

HEAVY = "torch transformers lm_eval ray deepspeed scipy numpy datasets pandas hyperopt accelerate"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["tune", "--help"],
        ["ls", "--help"],
        ["doctor", "--help"],
        ["--version"],
        ["rn"],
    ],
)
def test_help_imports_nothing_heavy(arguments):
    program = (
        "import sys; from lsbench.cli import main; code = main(sys.argv[2:]);"
        "print([name for name in sys.argv[1].split() if name in sys.modules], code, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, HEAVY, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr.splitlines()[-1] == f"[] {2 if arguments == ['rn'] else 0}"


SCRIPT = Path(sys.executable).with_name("lsbench")


@pytest.mark.parametrize("command", ["{0} ls models", "{1} -m lsbench --help"])
def test_a_reader_who_goes_away_gets_no_traceback(command):
    shell = command.format(SCRIPT, sys.executable) + " | head -c 1"
    done = subprocess.run(shell, shell=True, capture_output=True, text=True, check=False, timeout=60)
    assert (len(done.stdout), done.stderr) == (1, "")


def test_without_arguments_it_helps(cli):
    said = cli()
    assert "Usage: lsbench" in said.out + said.err
    for command in ("run", "report", "ls"):
        assert command in said.out + said.err


def test_main_leaves_the_process_as_it_was(cli):
    import signal

    before = signal.getsignal(signal.SIGTERM)
    cli("ls", "models")
    assert signal.getsignal(signal.SIGTERM) is before


# -- the real thing -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_embedded_model_on_humaneval(tmp_path):
    """A command as users type it, from a folder of their own."""
    command = [
        *(SCRIPT, "run", "--strategy", "dynamic_skip", "--strategy", "static_exit:exit_layer=30"),
        *("--tasks", "humaneval,humaneval_bpb", "--limit", "1", "--max-new-tokens", "24", "--json"),
    ]
    # On a busy machine two threads that wait for each other are slower than one.
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)
    assert (metrics["model"]["id"], metrics["model"]["num_layers"]) == ("smollm2-135m-instruct", 30)
    skipping, full = metrics["strategies"]
    assert (skipping["label"], full["label"]) == ("dynamic_skip", "static_exit:exit_layer=30")
    for strategy in (skipping, full):
        for part in ("speed", "depth", "fidelity", "memory"):
            assert strategy[part] is not None
        assert strategy["tasks"]["humaneval"]["n"] == strategy["tasks"]["humaneval_bpb"]["n"] == 1
        assert set(strategy["tasks"]["humaneval"]["metrics"]) == {"pass@1"}
        assert 1 < strategy["speed"]["generated_tokens"] <= 24
    assert full["fidelity"]["token_agreement"]["value"] == 1
    assert full["depth"]["mean_layers"] == 30
    assert 1 < skipping["depth"]["mean_layers"] < 30
    base = metrics["baseline"]["tasks"]["humaneval_bpb"]
    (bits,) = base
    assert full["tasks"]["humaneval_bpb"]["metrics"][bits]["value"] == pytest.approx(
        base[bits]["value"], rel=1e-5
    )
    assert 0.1 < base[bits]["value"] < skipping["tasks"]["humaneval_bpb"]["metrics"][bits]["value"] < 10
    (folder,) = (tmp_path / "results").iterdir()
    for name in ("manifest.json", "samples.jsonl", "metrics.json", "report.html", "report.md"):
        assert (folder / name).stat().st_size > 0
