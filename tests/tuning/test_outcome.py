"""What a search may claim."""

import pytest
import yaml

from lsbench.cli.flags import build_spec
from lsbench.spec import RunSpec, parse_strategy
from lsbench.tuning.outcome import NOTHING_BETTER, best_yaml, decide, holds_floor


@pytest.fixture
def finalist(make_trial):
    def make(number=0, speedup=1.2, interval=(1.1, 1.3), **changes):
        given = {"documents": "final", "speedup": speedup, "speedup_ci95": interval, **changes}
        return make_trial(number, **given)

    return make


def test_the_fastest_that_is_faster_for_certain_wins(finalist):
    trials = [
        finalist(0, 1.25, (0.99, 1.5)),
        finalist(1, 1.2),
        finalist(2, 1.15, (1.1, 1.2), origin="default"),
    ]
    outcome = decide(trials)
    assert outcome.best is trials[1]
    assert outcome.beats_baseline
    assert outcome.words.startswith(
        "static_exit:exit_layer=21 is 1.200 × as fast as the baseline (95 % 1.100 to 1.300)"
    )
    assert "on 20 prompts that the search never saw" in outcome.words
    assert [reason.partition(":")[0] for reason in outcome.reasons] == ["static_exit"] * 3
    assert "(no significant difference)" in outcome.reasons[0]


def test_equally_fast_ones_go_to_the_first(finalist):
    trials = [finalist(4), finalist(2)]
    assert decide(trials).best is trials[0]


def test_no_configuration_beats_the_baseline(finalist):
    trials = [finalist(0, 1.02, (0.97, 1.07)), finalist(1, 0.9, (0.85, 0.95), origin="default")]
    outcome = decide(trials)
    assert NOTHING_BETTER == "no configuration beats the baseline here"
    assert outcome.words == NOTHING_BETTER
    assert not outcome.beats_baseline
    # It still says what came closest, which is what the configuration holds.
    assert outcome.best is trials[0]


def test_too_few_prompts_prove_nothing(finalist):
    outcome = decide([finalist(0, 2.0, None)])
    assert outcome.words == NOTHING_BETTER
    assert "too few prompts for an interval" in outcome.reasons[0]


def test_a_machine_that_swings_proves_less(finalist):
    assert decide([finalist(0)], swing=0.05).beats_baseline
    assert not decide([finalist(0)], swing=0.2).beats_baseline


def test_a_floor_is_held_by_the_bound_not_the_estimate(finalist):
    fast = finalist(0, 1.5, (1.4, 1.6), quality=0.99, quality_bound=0.96)
    safe = finalist(1, 1.2, (1.1, 1.3), quality=0.985, quality_bound=0.981)
    assert decide([fast, safe]).best is fast
    held = decide([fast, safe], min_quality=0.98)
    assert held.best is safe
    assert "its quality is 0.960, below the floor of 0.98" in held.reasons[0]
    neither = decide([fast], min_quality=0.98)
    assert neither.words == NOTHING_BETTER
    assert not holds_floor(finalist(0, quality=1.0, quality_bound=None), 0.5)
    assert holds_floor(finalist(0, quality=None, quality_bound=None), None)


def test_where_nothing_holds_the_floor_the_closest_to_it_is_kept(finalist):
    trials = [
        finalist(0, 1.9, (1.8, 2.0), quality_bound=0.5),
        finalist(1, 1.1, (1.05, 1.2), quality_bound=0.9),
    ]
    outcome = decide(trials, min_quality=0.95)
    assert outcome.best is trials[1]
    assert not outcome.beats_baseline


def test_finalists_that_failed_are_told_and_never_win(finalist):
    failed = finalist(0, None, None, status="failed", reason="out of memory")
    outcome = decide([failed])
    assert outcome.best is None
    assert outcome.words == NOTHING_BETTER
    assert outcome.reasons == ("static_exit:exit_layer=20 could not be timed: out of memory.",)
    assert decide([failed, finalist(1)]).beats_baseline
    with pytest.raises(ValueError, match="nothing to write"):
        best_yaml(RunSpec(strategies=(), tasks=("humaneval",)), outcome, "tune-1")


def test_only_final_timings_count(finalist, make_trial):
    with pytest.raises(ValueError, match="on tuning documents: no finalist"):
        decide([make_trial(0)])
    with pytest.raises(ValueError, match="was predicted"):
        decide([finalist(0, kind="predicted")])


def test_what_the_search_added_to_the_default_is_told(finalist):
    trials = [finalist(0, 1.3, (1.2, 1.4)), finalist(1, 1.1, (1.05, 1.2), origin="default")]
    assert (
        "and faster than the default (1.050 to 1.200" in decide(trials, winner_over_default=(1.05, 1.2)).words
    )
    assert "not for certain faster than the default" in decide(trials, winner_over_default=(0.9, 1.2)).words
    alone = decide([finalist(0, 1.0, (0.9, 1.1)), trials[1]])
    assert "it is the default, and the search found nothing faster" in alone.words


def test_the_best_configuration_is_one_that_run_takes(finalist, tmp_path):
    options = {
        "draft": "dynamic_skip",
        "draft.skip_set": ["3.mlp", 4],
        "draft.max_skip_ratio": 1e-05,
        "adaptive": False,
    }
    winner = finalist(0, strategy="self_speculative", options=options, label="self_speculative:...")
    spec = RunSpec(
        strategies=(parse_strategy("self_speculative"),),
        tasks=("humaneval",),
        limit=6,
        threads=2,
        dtype="float32",
    )
    text = best_yaml(spec, decide([winner]), "tune-1")
    assert text.startswith("# Found by lsbench tune, tune-1.\n# self_speculative:... is 1.200 ×")
    file = tmp_path / "best.yaml"
    file.write_text(text)
    read = build_spec({}, file)
    assert read == spec.model_copy(update={"strategies": (winner.choice,), "limit": None})
    assert build_spec({"limit": 20, "tasks": ["gsm8k"]}, file).limit == 20
    assert yaml.safe_load(text)["strategies"] == [{"name": "self_speculative", "options": options}]


def test_where_a_guarantee_was_asked_for_no_other_is_named(finalist):
    calibrated, default = finalist(0, 1.05, (0.98, 1.1)), finalist(1, 1.3, (1.2, 1.4), origin="default")
    assert decide([calibrated, default]).best is default
    outcome = decide([calibrated, default], guaranteed=calibrated.label)
    assert outcome.best is calibrated
    assert not outcome.beats_baseline
    assert outcome.words == NOTHING_BETTER
    faster = finalist(0, 1.1, (1.05, 1.15))
    outcome = decide([faster, default], guaranteed=faster.label)
    assert outcome.best is faster
    assert outcome.beats_baseline
