"""At which widths a run's steps are to be timed: those that its strategies took while warming up."""

from __future__ import annotations

from lsbench.records import SampleRecord

DRAFTING_WIDTHS = (1, 2, 3, 5, 9, 17)
"""Verifying K drafts takes K + 1 tokens together; what lies between is interpolated."""
_RIDING = 9
"""The widest step that is timed where older positions ride along with a new token."""


def widths_up_to(rows: int) -> tuple[int, ...]:
    """Widths between which steps of up to so many rows lie: those of a batch, or of older positions that ride
    along with a new token."""
    return (
        tuple(width for width in DRAFTING_WIDTHS if width < rows)
        + tuple(width for width in DRAFTING_WIDTHS if width >= rows)[:1]
    )


class StepWidths:
    """What is known of the steps of some strategies.

    Args:
        num_layers: L.
    """

    def __init__(self, num_layers: int) -> None:
        self._num_layers = num_layers
        self._drafts: bool | None = None
        self._rides = False

    def see(self, record: SampleRecord) -> None:
        """Learn from a record of warming up."""
        self._drafts = self._drafts or record.drafted is not None
        self._rides = self._rides or self._may_ride(record)

    def of(self, batch_size: int) -> tuple[int, ...]:
        """Widths to be timed; all of them where nobody has run."""
        if self._drafts is not False:
            return DRAFTING_WIDTHS
        return widths_up_to(max(_RIDING if self._rides else 1, batch_size))

    def _may_ride(self, record: SampleRecord) -> bool:
        """Tokens of few layers whose keys and values were not filled wait for one of more, which may come
        only after the warm-up."""
        decoded = (record.layers_run or ())[1:]
        stopped = any(layers < self._num_layers for layers in decoded)
        return bool(record.older_rows) or (stopped and record.filled == 0 and len(set(decoded)) > 1)
