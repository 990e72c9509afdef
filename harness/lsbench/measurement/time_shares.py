"""Where the seconds of decoding went: what was done, times what it costs once, against the time that it took.

For the baseline as for every strategy, in their own seconds, so that bars of both can stand side by side.
What ``Ceiling.remainder`` calls the rest is less: there the baseline's own rest has been taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, zip_longest
from math import fsum

from lsbench.measurement.ceiling import alone_of, cost_at, seconds_beside, work_of
from lsbench.measurement.timing import Totals, decoded_together, token_count
from lsbench.metrics import TimeShares
from lsbench.records import LoopTimes, SampleRecord, StepCost

Seconds = dict[str, float | None]
"""Of each part of ``TimeShares`` but the rest; None where it cannot be told."""


def time_shares(
    records: Sequence[SampleRecord],
    costs: Sequence[StepCost],
    num_layers: int,
    watched: Sequence[LoopTimes] = (),
) -> tuple[TimeShares | None, str | None]:
    """The shares of decode time, or why there are none.

    Args:
        records: the generations of one label.
        costs: of this machine, by width.
        num_layers: L.
        watched: loops that are not the engine's.

    Returns:
        the shares and None; or None and the reason, in words that follow the label and a colon.
    """
    timed = [record for record in records if record.decode_s and token_count(record) > 1]
    if not timed:
        return None, "nothing was decoded after a first token"
    together = any(record.batch is not None for record in timed)
    if any(record.layers_run is None for record in timed):
        found = next((times for times in watched if times.label == timed[0].label), None)
        if found is None or together:
            return None, "it decodes in a loop of its own, which does not tell what it runs"
        return _of_a_loop(found), None
    if not costs:
        return None, "what the parts of a step cost was not measured"
    if together and any(record.drafted is not None for record in timed):
        return None, "sequences decoded together, and which of their drafts shared a step is not kept"
    if len(costs) < 2 and (together or any(record.drafted for record in timed)):
        return None, "what a step of several tokens costs was not measured"
    parts = _in_step(records, costs) if together else _alone(timed, costs, num_layers)
    if parts is None:
        return None, "it does not tell all that its drafts ran"
    whole = Totals()
    for batch in decoded_together(records):
        whole.add(batch)
    shares = {name: None if seconds is None else seconds / whole.decode_s for name, seconds in parts.items()}
    return TimeShares(**shares, other=_rest(shares)), None


def _rest(shares: Seconds) -> float:
    return 1 - fsum(share for share in shares.values() if share is not None)


def _of_a_loop(times: LoopTimes) -> TimeShares:
    shares: Seconds = {"layers": times.layers_s / times.decode_s, "head": times.head_s / times.decode_s}
    return TimeShares(**shares, other=_rest(shares))


def _alone(records: Sequence[SampleRecord], costs: Sequence[StepCost], num_layers: int) -> Seconds | None:
    """Of generations that each had every step for itself."""
    work, alone = work_of(records, num_layers), alone_of(costs)
    if work is None or alone is None:
        return None
    decoded = sum(token_count(record) - 1 for record in records)
    accepted = sum(record.accepted or 0 for record in records)
    cycles = decoded / work.tokens
    deciding = cost_at(costs, work.drafted + 1)
    drafted = cycles * work.drafted
    steps = drafted if work.draft_layers > 0 else 0.0
    layers = work.resumed_layers * alone.layer_s + (work.layers - work.resumed_layers) * deciding.layer_s
    beside = seconds_beside(records, costs)
    return {
        "draft_layers": drafted * work.draft_layers * alone.layer_s,
        "draft_heads": steps * work.draft_head * alone.head_s,
        "layers": cycles * layers,
        "head": cycles * deciding.head_s,
        "fixed": cycles * deciding.fixed_s + steps * alone.fixed_s,
        "checks": None if beside is None else beside.checks_s,
        "kv_fill": None if beside is None else beside.kv_fill_s,
        # Each drafted token is drawn, and each that no draft gave.
        "sampling": None if alone.draw_s is None else (drafted + decoded - accepted) * alone.draw_s,
    }


def _in_step(records: Sequence[SampleRecord], costs: Sequence[StepCost]) -> Seconds | None:
    """Of sequences that decoded together without drafts: each brings one row to every step until it ends.

    Whoever runs fewer layers in a step is taken to run some of those that others run: exits do, as do nested
    skip sets. A step of n rows is taken to cost what it does with n tokens of one sequence.
    """
    alone = alone_of(costs)
    if alone is None:
        return None
    layers: list[float] = []
    head: list[float] = []
    fixed: list[float] = []
    for batch in decoded_together(records):
        depths = zip_longest(*((record.layers_run or ())[1:] for record in batch))
        for step in depths:
            running = sorted((depth for depth in step if depth is not None), reverse=True)
            whole = cost_at(costs, len(running))
            head.append(whole.head_s)
            fixed.append(whole.fixed_s)
            for width, (depth, less) in enumerate(pairwise([*running, 0.0]), start=1):
                if depth > less:
                    layers.append((depth - less) * cost_at(costs, width).layer_s)
    beside = seconds_beside(records, costs)
    decoded = sum(token_count(record) - 1 for record in records)
    looked = any(record.checks for record in records)
    return {
        "draft_layers": 0.0,
        "draft_heads": 0.0,
        "layers": fsum(layers),
        "head": fsum(head),
        "fixed": fsum(fixed),
        # Those who look at the same time share a head, and how many did is not kept.
        "checks": None if beside is None or looked else 0.0,
        "kv_fill": None if beside is None else beside.kv_fill_s,
        "sampling": None if alone.draw_s is None else decoded * alone.draw_s,
    }
