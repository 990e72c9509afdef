"""``compare``, ``report --format`` and ``ls runs`` over stored runs: no model, no task is loaded."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lsbench.cli import main
from support.stored_runs import Made, make_run
from support.tune_folder import finalists, write_search

EXIT, SKIP = "static_exit:exit_layer=2", "dynamic_skip"
SOLVED = (True, True, False, True, False, False)
MADE = {
    "autoregressive": Made([3, 3, 3, 3, 3, 3], SOLVED),
    EXIT: Made([2, 2, 2, 2, 2, 2], SOLVED, agreed=(5, 6, 5, 6, 5, 6)),
    SKIP: Made([4, 4, 4, 4, 4, 4], SOLVED, agreed=(9, 8, 9, 8, 9, 8)),
}


@pytest.fixture(scope="module", autouse=True)
def fewer_resamples():
    """Enough for what is asked of an interval here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lsbench.measurement.statistics._RESAMPLES", 499)
        yield


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """Two runs alike, one of other weights' precision, and a search."""
    output = tmp_path_factory.mktemp("stored")
    other = {"model": {"id": "tiny", "path": None, "sha256": "ab" * 32, "num_layers": 4, "dtype": "bfloat16"}}
    for name, how in (("first", {}), ("second", {}), ("other-dtype", {"manifest": other})):
        folder = make_run(output, MADE, **how)
        manifest = folder.path / "manifest.json"
        for file in (manifest, folder.path / "metrics.json"):
            file.write_text(file.read_text().replace(folder.run_id, name))
        folder.path.rename(output / name)
    write_search(output / "search-1", finalists(), finalists())
    return output


