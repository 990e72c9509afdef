"""What no other beats in both of two figures."""

from __future__ import annotations

from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which points are on the front of two figures, each the better the larger.

    A point is on it unless another is at least as good in both and better in one. Of points that are alike
    in both the first stands for all.

    Args:
        points: speed and quality of each.

    Returns:
        their places in ``points``, fastest first; quality then rises strictly from one to the next.
    """
    # A stable sort: of points that are alike, the first comes first and the others are then no better.
    order = sorted(range(len(points)), key=lambda place: (-points[place][0], -points[place][1]))
    found: list[int] = []
    for place in order:
        if not found or points[place][1] > points[found[-1]][1]:
            found.append(place)
    return found
