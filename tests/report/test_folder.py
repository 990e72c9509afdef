import re

import pytest

from lsbench.errors import BadInput
from lsbench.report.facts import run_facts
from lsbench.report.folder import write_reports
from lsbench.spec import RunSpec, StrategyChoice
from lsbench.store.placement import HostFacts, PlacementFacts, RankFacts
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
    assert "The only one of the run." in html
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


def test_facts_tell_where_processes_ran(folder):
    assert "processes" not in dict(run_facts(folder.manifest).machine)
    ranks = [RankFacts(replica=copy, rank=rank, host="ab"[copy]) for copy in range(2) for rank in range(2)]
    placement = PlacementFacts(
        segment=0,
        backend="ray",
        tensor_parallel=2,
        replicas=2,
        threads_per_rank=1,
        shared_cores=True,
        hosts=tuple(HostFacts(name=name, cores=2, gpus=0, memory_bytes=1 << 30) for name in "abc"),
        ranks=tuple(ranks),
    )
    machine = dict(run_facts(folder.update_manifest(placements=(placement,))).machine)
    assert machine["processes"] == (
        "2 replicas of 2 ranks, placed by Ray, 1 thread a rank, sharing cores or memory"
    )
    assert machine["hosts"] == ("a (2 cores): replica 0; b (2 cores): replica 1; c (2 cores): no replica")
