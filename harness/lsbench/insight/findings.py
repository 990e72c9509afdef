"""What a model's own continuations show of its layers, and what strategies can hope for by it.

Everything comes of passes over the references that a search would be judged by (``tuning.references``): the
lens, cosines and influence from their hidden states, exits and drafts by playing through where layers agree,
skip sets by judging them as a search judges a candidate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lsbench.engine import ConstantPolicy, DepthPlan, DepthPolicy, Session
from lsbench.engine.lens import Lens, cosines, lens_of, similarity
from lsbench.engine.stack import DecoderStack
from lsbench.insight.outcome import Draft, Exit, Layer, Oracle, Skips, Step
from lsbench.measurement.bounds import MOST_DRAFTED, best_draft, depth_speedup
from lsbench.records import StepCost
from lsbench.spec import GenerateRequest, ScoreWindow
from lsbench.strategy import Emitted, PolicyDraft, Strategy, speculate
from lsbench.tuning.judge import Judge, Judgement
from lsbench.tuning.predict import predict
from lsbench.tuning.references import Reference, References
from lsbench.tuning.skip_sets import ranking

Numbers = npt.NDArray[np.float64]

SKIPPED_SHARES = (0.1, 0.2, 0.3)
"""Of the weights of all sub-layers."""


@dataclass(frozen=True)
class Findings:
    """What was found, over all references.

    Attributes:
        lenses: of each reference.
        layers, exits, first_reached, kept, skips: as ``outcome.Inspection`` has them.
        similarity: [L + 1, L + 1] likewise.
    """

    lenses: tuple[Lens, ...]
    layers: tuple[Layer, ...]
    similarity: Numbers
    exits: tuple[Exit, ...]
    first_reached: Oracle
    kept: Oracle
    skips: tuple[Skips, ...]


def find(references: References, costs: Sequence[StepCost]) -> Findings:
    """Look at the model through its references.

    Args:
        references: at least one.
        costs: of this machine, at the widths of verifying (``execution.step_widths.DRAFTING_WIDTHS``).
    """
    stack = references.stack
    lenses = tuple(lens_of(stack, reference.hidden[2::2]) for reference in references.references)
    influence = 1 - _mean(
        [cosines(reference.hidden).mean(axis=1) for reference in references.references], lenses
    )
    near = _mean([similarity(reference.hidden[::2]) for reference in references.references], lenses)
    # Rounding takes the cosine of what is not changed at all a little to either side of 1.
    influence = np.clip(influence, 0.0, 2.0)
    reached, kept = (np.concatenate([getattr(lens, name) for lens in lenses]) for name in ("reached", "kept"))
    agrees = np.concatenate([lens.agrees for lens in lenses], axis=1)
    size = stack.sublayer_bytes
    layers = tuple(
        Layer(
            layer=layer,
            agreement=float(agrees[layer - 1].mean()),
            reached=float((reached <= layer).mean()),
            kept=float((kept <= layer).mean()),
            attention_influence=float(influence[2 * layer - 2]),
            mlp_influence=float(influence[2 * layer - 1]),
            attention_bytes=size[2 * layer - 2],
            mlp_bytes=size[2 * layer - 1],
        )
        for layer in range(1, stack.num_layers + 1)
    )
    return Findings(
        lenses=lenses,
        layers=layers,
        similarity=np.clip(near, -1.0, 1.0),
        exits=tuple(_exits(lenses, costs)),
        first_reached=_oracle(reached, costs, stack.num_layers),
        kept=_oracle(kept, costs, stack.num_layers),
        skips=tuple(_skips(references, influence, costs)),
    )


def steps_of(reference: Reference, lens: Lens) -> tuple[Step, ...]:
    """The steps of one reference, as they are kept."""
    return tuple(
        Step(
            token=token,
            choices=tuple(lens.choices[:, row].tolist()),
            # A rounding beyond 1 is none.
            chances=tuple(min(1.0, chance) for chance in lens.chances[:, row].tolist()),
            reached=int(lens.reached[row]),
            kept=int(lens.kept[row]),
        )
        for row, token in enumerate(reference.tokens[:-1])
    )


def _mean(parts: Sequence[Numbers], lenses: Sequence[Lens]) -> Numbers:
    """Over the steps of all references."""
    return np.average(np.stack(parts), axis=0, weights=[lens.rows for lens in lenses])


def _oracle(layers: npt.NDArray[np.int64], costs: Sequence[StepCost], num_layers: int) -> Oracle:
    mean = float(layers.mean())
    return Oracle(mean_layers=mean, speedup=depth_speedup(mean, costs, num_layers))


def _exits(lenses: Sequence[Lens], costs: Sequence[StepCost]) -> Iterator[Exit]:
    num_layers = lenses[0].num_layers
    for layer in range(1, num_layers):
        agrees = [lens.agrees[layer - 1] for lens in lenses]
        # Verifying takes over all layers that an exit has run.
        best = best_draft(agrees, layer, layer, costs, num_layers)
        yield Exit(
            layer=layer,
            speedup=depth_speedup(layer, costs, num_layers),
            draft=Draft(
                num_speculations=best.num_speculations,
                acceptance=best.cycles.acceptance,
                tokens_per_cycle=best.cycles.tokens_per_cycle,
                speedup=best.speedup,
            ),
        )


def _skips(references: References, influence: Numbers, costs: Sequence[StepCost]) -> Iterator[Skips]:
    """Beginnings of the ranking of all sub-layers by influence per byte."""
    stack = references.stack
    size = stack.sublayer_bytes
    ranked = [
        _index(part.item)
        for part in ranking([(_item(j), float(influence[j]), size[j]) for j in range(len(size))])
    ]
    judge = Judge(references, costs)
    before: list[int] = []
    for share in SKIPPED_SHARES:
        chosen = _beginning(ranked, size, share)
        # A small model has too few sub-layers for every share.
        if not chosen or chosen == before:
            continue
        before = chosen
        plain = DepthPlan.skipping(stack.num_layers, chosen, "propagate")
        judged = _judged(judge, _Fixed(plain))
        yield Skips(
            share=share,
            weight_share=sum(size[j] for j in chosen) / sum(size),
            items=tuple(_item(j) for j in sorted(chosen)),
            agreement=judged.token_agreement,
            speedup=predict(judged, costs, stack.num_layers).speedup,
            draft=_skip_draft(judge, DepthPlan.skipping(stack.num_layers, chosen), costs, stack),
        )


def _skip_draft(judge: Judge, plan: DepthPlan, costs: Sequence[StepCost], stack: DecoderStack) -> Draft:
    drafts: list[Draft] = []
    # The longest first: what it drafts serves all.
    for length in range(MOST_DRAFTED, 0, -1):
        judged = _judged(judge, _Drafting(plan, length))
        drafts.append(
            Draft(
                num_speculations=length,
                acceptance=judged.acceptance_rate,
                tokens_per_cycle=judged.tokens / judged.passes,
                speedup=predict(judged, costs, stack.num_layers).speedup,
            )
        )
    return max(drafts, key=lambda draft: (draft.speedup, -draft.num_speculations))


def _judged(judge: Judge, strategy: Strategy) -> Judgement:
    judged = judge.judge(strategy)
    assert isinstance(judged, Judgement)  # both of those below decode in the core's own loops
    return judged


def _beginning(ranked: Sequence[int], size: Sequence[int], share: float) -> list[int]:
    """The longest beginning that weighs no more than a share of everything."""
    allowance, total = share * sum(size) * (1 + 1e-9), 0
    for count, index in enumerate(ranked):
        total += size[index]
        if total > allowance:
            return list(ranked[:count])
    return list(ranked)


def _item(index: int) -> str:
    return f"{index // 2 + 1}.{('attention', 'mlp')[index % 2]}"


def _index(item: str) -> int:
    layer, part = item.split(".")
    return 2 * (int(layer) - 1) + (part == "mlp")


class _Fixed(Strategy):
    """One plan for every token."""

    def __init__(self, plan: DepthPlan) -> None:
        super().__init__(self.Options())
        self._plan = plan

    def policy(self, request: GenerateRequest | ScoreWindow) -> DepthPolicy:
        """The one plan."""
        return ConstantPolicy(self._plan)


class _Drafting(_Fixed):
    """Drafts under one plan."""

    def __init__(self, plan: DepthPlan, num_speculations: int) -> None:
        super().__init__(plan)
        self._count = num_speculations

    def generate(self, session: Session, request: GenerateRequest) -> Iterator[Emitted]:
        """Draft and verify."""
        return speculate(session, request, PolicyDraft(self.policy(request)), self._count)
