"""Why a replica cannot go on, said from what Ray says of its ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsbench.engine.agreement import Disagreement
from lsbench.errors import BadInput
from lsbench.execution.cluster.rank import Where
from lsbench.execution.lines import reason

_HOST_GONE = "node has died"
"""As Ray words it (2.60)."""


class Lost(Exception):
    """A replica cannot go on: a process of it died, failed, or is silent.

    Attributes:
        reason: in one line.
        trace: of the rank that failed, where one did.
    """

    def __init__(self, reason: str, trace: str = "") -> None:
        super().__init__(reason)
        self.reason, self.trace = reason, trace


@dataclass(frozen=True)
class Failure:
    """One rank that did not answer what it was asked.

    Attributes:
        rank: which.
        what: it was asked.
        error: as Ray gives it.
    """

    rank: int
    what: str
    error: Exception

    @property
    def cause(self) -> Exception:
        """What the rank itself raised; Ray's own error where the process is gone."""
        cause = getattr(self.error, "cause", None)
        return cause if isinstance(cause, Exception) else self.error

    @property
    def died(self) -> bool:
        """Whether the process is gone, rather than having raised something."""
        return self.cause is self.error


def verdict(failures: Sequence[Failure], replica: int, wheres: Mapping[int, Where]) -> BadInput | Lost:
    """What to raise for what failed together: the death of one rank fails the others, and is the cause.

    Args:
        failures: at least one, in the order in which they were heard of.
        replica: which one.
        wheres: the processes of its ranks, as far as they are known.
    """
    for failure in failures:
        if failure.what in ("meet", "load", "prepare", "change") and isinstance(failure.cause, BadInput):
            return failure.cause
    told = min(failures, key=_weight)
    who = f"rank {told.rank} of replica {replica}"
    if not told.died:
        return Lost(f"{who} failed: {reason(told.cause)}", str(told.error))
    where = wheres.get(told.rank)
    process = f" (process {where.pid} on {where.host})" if where is not None else ""
    return Lost(f"{who} died{process}{_known_cause(told.error)}")


def _weight(failure: Failure) -> int:
    """The likelier cause of the others comes first."""
    if failure.died:
        return 0
    return 1 if isinstance(failure.cause, Disagreement) else 2


def _known_cause(error: Exception) -> str:
    from ray.exceptions import OutOfMemoryError

    if isinstance(error, OutOfMemoryError):
        return ": its host ran out of memory"
    return ": its host is gone" if _HOST_GONE in str(error) else ""
