"""The front: nothing on it is beaten, everything off it is."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lsbench.measurement.pareto import front

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