@pytest.fixture
def say(capsys):
    """Call the command line; code, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    return call


def test_json_has_it_all_and_the_table_goes_elsewhere(say, stored):
    code, out, err = say("compare", "first", "second", "-o", stored, "--json")
    found = json.loads(out)
    assert (code, found["schema"], found["forced"]) == (0, 1, False)
    assert [run["run_id"] for run in found["runs"]] == ["first", "second"]
    assert {(pair["row"], pair["against"]): pair["speed"]["verdict"] for pair in found["pairs"]} == {
        ("A2", "A1"): "slower", ("B1", "A1"): "no significant difference", ("B2", "A1"): "slower",
        ("B1", "A2"): "faster", ("B2", "A2"): "no significant difference", ("B2", "B1"): "slower",
    }  # fmt: skip
    assert "How fast" in err


def test_one_run_is_enough_where_it_has_several_strategies(say, stored):
    code, out, err = say("compare", "first", "-o", stored)
    assert (code, err) == (0, "")
    assert "A2 dynamic_skip against A1 static_exit:exit_layer=2: slower, 0.50×" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("first", "other-dtype"), ["dtype (A float32, B bfloat16)", "--force"]),
        (("first", "secnd"), ["Unknown run 'secnd'", "'second'"]),
        (("first", "first"), ["first is named twice"]),
        (("first", "search-1"), ["search-1 is a search", "lsbench report search-1"]),
        (("first", "second", "--against", "A9"), ["--against 'A9'", "A1"]),
        (("first", "second", "--format", "latx"), ["--format 'latx'", "'latex'"]),
        (("first", "second", "--format", "csv", "--json"), ["both be on stdout"]),
        (("first", "second", "--output-file", "/"), ["/ is a folder"]),
        (("first", "second", "--output-file", "/nowhere/x.md"), ["there is no folder /nowhere"]),
        (("first", "second", "--output-file", "x.pdf"), ["x.pdf", "tells no format"]),
        ((), ["Missing argument 'RUN...'"]),
    ],
)
def test_a_mistake_is_one_line(say, stored, arguments, words):
    code, out, err = say("compare", *arguments, "-o", stored)
    assert (code, out, err.count("\n")) == (2, "", 1)
    for word in words:
        assert word in err


def test_unfinished_and_damaged_runs_say_so(say, stored, tmp_path):
    shutil.copytree(stored / "first", tmp_path / "first")
    for name, file, text in (
        ("unscored", "metrics.json", None),
        ("bad-samples", "samples.jsonl", "{\n"),
        ("bad-manifest", "manifest.json", "{"),
    ):
        shutil.copytree(stored / "second", tmp_path / name)
        path = tmp_path / name / file
        path.unlink() if text is None else path.write_text(text)
        code, out, err = say("compare", "first", name, "-o", tmp_path)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert name in err
        assert ("--resume" if text is None else "is damaged") in err


def test_force_is_loud(say, stored):
    code, out, _ = say("compare", "first", "other-dtype", "-o", stored, "--force")
    assert code == 0
    assert out.count("NOT COMPARABLE") == 2


@pytest.mark.slow
def test_a_file_tells_its_format(say, stored, tmp_path):
    for name, begins in (
        ("c.md", "# lsbench: "),
        ("c.tex", "% In the preamble"),
        ("c.csv", "kind,run,"),
        ("c.txt", "\n2 runs side by side"),
    ):
        code, out, err = say("compare", "first", "second", "-o", stored, "--output-file", tmp_path / name)
        assert (code, out, err) == (0, "", f"lsbench: wrote {tmp_path / name}\n")
        assert (tmp_path / name).read_text().startswith(begins)


@pytest.mark.slow  # writes report.html, too
def test_a_report_in_another_form(say, stored, tmp_path):
    shutil.copytree(stored / "first", tmp_path / "first")
    code, out, err = say("report", "first", "-o", tmp_path, "--format", "csv")
    assert (code, err) == (0, "")
    lines = list(csv.DictReader(io.StringIO(out)))
    assert {line["strategy"] for line in lines} >= {"autoregressive", EXIT, SKIP}
    code, out, err = say("report", "first", "-o", tmp_path, "--format", "markdown")
    assert out == (tmp_path / "first" / "report.md").read_text()
    code, out, err = say("report", "first", "-o", tmp_path, "-q", "--output-file", tmp_path / "t.tex")
    assert code == 0
    assert "static\\_exit" in (tmp_path / "t.tex").read_text()
    code, out, err = say("report", "search-1", "-o", stored, "--format", "csv")
    assert (code, out) == (2, "")
    assert "--format is for runs" in err


def test_runs_and_searches_are_listed_with_what_came_of_them(say, stored):
    code, out, err = say("ls", "runs", "-o", stored, "--json")
    assert (code, err) == (0, "")
    listed = {each["id"]: each for each in json.loads(out)}
    assert [each["created"] for each in listed.values()] == sorted(
        each["created"] for each in listed.values()
    )
    first = listed["first"]
    assert (first["kind"], first["status"], first["tasks"]) == ("run", "complete", ["things"])
    assert first["bytes"] == sum(
        file.stat().st_size for file in (stored / "first").rglob("*") if file.is_file()
    )
    assert [(each["label"], each["speedup"], each["verdict"]) for each in first["strategies"]] == [
        (EXIT, pytest.approx(1.5), "faster"),
        (SKIP, pytest.approx(0.75), "slower"),
    ]
    (search,) = [each for each in listed.values() if each["kind"] == "search"]
    assert search["strategies"][0]["verdict"].startswith("the best found")
    code, out, err = say("ls", "runs", "-o", stored)
    assert "static_exit:exit_layer=2  1.50× (1.50–1.50)  faster" in out


@pytest.mark.slow
def test_listing_loads_nothing_heavy(stored):
    program = (
        "import sys; from lsbench.cli import main; main(['ls', 'runs', '-o', sys.argv[1]]); "
        "heavy = {'torch', 'transformers', 'scipy', 'lm_eval', 'ray', 'datasets', 'plotly', 'jinja2'}; "
        "sys.exit(sorted(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(stored)], capture_output=True, text=True, timeout=500, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "search-1" in done.stdout or "dynamic_skip" in done.stdout
