"""How close a strategy stays to the full model, token by token, where a task's score may not move."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile

from lsbench.measurement.pairing import Pair, Prompt, prompt_of
from lsbench.measurement.statistics import ratio_of_totals_interval
from lsbench.metrics import Agreement, Fidelity
from lsbench.records import SampleRecord


def fidelity(pairs: Sequence[Pair], records: Sequence[SampleRecord], label: str) -> Fidelity | None:
    """Compare a strategy's outputs with the baseline's; None when either half of the answer is missing.

    Args:
        pairs: generations of both, from ``pair_up``.
        records: all records; those of kind ``fidelity`` under ``label`` are read.
        label: of the strategy.
    """
    agreement = token_agreement(records, label)
    prefix = common_prefix_fraction(pairs)
    if agreement is None or prefix is None:
        return None
    return Fidelity(
        identical_outputs=identical_outputs(pairs),
        common_prefix_fraction=prefix,
        token_agreement=agreement,
        compared=len(pairs),
    )


def identical_outputs(pairs: Sequence[Pair]) -> int:
    """In how many pairs both emitted the same token ids."""
    return sum(pair.baseline.token_ids == pair.strategy.token_ids for pair in pairs)


def common_prefix_fraction(pairs: Sequence[Pair]) -> float | None:
    """Share of the strategy's tokens that equal the baseline's from the start; None without tokens.

    Tokens over all pairs, not a mean of shares, so that a long output counts for what it is.
    """
    emitted = sum(len(pair.strategy.token_ids or ()) for pair in pairs)
    return sum(map(_shared, pairs)) / emitted if emitted else None


def token_agreement(records: Sequence[SampleRecord], label: str) -> Agreement | None:
    """Share of the baseline's tokens that the strategy would have chosen too.

    Tokens over all prompts; the interval resamples prompts, a prompt's repeats together. None when
    no token was compared.
    """
    prompts = agreement_by_prompt(records, label)
    if not prompts:
        return None
    agreed = [count for count, _ in prompts.values()]
    compared = [count for _, count in prompts.values()]
    return Agreement(value=sum(agreed) / sum(compared), ci95=ratio_of_totals_interval(agreed, compared))


def agreement_by_prompt(records: Iterable[SampleRecord], label: str) -> dict[Prompt, tuple[int, int]]:
    """How many of the baseline's tokens the strategy would have chosen too, and of how many, by prompt."""
    prompts: dict[Prompt, tuple[int, int]] = {}
    for record in records:
        if record.label == label and record.kind == "fidelity" and record.error is None and record.agreement:
            agreed, compared = prompts.get(prompt_of(record), (0, 0))
            prompts[prompt_of(record)] = (agreed + sum(record.agreement), compared + len(record.agreement))
    return prompts


def _shared(pair: Pair) -> int:
    both = zip(pair.baseline.token_ids or (), pair.strategy.token_ids or (), strict=False)
    return sum(1 for _ in takewhile(lambda tokens: tokens[0] == tokens[1], both))
