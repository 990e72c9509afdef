from lsbench.report.facts import RunFacts
from lsbench.report.markdown import markdown_report


def tables(text: str) -> list[list[str]]:
    blocks = [block.splitlines() for block in text.split("\n\n")]
    return [block for block in blocks if block[0].startswith("|")]


def test_everything_is_there(metrics_of, slower):
    facts = RunFacts(started="2026-01-01 12:00 UTC", machine=(("processor", "Z80"),), notes=("limits only",))
    text = markdown_report(metrics_of(slower, notes=("Two halves differ by 6%.",)), facts)
    assert text.startswith(
        "# lsbench: smollm2-135m-instruct, 30 layers, float32\n\nRun 20260101-1200-abc, 2026-01-01"
    )
    for part in [
        "- dynamic_skip: slower here, 0.93× (0.91–0.95); it keeps 71% (69–73%)",
        "| speedup | 1× | 0.93× (0.91–0.95), slower |",
        "| humaneval pass@1 | 0.000 ± 0.000 | 0.000 ± 0.000, cannot tell them apart |",
        "| humaneval_bpb bits_per_byte ↓ | 0.612 ± 0.020 | 0.701 ± 0.030, +0.089",
        "| token agreement | — | 71% (69–73%) |",
        "differ by 6%",
        "- limits only",
        "- processor: Z80",
    ]:
        assert part in text
    assert "None" not in text


def test_tables_are_rectangular_whatever_names_hold(metrics_of, slower, scores_only):
    hostile = slower.model_copy(
        update={"options": {"x": "a|b\nc"}, "tasks": {"t|u\n| v": slower.tasks["humaneval_bpb"]}}
    )
    found = tables(markdown_report(metrics_of(hostile, scores_only)))
    assert len(found) == 4
    for table in found:
        assert {line.replace("\\|", "").count("|") for line in table} == {5}


def test_html_and_emphasis_are_defused(metrics_of, slower):
    text = markdown_report(metrics_of(slower, notes=("<script>*x* `y` [z](http://w)",)))
    assert r"&lt;script&gt;\*x\* \`y\` \[z\](http://w)" in text
    assert "<" not in text


def test_a_run_of_the_baseline_alone(metrics_of):
    assert "- Only the baseline was run." in markdown_report(metrics_of())
