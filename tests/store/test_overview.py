from __future__ import annotations

from lsbench.store.overview import StrategyOutcome, folder_bytes, strategy_outcomes
from support.stored_runs import Made, make_run

PASSED = (True,) * 6


def test_what_came_of_each_strategy_in_the_order_asked(tmp_path):
    made = {"autoregressive": [2.5] * 6, "dynamic_skip": [1.25] * 6, "static_exit:exit_layer=2": [10] * 6}
    folder = make_run(tmp_path, {label: Made(seconds, PASSED) for label, seconds in made.items()})
    labels = ("static_exit:exit_layer=2", "dynamic_skip", "never_run")
    assert strategy_outcomes(folder.path, labels) == (
        StrategyOutcome("static_exit:exit_layer=2", 0.25, (0.25, 0.25), "slower"),
        StrategyOutcome("dynamic_skip", 2, (2, 2), "faster"),
        StrategyOutcome("never_run"),
    )


def test_too_few_prompts_have_no_verdict_and_damage_is_no_reason_to_stop(tmp_path):
    folder = make_run(tmp_path, {label: Made([1], (True,)) for label in ("autoregressive", "dynamic_skip")})
    assert strategy_outcomes(folder.path, ["dynamic_skip"]) == (StrategyOutcome("dynamic_skip", 1.0),)
    for damaged in ("{", "[]", '{"strategies": [{}]}'):
        (folder.path / "metrics.json").write_text(damaged)
        assert strategy_outcomes(folder.path, ["dynamic_skip"]) == (StrategyOutcome("dynamic_skip"),)


def test_size_counts_every_file_below(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 10)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "b").write_bytes(b"x" * 7)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert folder_bytes(tmp_path) == 17 + (tmp_path / "gone").lstat().st_size
