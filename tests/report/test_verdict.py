import pytest

from lsbench.metrics import Difference, Measured, Parity, Speedup, TaskScores
from lsbench.report.verdict import claim_failed, verdict_sentences


def one(metrics) -> str:
    (sentence,) = verdict_sentences(metrics)
    return sentence


def scores(value, difference, metric="pass@1", **more) -> TaskScores:
    fields = {"n": 100, "failed": 0, "affected_by_strategy": True, "tells_apart": True}
    measured = {metric: Measured(value=value)}
    return TaskScores(
        **(fields | more), metrics=measured, difference={metric: difference} if difference else {}
    )


def test_slower_on_a_task_that_cannot_tell(metrics_of, slower):
    assert one(metrics_of(slower)) == (
        "dynamic_skip: slower here, 0.93× (0.91–0.95); it keeps 71% (69–73%) of the baseline's tokens; "
        "humaneval cannot tell them apart because the baseline solves 0 of 8; "
        "humaneval_bpb is worse: bits_per_byte 0.612 → 0.701, +0.089 (+0.070 to +0.108), lower is better."
    )


@pytest.mark.parametrize(
    ("speedup", "words"),
    [
        (Speedup(value=1.21, ci95=(1.18, 1.24), verdict="faster"), "faster here, 1.21× (1.18–1.24);"),
        (
            Speedup(value=1.01, ci95=(0.98, 1.04), verdict="no significant difference"),
            "no significant difference in speed, 1.01× (0.98–1.04);",
        ),
        (
            Speedup(value=1.3, ci95=None, verdict="no significant difference"),
            "1.30× over 1 prompt, too few to say faster or slower;",
        ),
        (None, "speed not comparable (no prompt was timed under both in one process);"),
    ],
)
def test_each_outcome_in_speed_has_its_words(metrics_of, with_speedup, speedup, words):
    assert one(metrics_of(with_speedup(speedup, pairs=1))).startswith(f"dynamic_skip: {words}")


def test_a_gain_smaller_than_the_noise_is_called_so(metrics_of, with_speedup):
    faster = with_speedup(Speedup(value=1.04, ci95=(1.01, 1.07), verdict="faster"))
    assert "within this noisy machine's own swing" in one(metrics_of(faster, noise=0.08))
    assert "noisy" not in one(metrics_of(faster, noise=0.03))
    much = with_speedup(Speedup(value=1.5, ci95=(1.4, 1.6), verdict="faster"))
    assert "noisy" not in one(metrics_of(much, noise=0.08))


def test_scores_alone_have_no_speed(metrics_of, scores_only):
    sentence = one(metrics_of(scores_only))
    assert sentence.startswith(
        "static_exit:exit_layer=20: no speed to compare (nothing was generated); humaneval_bpb"
    )
    assert "tokens" not in sentence


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            scores(0.30, Difference(value=-0.2, ci95=(-0.3, -0.1), p_value=0.001)),
            "is worse: pass@1 0.500 → 0.300, −0.200 (−0.300 to −0.100), p = 0.001.",
        ),
        (
            scores(0.60, Difference(value=0.1, ci95=(0.01, 0.19))),
            "is better: pass@1 0.500 → 0.600, +0.100 (+0.010",
        ),
        # McNemar's test decides a pass/fail task, not the interval.
        (
            scores(0.45, Difference(value=-0.05, ci95=(-0.1, -0.01), p_value=0.06)),
            "shows no significant difference: pass@1 0.500 → 0.450",
        ),
        (scores(0.45, Difference(value=-0.05)), "has no interval to judge by: pass@1 0.500 → 0.450, −0.050."),
        (scores(0.45, None), "pass@1 is 0.450."),
        (scores(0.5, None, affected_by_strategy=False), "is not affected by it."),
        (scores(0.5, None, failed=100), "has no score because all 100 samples failed."),
        (
            scores(0.5, Difference(value=0), tells_apart=False),
            "cannot tell them apart because its score is the same for both on these 100 samples.",
        ),
    ],
)
def test_each_outcome_in_quality_has_its_words(metrics_of, with_scores, given, words):
    metrics = metrics_of(with_scores(given), tasks={"humaneval": {"pass@1": Measured(value=0.5)}})
    assert f"; humaneval {words}" in one(metrics)


def test_a_task_without_anything_to_compare_says_so(metrics_of, with_scores):
    alone = with_scores(scores(0.5, None, tells_apart=False))
    assert "apart because the baseline has no score for it" in one(metrics_of(alone, tasks={}))
    metrics = metrics_of(alone, tasks={"humaneval": {"pass@1": Measured(value=0.5)}})
    assert "apart because both have no scored sample in common" in one(metrics)


def test_a_baseline_that_solves_all_cannot_tell_either(metrics_of, with_scores):
    strategy = with_scores(scores(1, Difference(value=0), tells_apart=False))
    metrics = metrics_of(strategy, tasks={"humaneval": {"pass@1": Measured(value=1)}})
    assert "because both solve all 100" in one(metrics)


def test_a_lossless_strategy_is_told_by_its_parity(metrics_of, slower):
    kept = slower.model_copy(
        update={"lossless": True, "parity": Parity(compared=20, identical=19, numerical_ties=1, violations=0)}
    )
    assert "lossless as claimed: 19 of 20 outputs identical to the baseline's, 1 parted at" in one(
        metrics_of(kept)
    )
    broken = kept.model_copy(
        update={"parity": Parity(compared=20, identical=18, numerical_ties=0, violations=2)}
    )
    assert "its claim to be lossless FAILED: 2 of 20 outputs differ" in one(metrics_of(broken))


def test_a_sampled_claim_is_told_by_its_certificate(metrics_of, certified):
    assert (
        "lossless as claimed, as far as 1234 sampled tokens can tell (chi-square p = 0.3; a shift of 10% "
        "would have shown)"
    ) in one(metrics_of(certified(0.3)))
    refuted = certified(1.23e-9)
    assert (
        "its claim to be lossless FAILED: its samples are not distributed as the full model's "
        "(chi-square p = 1.2e-09, over 1234 sampled tokens)"
    ) in one(metrics_of(refuted))
    assert [claim_failed(certified(p)) for p in (0.3, 1.23e-9)] == [False, True]


def test_many_tasks_are_counted_not_listed(metrics_of, slower, scores_only):
    bits = scores_only.tasks["humaneval_bpb"]
    many = slower.model_copy(update={"tasks": {f"task{i}": bits for i in range(5)}})
    assert one(metrics_of(many)).endswith("; 2 more tasks in the table.")


def test_one_sentence_for_each_strategy_in_order(metrics_of, slower, scores_only):
    sentences = verdict_sentences(metrics_of(scores_only, slower))
    assert [sentence.split(":")[0] for sentence in sentences] == ["static_exit", "dynamic_skip"]
    assert verdict_sentences(metrics_of()) == []
