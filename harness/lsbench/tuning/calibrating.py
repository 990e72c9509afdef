"""``--risk``: the winner's threshold, chosen anew so that a guarantee holds of it (``risk``).

It is calibrated on documents that neither the search nor the final timing sees: the search chose all other
options by how they did on its own documents, where a guarantee would hold of nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsbench.errors import BadInput
from lsbench.execution.cluster.bench import Bench, Refused
from lsbench.execution.cluster.failure import Lost
from lsbench.spec import GenerateRequest, StrategyChoice
from lsbench.tuning import ranks
from lsbench.tuning.domains import Among
from lsbench.tuning.risk import calibrate, prompts_needed
from lsbench.tuning.spaces import Space
from lsbench.tuning.spec import TuneSpec
from lsbench.tuning.split import MIN_FINAL

if TYPE_CHECKING:
    from lsbench.tuning.trials import Trial

OPTION = "threshold"
_LOSS = (
    "A prompt's loss is the share of the full model's tokens that would be chosen otherwise. The guarantee "
    "is for prompts like these tasks'; neither the search nor the final timing saw those that calibrate."
)
_CANDIDATES = 12
"""Thresholds that are tested, at even distances; named before any loss is known."""


@dataclass(frozen=True)
class Calibrated:
    """What came of it.

    Attributes:
        choice: the winner with the threshold that holds; None where none does.
        words: in one sentence.
    """

    choice: StrategyChoice | None
    words: str


def divide(
    requests: Sequence[GenerateRequest], risk: float, delta: float
) -> tuple[list[GenerateRequest], list[GenerateRequest]]:
    """Requests to calibrate on, half of the documents, and those that are left to judge on.

    Raises:
        BadInput: there are too few for any threshold to pass.
    """
    documents = list(dict.fromkeys((each.task, each.doc_id) for each in requests))
    half, needed = len(documents) // 2, prompts_needed(risk, delta)
    if half < needed or len(documents) - half < MIN_FINAL:
        raise BadInput(
            f"--risk {risk:g} --delta {delta:g} takes at least {needed} documents to calibrate on, as many "
            f"to judge on; there are {len(documents)} that the search does not see. Give a larger --risk or "
            "--delta, a smaller --limit, or a larger task"
        )
    first = set(documents[:half])
    held = [each for each in requests if (each.task, each.doc_id) in first]
    return held, [each for each in requests if (each.task, each.doc_id) not in first]


def calibrated(
    bench: Bench,
    spec: TuneSpec,
    space: Space,
    winner: Trial,
    requests: Sequence[GenerateRequest],
    model_sha256: str,
) -> Calibrated:
    """Test thresholds in place of the winner's, the most careful first.

    Args:
        bench: where.
        spec: says the risk and the chance of being wrong.
        space: says which thresholds there are.
        winner: of the search.
        requests: the calibration documents.
        model_sha256: of the weights.
    """
    assert spec.risk is not None
    domain = next((each.domain for each in space.dimensions if each.key == OPTION), None)
    if domain is None:
        return Calibrated(None, "No threshold was calibrated: none was searched.")
    tokens = domain.spread(_CANDIDATES)
    values = domain.values if isinstance(domain, Among) else [domain.read(token) for token in tokens]
    choices = {
        float(value): choice
        for value in values
        if isinstance(value, int | float) and (choice := _with(winner, float(value), space)) is not None
    }
    try:
        found = bench.ask(ranks.losses, tuple(choices.values()), tuple(requests), model_sha256)
        result = calibrate(dict(zip(choices, found, strict=True)), spec.risk, spec.delta)
    except (BadInput, Lost, Refused) as error:
        return Calibrated(None, f"No threshold was calibrated: {error}")
    words = f"{result.words} {_LOSS}"
    return Calibrated(choices[result.threshold] if result.threshold is not None else None, words)


def _with(winner: Trial, threshold: float, space: Space) -> StrategyChoice | None:
    """The winner with another threshold; None where its other options do not go with it."""
    from lsbench.strategy.registry import resolve

    choice = StrategyChoice(name=winner.strategy, options={**winner.options, OPTION: threshold})
    try:
        resolve(choice).check(space.num_layers)
    except BadInput:
        return None
    return choice
