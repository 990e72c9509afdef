"""The front of a search: of its trials, those with both figures."""

from lsbench.tuning.pareto import trial_front


def test_only_trials_with_both_figures_count(make_trial):
    trials = [
        make_trial(0, speedup=1.5, quality=0.8),
        make_trial(1, speedup=1.2, quality=0.9),
        make_trial(2, speedup=1.1, quality=0.85),
        make_trial(3, speedup=9.0, quality=None),
        make_trial(4, speedup=None, quality=1.0),
        make_trial(5, speedup=9.0, quality=1.0, status="failed", reason="it crashed"),
    ]
    assert [trial.number for trial in trial_front(trials)] == [0, 1]
