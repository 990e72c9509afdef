"""Texts that strategies calibrate on: written for lsbench and part of no task, so never the evaluated."""

from __future__ import annotations

CALIBRATION_TEXTS: tuple[str, ...] = (
    '''def moving_average(values: list[float], width: int) -> list[float]:
    """Average of every run of `width` neighbouring values, oldest first."""
    if width < 1:
        raise ValueError("width must be positive")
    total = sum(values[:width])
    averages = [total / width]
    for index in range(width, len(values)):
        total += values[index] - values[index - width]
        averages.append(total / width)
    return averages
''',
    '''class Inventory:
    """What a shop holds, by article number."""

    def __init__(self) -> None:
        self._stock: dict[str, int] = {}

    def receive(self, article: str, count: int) -> None:
        self._stock[article] = self._stock.get(article, 0) + count

    def sell(self, article: str, count: int) -> bool:
        if self._stock.get(article, 0) < count:
            return False
        self._stock[article] -= count
        return True
''',
    '''import csv
from pathlib import Path


def read_temperatures(path: Path) -> dict[str, list[float]]:
    """Group the readings of a weather log by station."""
    stations: dict[str, list[float]] = {}
    with path.open(newline="") as handle:
        for row in csv.DictReader(handle):
            stations.setdefault(row["station"], []).append(float(row["celsius"]))
    return stations
''',
    """The harbour wakes before the town does. By five the first boats have tied up along the north wall, and
the gulls have already argued over what falls from the nets. Nobody hurries. The auction bell will ring at
six, as it has every weekday since the war, and until then there is coffee from a flask and the same three
jokes about the harbour master's dog.
""",
    """Question: A train leaves the station at 14:10 and travels 96 kilometres at a steady 72 kilometres per
hour. At what time does it arrive?
Answer: Travelling 96 kilometres at 72 kilometres per hour takes 96 / 72 = 1.333 hours, which is one hour
and twenty minutes. The train arrives at 15:30.
""",
    """Yeast turns sugar into alcohol and carbon dioxide. In bread the alcohol evaporates in the oven, while
the gas stays behind in the dough, caught by a net of gluten, and makes it rise. A cool, slow rise gives the
yeast and the bacteria that live beside it more time, and so the loaf more flavour.
""",
    """function groupBy(items, keyOf) {
  const groups = new Map();
  for (const item of items) {
    const key = keyOf(item);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(item);
  }
  return groups;
}
""",
    '''def shortest_path(graph: dict[str, list[str]], start: str, goal: str) -> list[str] | None:
    """Fewest steps from start to goal, by breadth-first search; None when there is no way.

    >>> shortest_path({"a": ["b"], "b": ["c"], "c": []}, "a", "c")
    ['a', 'b', 'c']
    """
    came_from = {start: start}
    frontier = [start]
    while frontier:
        node = frontier.pop(0)
        if node == goal:
            path = [node]
            while node != start:
                node = came_from[node]
                path.append(node)
            return path[::-1]
        for neighbour in graph[node]:
            if neighbour not in came_from:
                came_from[neighbour] = node
                frontier.append(neighbour)
    return None
''',
)
