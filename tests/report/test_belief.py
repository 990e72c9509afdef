from lsbench.metrics import Parity, Speedup
from lsbench.report.belief import belief_notes
from lsbench.report.facts import RunFacts


def test_nothing_to_say_of_a_quiet_full_run(metrics_of, with_speedup, scores_only):
    strategy = with_speedup(Speedup(value=1.2, ci95=(1.1, 1.3), verdict="faster"), pairs=164)
    quiet = strategy.model_copy(update={"tasks": scores_only.tasks})
    assert belief_notes(metrics_of(quiet)) == []


def test_noise_is_told_with_its_size(metrics_of, slower):
    (note,) = [note for note in belief_notes(metrics_of(slower, noise=0.083)) if "nois" in note]
    assert "differ by 8%" in note
    assert not any("nois" in note for note in belief_notes(metrics_of(slower, noise=0.05)))
    assert not any("nois" in note for note in belief_notes(metrics_of(slower, noise=None)))


def test_noise_already_told_is_not_told_twice(metrics_of, slower):
    notes = belief_notes(metrics_of(slower, noise=0.083, notes=("The machine was noisy (8 %).",)))
    assert [note for note in notes if "nois" in note] == ["The machine was noisy (8 %)."]


def test_few_prompts_blind_tasks_and_failures_are_told(metrics_of, slower, scores_only):
    bits = scores_only.tasks["humaneval_bpb"].model_copy(update={"failed": 3})
    strategy = slower.model_copy(update={"tasks": slower.tasks | {"humaneval_bpb": bits}})
    assert belief_notes(metrics_of(strategy)) == [
        "Only 8 prompts were timed in pairs: intervals are rough; raise --limit for firm figures.",
        "dynamic_skip failed 3 of 8 samples of humaneval_bpb.",
        "humaneval cannot tell dynamic_skip from the baseline because the baseline solves 0 of 8: "
        "look at token agreement instead.",
    ]


def test_one_note_for_a_task_that_tells_nobody_apart(metrics_of, slower):
    other = slower.model_copy(update={"label": "dynamic_skip:max_skip_ratio=0.1"})
    notes = [note for note in belief_notes(metrics_of(slower, other)) if "cannot tell" in note]
    assert len(notes) == 1
    assert "humaneval cannot tell any strategy from the baseline" in notes[0]


def test_an_unfinished_run_says_so_first(metrics_of, slower):
    assert belief_notes(metrics_of(slower, status="interrupted"))[0].startswith("This run was interrupted")
    assert belief_notes(metrics_of(slower, status="running"))[0].startswith("This run is not finished")


def test_a_broken_claim_is_told(metrics_of, slower):
    broken = slower.model_copy(
        update={"lossless": True, "parity": Parity(compared=20, identical=18, numerical_ties=0, violations=2)}
    )
    assert belief_notes(metrics_of(broken))[0] == (
        "dynamic_skip claims to be lossless and is not: 2 of 20 outputs differ from the baseline's."
    )


def test_notes_of_metrics_and_manifest_are_joined_without_repeats(metrics_of, slower):
    facts = RunFacts(notes=("limits only", "resumed\n once"))
    notes = belief_notes(metrics_of(slower, notes=("limits only",)), facts)
    assert notes[:2] == ["limits only", "resumed once"]
    assert notes.count("limits only") == 1
