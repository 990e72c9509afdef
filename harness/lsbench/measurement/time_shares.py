"""Where the seconds of decoding went: what was done, times what it costs once, against the time that it took.

For the baseline as for every strategy, in their own seconds, so that bars of both can stand side by side.
What ``Ceiling.remainder`` calls the rest is less: there the baseline's own rest has been taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from lsbench.measurement.ceiling import Work, alone_of, cost_at, seconds_beside, work_of
from lsbench.metrics import TimeShares
from lsbench.records import SampleRecord, StepCost


def time_shares(
    records: Sequence[SampleRecord], costs: Sequence[StepCost], num_layers: int
) -> tuple[TimeShares | None, str | None]:
    """The shares of decode time, or why there are none.

    Args:
        records: the generations of one label.
        costs: of this machine, by width.
        num_layers: L.

    Returns:
        the shares and None; or None and the reason, in words that follow the label and a colon.
    """
    timed = [record for record in records if record.decode_s and len(record.token_ids or ()) > 1]
    reason = _why_not(timed, costs)
    if reason is not None:
        return None, reason
    work = work_of(timed, num_layers)
    alone = alone_of(costs)
    if work is None or alone is None or (work.drafted > 0 and len(costs) < 2):
        return None, "it does not tell all that its drafts ran"
    parts = _seconds(timed, work, costs, alone)
    whole_s = fsum(record.decode_s or 0.0 for record in timed)
    shares = {name: None if seconds is None else seconds / whole_s for name, seconds in parts.items()}
    other = 1 - fsum(share for share in shares.values() if share is not None)
    return TimeShares(**shares, other=other), None


def _why_not(timed: Sequence[SampleRecord], costs: Sequence[StepCost]) -> str | None:
    if not timed:
        return "nothing was decoded after a first token"
    if any(record.layers_run is None for record in timed):
        return "it decodes in a loop of its own, which does not tell what it runs"
    if any(record.batch is not None for record in timed):
        return "sequences decoded together, and which of them shared a step is not recorded"
    if not costs:
        return "what the parts of a step cost was not measured"
    return None


def _seconds(
    records: Sequence[SampleRecord], work: Work, costs: Sequence[StepCost], alone: StepCost
) -> dict[str, float | None]:
    """Of each part of ``TimeShares`` but the rest; None where it cannot be told."""
    decoded = sum(len(record.layers_run or ()) - 1 for record in records)
    accepted = sum(record.accepted or 0 for record in records)
    cycles = decoded / work.tokens
    together = cost_at(costs, work.drafted + 1)
    drafted = cycles * work.drafted
    steps = drafted if work.draft_layers > 0 else 0.0
    beside = seconds_beside(records, costs)
    layers = work.resumed_layers * alone.layer_s + (work.layers - work.resumed_layers) * together.layer_s
    return {
        "draft_layers": drafted * work.draft_layers * alone.layer_s,
        "draft_heads": steps * work.draft_head * alone.head_s,
        "layers": cycles * layers,
        "head": cycles * together.head_s,
        "fixed": cycles * together.fixed_s + steps * alone.fixed_s,
        "checks": None if beside is None else beside.checks_s,
        "kv_fill": None if beside is None else beside.kv_fill_s,
        # Each drafted token is drawn, and each that no draft gave.
        "sampling": None if alone.draw_s is None else (drafted + decoded - accepted) * alone.draw_s,
    }
