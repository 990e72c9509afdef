"""Speed while a run goes on: cheap enough to show after every request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain

from lsbench.measurement.pairing import Pair, comparable_in_time, pair_up
from lsbench.measurement.timing import speedup_so_far
from lsbench.records import SampleRecord

_Group = tuple[object, ...]


class SpeedSoFar:
    """Each strategy's speedup over everything that was timed under both it and the baseline.

    Records may come in any order, and from several replicas at once.

    Args:
        baseline: its label.
        labels: of the strategies.
        records: that are there already.
    """

    def __init__(self, baseline: str, labels: Sequence[str], records: Iterable[SampleRecord] = ()) -> None:
        self._baseline = baseline
        self._records: defaultdict[_Group, list[SampleRecord]] = defaultdict(list)
        self._pairs: dict[str, dict[_Group, tuple[Pair, ...]]] = {label: {} for label in labels}
        for record in records:
            self._keep(record)
        for group in self._records:
            self._pair(group, self._pairs)

    def add(self, record: SampleRecord) -> None:
        """Take a record as soon as it is there."""
        if record.kind == "generate":
            group = self._keep(record)
            self._pair(group, self._pairs if record.label == self._baseline else (record.label,))

    def of(self, label: str) -> float | None:
        """Baseline over strategy, in seconds per decoded token; None without pairs."""
        pairs = list(chain.from_iterable(self._pairs.get(label, {}).values()))
        return speedup_so_far(pairs)

    def _keep(self, record: SampleRecord) -> _Group:
        group = _group(record)
        self._records[group].append(record)
        return group

    def _pair(self, group: _Group, labels: Iterable[str]) -> None:
        """Only what was timed together is looked at again."""
        for label in labels:
            if label in self._pairs:
                pairing = pair_up(self._records[group], self._baseline, label)
                self._pairs[label][group] = comparable_in_time(pairing).pairs


def _group(record: SampleRecord) -> _Group:
    """What is paired as one: a request, or a batch of them."""
    if record.batch is None:
        return record.task, "alone", record.doc_id, record.idx, record.repeat
    return record.task, "batch", record.batch, record.repeat
