"""A run that goes on where it stopped, and one that is scored again."""

import json
from pathlib import Path

import pytest

from lsbench import pipeline
from lsbench.errors import BadInput
from lsbench.report.live import LiveView
from lsbench.store.run_folder import RunFolder
from support.runs import go, lines_of

pytestmark = pytest.mark.usefixtures("one_thread")


def torn(finished: RunFolder, tmp_path: Path, lines: int, half: bool) -> RunFolder:
    """What a run killed after ``lines`` samples leaves behind."""
    left = tmp_path / finished.run_id
    left.mkdir()
    manifest = json.loads((finished.path / "manifest.json").read_text())
    (left / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    written = (finished.path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (left / "samples.jsonl").write_bytes(b"".join(written[:lines]) + (written[lines][:80] if half else b""))
    return RunFolder.open(left)


def answers(records):
    return {
        r.key: (r.token_ids, r.text, r.stop_reason, r.layers_run, r.logprob, r.is_greedy, r.agreement)
        for r in records
    }


@pytest.mark.parametrize(
    "lines", [6, *(pytest.param(lines, marks=pytest.mark.slow) for lines in (0, 1, 40, -1))]
)
def test_a_stopped_run_goes_on_and_gives_the_same(lines, whole, tmp_path):
    before = lines_of(whole.folder.path)
    lines %= len(before)
    resumed = go(whole.folder.manifest.spec, torn(whole.folder, tmp_path, lines, half=True))
    after = lines_of(resumed.folder.path)
    assert after[:lines] == before[:lines]
    assert len(after) == len(before)
    assert {line["segment"] for line in after[lines:]} == {1}
    assert answers(resumed.folder.records()) == answers(whole.folder.records())
    assert resumed.metrics.status == "complete"
    for first, second in zip(whole.metrics.strategies, resumed.metrics.strategies, strict=True):
        assert (first.tasks, first.depth) == (second.tasks, second.depth)
        assert first.fidelity == second.fidelity
    assert resumed.metrics.baseline.tasks == whole.metrics.baseline.tasks


def test_data_that_has_changed_stops_a_resume(whole, tmp_path):
    folder = torn(whole.folder, tmp_path, 3, half=False)
    manifest = json.loads((folder.path / "manifest.json").read_text())
    manifest["data_sha256"]["tiny_stop"] = "0" * 64
    (folder.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match="tiny_stop"):
        go(folder.manifest.spec, RunFolder.open(folder.path))
    assert len(lines_of(folder.path)) == 3


def test_scoring_again_needs_no_weights(whole, tmp_path, monkeypatch):
    folder = torn(whole.folder, tmp_path, len(lines_of(whole.folder.path)), half=False)
    manifest = json.loads((whole.folder.path / "manifest.json").read_text())
    manifest["model"]["path"] = str(tmp_path / "gone")
    (folder.path / "manifest.json").write_text(json.dumps(manifest))
    again = pipeline.rescore(RunFolder.open(folder.path), LiveView(quiet=True))
    assert again.metrics == whole.metrics


def test_scoring_a_stopped_run_counts_what_is_missing(whole, tmp_path):
    folder = torn(whole.folder, tmp_path, 12, half=True)
    outcome = pipeline.rescore(folder, LiveView(quiet=True))
    assert outcome.metrics.status == "interrupted"
    assert (folder.path / "report.html").is_file()
    (tmp_path / "empty").mkdir()
    empty = torn(whole.folder, tmp_path / "empty", 0, half=False)
    with pytest.raises(BadInput, match="no finished request"):
        pipeline.rescore(empty, LiveView(quiet=True))


def test_progress_counts_every_request_once(spec_for, monkeypatch):
    seen = []

    class Watching(LiveView):
        def start(self, total_requests, done_already=0):
            seen.append((total_requests, done_already))

        def request_done(self, *args, **figures):
            seen.append(args)

    spec = spec_for("static_exit:exit_layer=2", tasks=("tiny_generate",), limit=2)
    outcome = pipeline.run(spec, Watching(quiet=True))
    (total, done), *requests = seen
    assert (total, done) == (4, 0)
    assert len(requests) == 4
    seen.clear()
    pipeline.run(spec, Watching(quiet=True), RunFolder.open(outcome.folder.path))
    assert seen == [(4, 4)]
