from __future__ import annotations

from lsbench.comparison import Front, FrontPoint
from lsbench.report.front_picture import front_picture


def picture(points: list[tuple[str, float, float, bool]], higher_is_better: bool = True) -> list[str]:
    made = tuple(
        FrontPoint(row=row, speedup=speed, speedup_ci95=None, quality=quality, on_front=on)
        for row, speed, quality, on in points
    )
    return front_picture(Front(quality="x", higher_is_better=higher_is_better, points=made)).splitlines()


def where(lines: list[str], mark: str) -> tuple[int, int]:
    ((row, column),) = [(row, line.index(mark)) for row, line in enumerate(lines) if mark in line]
    return row, column


def test_the_faster_stands_right_and_the_better_above():
    lines = picture([("A1", 2.0, 0.2, True), ("A0", 1.0, 0.9, True), ("B1", 1.5, 0.55, False)])
    (fast, right), (best, left), (middle, between) = (where(lines, mark) for mark in ("A1*", "A0*", "B1"))
    assert (best, middle, fast) == (0, 5, 10)
    assert left < between < right
    assert lines[0].startswith("    0.900 |")
    assert lines[-1].split() == ["1.00×", "speedup", "2.00×"]


def test_where_lower_is_better_the_lowest_is_above():
    lines = picture([("A1", 2.0, 0.9, True), ("A0", 1.0, 0.3, True)], higher_is_better=False)
    assert (where(lines, "A0*")[0], where(lines, "A1*")[0]) == (0, 10)
    assert lines[0].startswith("    0.300 |")


def test_points_in_one_place_are_all_seen():
    lines = picture([(f"A{number}", 1.0, 0.5, False) for number in range(9)])
    assert all(any(f"A{number}" in line for line in lines) for number in range(9))
