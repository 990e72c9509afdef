"""Speed against quality drawn in characters, for a terminal or a log."""

from __future__ import annotations

from lsbench.comparison import Front
from lsbench.report import figures

_WIDTH = 64
_HEIGHT = 11
_MARGIN = 10
"""Columns for the figures beside the vertical axis."""


def front_picture(front: Front, width: int = _MARGIN + _WIDTH) -> str:
    """Rows' keys where they stand, those on the front with a star; the better quality is always above.

    Args:
        front: at least one point.
        width: columns there are; never fewer than 40 are used.
    """
    columns = max(40, min(width, _MARGIN + _WIDTH)) - _MARGIN - 1
    canvas = [[" "] * columns for _ in range(_HEIGHT)]
    speeds = [point.speedup for point in front.points]
    # What is better is above, whichever way the figure counts.
    sign = 1 if front.higher_is_better else -1
    heights = [sign * point.quality for point in front.points]
    for point in sorted(front.points, key=lambda point: point.on_front, reverse=True):
        mark = f"{point.row}*" if point.on_front else point.row
        column = _place(point.speedup, speeds, columns - len(mark))
        line = _HEIGHT - 1 - _place(sign * point.quality, heights, _HEIGHT - 1)
        _put(canvas, line, column, mark)
    top, bottom = sign * max(heights), sign * min(heights)
    decimals = figures.decimals_for(top, bottom)
    beside = {0: figures.score(top, None, decimals), _HEIGHT - 1: figures.score(bottom, None, decimals)}
    lines = [
        f"{beside.get(number, ''):>{_MARGIN - 1}} |{''.join(row)}".rstrip()
        for number, row in enumerate(canvas)
    ]
    slowest, fastest = figures.ratio(min(speeds)), figures.ratio(max(speeds))
    foot = slowest + "speedup".center(columns - len(slowest) - len(fastest)) + fastest
    return "\n".join([*lines, f"{'':>{_MARGIN}}+{'-' * columns}", f"{'':>{_MARGIN + 1}}{foot}".rstrip()])


def _place(value: float, values: list[float], most: int) -> int:
    low, high = min(values), max(values)
    return round((value - low) / (high - low) * most) if high > low else most // 2


def _put(canvas: list[list[str]], line: int, column: int, mark: str) -> None:
    """Where it belongs, or in the nearest free place: rows below, then above, then to the right."""
    columns = len(canvas[0])
    for distance in range(columns):
        for row, start in ((line + distance, column), (line - distance, column), (line, column + distance)):
            free = 0 <= row < len(canvas) and 0 <= start <= columns - len(mark)
            # A blank on either side keeps keys apart.
            around = canvas[row][max(0, start - 1) : start + len(mark) + 1] if free else ["x"]
            if all(cell == " " for cell in around):
                canvas[row][start : start + len(mark)] = list(mark)
                return
