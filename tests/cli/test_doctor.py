import json

import pytest

from lsbench.doctor import checklist
from lsbench.doctor.finding import Finding
from lsbench.execution import roofline

FINE = Finding("torch", "ok", "2.99, 1 thread")
SLOW = Finding("compiler", "limited", "none [of them]: slow", "install g++")
GONE = Finding("memory", "missing", "1 byte free", "buy some")


@pytest.fixture
def findings(monkeypatch):
    def make(*found):
        monkeypatch.setattr(checklist, "examine", lambda: iter(found))

    return make


@pytest.mark.slow
def test_this_machine_can_run(cli):
    said = cli("doctor")
    for name, _ in checklist.CHECKS:
        assert name in said.out
    assert said.code == (1 if "MISSING" in said.out else 0)
    assert ("cannot work here" in said.out) is (said.code == 1)


def test_what_is_limited_stops_nothing_and_says_what_to_do(cli, findings):
    findings(FINE, SLOW)
    said = cli("doctor")
    assert said.code == 0
    assert "none [of them]: slow" in said.out
    assert "install g++" in said.out
    assert "`make run` works here. Limited: compiler." in said.out
    findings(FINE)
    assert "Everything works here." in cli("doctor").out


def test_what_is_missing_has_an_exit_code(cli, findings):
    findings(FINE, SLOW, GONE)
    said = cli("doctor", "--roofline", "--model", "no/such")
    assert said.code == 1
    assert "`make run` cannot work here yet: memory." in said.out
    assert "roofline was not measured" in said.out


def test_machines_read_json(cli, findings):
    findings(FINE, GONE)
    said = cli("doctor", "--json")
    assert said.code == 1
    told = json.loads(said.out)
    assert told["ok"] is False
    assert told["roofline"] is None
    assert told["findings"][1] == {
        "name": "memory", "status": "missing", "detail": "1 byte free", "advice": "buy some",
    }  # fmt: skip
    assert "MISSING" in said.err


@pytest.mark.usefixtures("short_roofline")
def test_the_roofline_is_a_table_for_each_dtype(cli, findings, tiny_model):
    findings(FINE)
    said = cli("doctor", "--roofline", "-m", tiny_model, "--dtype", "bfloat16", "--dtype", "float64")
    assert said.code == 0
    assert "Memory bandwidth: " in said.out
    for dtype in ("bfloat16", "float64"):
        assert f"tiny, 4 layers, {dtype}" in said.out
    rows = [line for line in said.out.splitlines() if line.strip().startswith("whole step")]
    assert [len(row.split()) for row in rows] == [4, 4]


@pytest.mark.usefixtures("short_roofline")
def test_a_roofline_in_json_has_every_part_with_its_bound(cli, findings, tiny_model):
    findings(FINE)
    said = cli("doctor", "--roofline", "-m", tiny_model, "--dtype", "float32", "--threads", "1", "--json")
    told = json.loads(said.out)["roofline"]
    speed = told["bandwidth"]["bytes_per_second"]
    assert [step["width"] for step in told["profiles"]["float32"]] == list(roofline.WIDTHS)
    for step in told["profiles"]["float32"]:
        assert step["bandwidth_fraction"] == pytest.approx(step["weight_bytes"] / speed / step["seconds"])
        assert sum(part["seconds"] for part in step["parts"]) == pytest.approx(step["seconds"])
        for part in step["parts"]:
            bound = part["weight_bytes"] > 0 and part["seconds"] > 0
            assert (part["bandwidth_fraction"] is not None) is bound
        reading = [part["name"] for part in step["parts"] if part["weight_bytes"]]
        assert [name.split()[0].strip(",") for name in reading] == ["attention", "MLP", "head"]


@pytest.mark.parametrize("flag", [("--model", "x"), ("--dtype", "float32"), ("--threads", "2")])
def test_what_only_the_roofline_takes_is_refused_without_it(cli, findings, flag):
    findings(FINE)
    said = cli("doctor", *flag)
    assert said.code == 2
    assert said.error == f"lsbench: {flag[0]} says what --roofline measures; add --roofline"


def test_a_misspelt_dtype_gets_the_nearest(cli, findings):
    findings(FINE)
    said = cli("doctor", "--roofline", "--dtype", "bflot16")
    assert said.code == 2
    assert "Did you mean 'bfloat16'" in said.err


def test_help_shows_what_holds_when_nothing_is_given(cli):
    said = cli("doctor", "--help")
    for default in ("[smollm2-135m-instruct]", "[float32, bfloat16]", "[auto]", "[torch's choice]"):
        assert default in " ".join(said.out.split())
