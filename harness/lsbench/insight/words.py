"""What follows from a look inside a model, said plainly, and which of it is a bound and which an estimate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lsbench.insight.outcome import Draft, Exit, Inspection, Skips
from lsbench.records import StepCost
from lsbench.report.figures import ratio, share, significant

KEEPS_NEARLY_ALL = 0.95
"""Agreement from which an exit is worth naming for a run whose output may change."""
HARDLY = 1.05
"""An estimated speedup below this is lost among what the estimate leaves out."""
UNEVEN = 1.05
"""How many times as long as a wider step one must have taken for that to be told."""


def follows(inspection: Inspection) -> Iterator[str]:
    """One sentence or two for each kind of strategy, then what it comes to."""
    yield _depths(inspection)
    if inspection.exits:
        yield _static_exit(inspection)
    yield _dynamic_exit(inspection)
    if inspection.exits:
        yield _exit_drafts(inspection)
    if inspection.skips:
        yield _dynamic_skip(inspection)
        yield _skip_drafts(inspection)
    yield _in_all(inspection)


def about_costs(measured: Sequence[StepCost], settled: Sequence[StepCost]) -> list[str]:
    """Whether steps were measured so unevenly that speeds are rough.

    Args:
        measured: as they were.
        settled: as ``measurement.bounds.steady`` makes them.
    """
    first, second = (sorted(costs, key=lambda cost: cost.width) for costs in (measured, settled))
    worst = max((a.layer_s / b.layer_s for a, b in zip(first, second, strict=True) if b.layer_s), default=1.0)
    if worst < UNEVEN:
        return []
    return [
        f"The machine was disturbed while costs were measured: a step was seen to take {worst:.2f} times as "
        "long as one of more tokens, and is counted as long as that one. Speeds are rough; look again when "
        "the machine is quiet."
    ]


def own_token(inspection: Inspection, layer: int) -> str:
    """How often a layer says what the last one does."""
    agreement = share(inspection.layer(layer).agreement)
    return f"at layer {layer} the model predicts its own final token {agreement} of the time"


def _depths(inspection: Inspection) -> str:
    reached, kept = (
        significant(oracle.mean_layers) for oracle in (inspection.first_reached, inspection.kept)
    )
    return (
        f"Over {inspection.num_steps} tokens, the final prediction is first reached at layer {reached} of "
        f"{inspection.num_layers} on average, and is there for good from layer {kept} on."
    )


def _static_exit(inspection: Inspection) -> str:
    middle = max(1, inspection.num_layers // 2)
    told = f"static_exit: {own_token(inspection, middle)}"
    good = next(
        (each for each in inspection.exits if inspection.layer(each.layer).agreement >= KEEPS_NEARLY_ALL),
        None,
    )
    if good is None:
        last = inspection.exits[-1].layer
        kept = share(inspection.layer(last).agreement)
        rest = "" if last == middle else f", at layer {last} {kept}"
        return (
            f"{told}{rest}. No exit keeps {KEEPS_NEARLY_ALL:.0%} of tokens: whichever it is, the text "
            "becomes another (measured)."
        )
    kept = share(inspection.layer(good.layer).agreement)
    return (
        f"{told}. The first exit to keep {KEEPS_NEARLY_ALL:.0%} of tokens is layer {good.layer} ({kept}, "
        f"measured): at most {ratio(good.speedup)} (bound)."
    )


def _dynamic_exit(inspection: Inspection) -> str:
    first, kept = inspection.first_reached, inspection.kept
    return (
        f"dynamic_exit: no rule that keeps every token stops before layer {significant(first.mean_layers)} "
        f"on average, however well it foresees: at most {ratio(first.speedup)} (bound). One that waits until "
        f"the prediction is there for good: at most {ratio(kept.speedup)} (bound)."
    )


def _exit_drafts(inspection: Inspection) -> str:
    best = inspection.best_exit_draft
    middle = max(1, inspection.num_layers // 2)
    told = (
        f"self_speculative with an early exit: the best of all exits and lengths is exit {best.layer} with "
        f"{_drafted(best.draft)} (estimate)"
    )
    if best.draft.speedup < 1:
        return f"{told}; {own_token(inspection, middle)}: early-exit drafts cannot pay here."
    return f"{told}: early-exit drafts {_pay(best.draft)} here."


def _dynamic_skip(inspection: Inspection) -> str:
    parts = [
        f"{share(rung.weight_share)} keeps {share(rung.agreement)} of tokens at {ratio(rung.speedup)}"
        for rung in inspection.skips
    ]
    return (
        f"dynamic_skip: leaving out, of the layers' weights, the least influential {'; '.join(parts)} "
        "(estimate: other sets may be better, and what a set keeps differs with the text)."
    )


def _skip_drafts(inspection: Inspection) -> str:
    best = max(inspection.skips, key=lambda rung: rung.draft.speedup)
    told = (
        f"self_speculative with a skip set: leaving out {share(best.weight_share)} with "
        f"{_drafted(best.draft)} (estimate)"
    )
    if best.draft.speedup < 1:
        return f"{told}: drafts by the least influential sub-layers cannot pay here."
    return f"{told}: such drafts {_pay(best.draft)} here."


def _in_all(inspection: Inspection) -> str:
    drafts: list[tuple[str, float]] = []
    if inspection.exits:
        exit_ = inspection.best_exit_draft
        drafts.append((_exit_name(exit_), exit_.draft.speedup))
    drafts += [(_skip_name(rung), rung.draft.speedup) for rung in inspection.skips]
    name, speedup = max(drafts, key=lambda each: each[1], default=("", 0.0))
    if speedup < 1:
        return (
            "In all: nothing that was looked at here makes this checkpoint faster without changing its "
            "output. That takes layers trained to predict early."
        )
    return (
        f"In all: of what keeps the model's own output, {name} is the best that was looked at: about "
        f"{ratio(speedup)} at most."
    )


def _drafted(draft: Draft) -> str:
    tokens = "1 token" if draft.num_speculations == 1 else f"{draft.num_speculations} tokens"
    return f"{tokens} a cycle, {share(draft.acceptance)} of them taken, {ratio(draft.speedup)}"


def _pay(draft: Draft) -> str:
    return "can hardly pay" if draft.speedup < HARDLY else "can pay"


def _exit_name(exit_: Exit) -> str:
    return (
        f"self_speculative:draft=static_exit,draft.exit_layer={exit_.layer},"
        f"num_speculations={exit_.draft.num_speculations}"
    )


def _skip_name(rung: Skips) -> str:
    return f"self_speculative with {share(rung.weight_share)} of the layers' weights left out of the draft"
