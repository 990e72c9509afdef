"""The front: nothing on it is beaten, everything off it is."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lsbench.tuning.pareto import front, trial_front

# Few different values, so that ties are common.
figures = st.integers(0, 6).map(float)


@settings(max_examples=60)
@given(st.lists(st.tuples(figures, figures), max_size=25))
def test_the_front_is_what_its_definition_says(points):
    def beats(one: int, other: int) -> bool:
        (speed, quality), (speed2, quality2) = points[one], points[other]
        return speed >= speed2 and quality >= quality2 and points[one] != points[other]

    every = range(len(points))
    unbeaten = [place for place in every if not any(beats(other, place) for other in every)]
    firsts = [place for place in unbeaten if points.index(points[place]) == place]
    found = front(points)
    assert sorted(found) == firsts
    assert [points[place][0] for place in found] == sorted((points[p][0] for p in found), reverse=True)


def test_ties_go_to_the_first_wherever_they_stand():
    assert front([(1.0, 0.5), (2.0, 0.5), (2.0, 0.5), (1.0, 0.9), (1.0, 0.9)]) == [1, 3]
    assert front([]) == []


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
