import re

import pytest

from lsbench.errors import BadInput
from lsbench.report.facts import run_facts
from lsbench.report.folder import write_reports
from lsbench.spec import RunSpec, StrategyChoice
from lsbench.store.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path, metrics_of, slower, record_of):
    choice = StrategyChoice(name="dynamic_skip", options={"max_skip_ratio": 0.3})
    spec = RunSpec(strategies=(choice,), tasks=("humaneval", "humaneval_bpb"), limit=8)
    with RunFolder.create(tmp_path, spec, threads=2) as made:
        made.add_notes("The sandbox could only limit resources.")
        made.update_manifest(sandbox="limits")
        made.append(record_of("autoregressive", "return 13"))
        made.append(record_of("dynamic_skip", "return 12"))
        yield made


def test_reports_are_made_from_the_folder_alone(folder, metrics_of, slower):
    folder.write_metrics(metrics_of(slower))
    reopened = RunFolder.open(folder.path)
    assert write_reports(reopened) == ("report.html", "report.md")
    html = (folder.path / "report.html").read_text(encoding="utf-8")
    markdown = (folder.path / "report.md").read_text(encoding="utf-8")
    for text in (html, markdown):
        assert "dynamic_skip: slower here, 0.93×" in text
        assert "The sandbox could only limit resources." in text
        assert "dynamic_skip:max_skip_ratio=0.3" in text
    assert "return 1<mark>2</mark>" in html
    first = html
    write_reports(reopened)
    assert (folder.path / "report.html").read_text(encoding="utf-8") == first


def test_a_run_without_metrics_is_refused_with_a_way_on(folder):
    with pytest.raises(BadInput, match=rf"{re.escape(folder.run_id)} has no metrics.json yet: .*--rescore"):
        write_reports(folder)


def test_facts_tell_what_was_asked_and_on_what(folder):
    facts = run_facts(folder.manifest)
    settings, machine, versions = dict(facts.settings), dict(facts.machine), dict(facts.versions)
    assert settings == {
        "strategies": "dynamic_skip:max_skip_ratio=0.3",
        "tasks": "humaneval, humaneval_bpb",
        "limit": "8",
        "seed": "0",
    }
    assert machine["threads"] == "2"
    assert machine["sandbox for generated code"] == "limits"
    assert machine["memory"].endswith("GiB")
    assert versions["lsbench"] != "not installed"
    assert facts.notes == ("The sandbox could only limit resources.",)
    assert f'"run_id": "{folder.run_id}"' in facts.manifest
