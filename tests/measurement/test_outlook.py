from __future__ import annotations

from lsbench.measurement.outlook import about_outlooks
from lsbench.records import Outlook, StepCost

L = 10
COSTS = tuple(
    StepCost(
        width=width,
        context=8,
        layer_s=1.0 + 0.02 * width,
        attention_s=None,
        mlp_s=None,
        head_s=1.0,
        fixed_s=0.5,
    )
    for width in (1, 17)
)


def _texts(agreed: int, count: int = 100) -> tuple[tuple[bool, ...], ...]:
    """Evenly spread over a text."""
    return (tuple((place * agreed) % count < agreed for place in range(count)),)


def _drafts(agreed: int, layer: int = 5, **more) -> Outlook:
    fields = {"num_speculations": 4, "fixed_length": True, **more}
    return Outlook(
        label="s",
        kind="drafts",
        layers=layer,
        exit_layer=layer,
        resumed_layers=layer,
        agrees=_texts(agreed),
        **fields,
    )


def _said(outlook: Outlook, greedy: bool = True, alone: bool = True) -> list[str]:
    return about_outlooks([outlook], COSTS, L, greedy, alone)


def test_a_hopeless_draft_is_told_with_its_share_and_speed():
    (said,) = _said(_drafts(8))
    assert said.startswith("s: at layer 5 the model predicts its own final token 8% of the time (8 of 100 ")
    assert "early-exit drafts cannot pay here. Expect about 0." in said


def test_a_draft_that_pays_is_left_alone():
    assert not _said(_drafts(95, layer=2))
    # Nor one that is not sure to fail.
    assert not _said(_drafts(70, layer=3, fixed_length=False))


def test_a_draft_of_the_wrong_length_is_told_the_right_one():
    (said,) = _said(_drafts(80, layer=5, num_speculations=16))
    assert "Drafting 16 tokens a cycle cannot pay here" in said
    assert "num_speculations=" in said
    assert not _said(_drafts(80, layer=5, num_speculations=16, fixed_length=False))


def test_drawn_tokens_and_batches_are_not_foretold():
    assert not _said(_drafts(8), greedy=False)
    assert not _said(_drafts(8), alone=False)


def test_an_exit_that_writes_another_text_is_told():
    early = Outlook(label="e", kind="decodes", layers=5, exit_layer=5, agrees=_texts(8))
    (said,) = _said(early, greedy=False, alone=False)
    assert "at layer 5 the model predicts its own final token 8% of the time" in said
    assert "another text than the full model's" in said
    assert not _said(early.model_copy(update={"agrees": _texts(90)}))
    (skipping,) = _said(early.model_copy(update={"exit_layer": None}))
    assert "without the layers that it leaves out" in skipping


def test_exits_that_come_too_late_are_told():
    late = Outlook(label="d", kind="exits", layers=9.95, spread=0.01, candidates=(4, 9))
    (said,) = _said(late)
    assert "(4, 9)" in said
    assert "at layer 9.9 of 10 on average" in said or "at layer 10.0 of 10 on average" in said
    assert not _said(late.model_copy(update={"layers": 7.0}))
    assert not _said(late.model_copy(update={"spread": 1.0}))
