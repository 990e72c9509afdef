from lsbench.metrics import Parity
from lsbench.report.belief import belief_notes
from lsbench.report.facts import RunFacts


def test_nothing_to_say_of_a_complete_run_without_notes(metrics_of, slower):
    assert belief_notes(metrics_of(slower)) == []


def test_an_unfinished_run_says_so_first(metrics_of, slower):
    notes = ("other",)
    assert belief_notes(metrics_of(slower, status="interrupted", notes=notes))[0].startswith(
        "This run was inter"
    )
    assert belief_notes(metrics_of(slower, status="running", notes=notes))[0].startswith(
        "This run is not finished"
    )
    failed = belief_notes(metrics_of(slower, status="failed_samples", notes=notes))
    assert failed == ["Some samples failed: figures leave them out.", "other"]


def test_a_broken_claim_is_told(metrics_of, slower):
    broken = slower.model_copy(
        update={"lossless": True, "parity": Parity(compared=20, identical=18, numerical_ties=0, violations=2)}
    )
    assert belief_notes(metrics_of(broken, notes=("other",))) == [
        "dynamic_skip claims to be lossless and is not: 2 of 20 outputs differ from the baseline's.",
        "other",
    ]


def test_a_refuted_distribution_is_told(metrics_of, certified):
    assert belief_notes(metrics_of(certified(0.3))) == []
    assert belief_notes(metrics_of(certified(1.23e-9))) == [
        "dynamic_skip claims to be lossless and is not: what it samples does not have the full model's "
        "distribution (p = 1.2e-09)."
    ]


def test_notes_of_metrics_and_manifest_are_joined_without_repeats(metrics_of, slower):
    facts = RunFacts(notes=("limits only", "resumed\n once", " "))
    assert belief_notes(metrics_of(slower, notes=("limits only", "noisy")), facts) == [
        "limits only",
        "noisy",
        "resumed once",
    ]
