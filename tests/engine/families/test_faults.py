"""The checks are themselves tested: what a family gets wrong, one of them catches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from lsbench.engine import DepthPlan, Session, sublayers
from lsbench.engine.block import Block
from lsbench.engine.step import Step
from support.families.models import LAYERS, TinyFamily, tiny_family
from support.families.reference import LayerReference
from support.kv_contract.check import Check
from support.kv_contract.scenarios import Planned, Scenario

Patch = Callable[[pytest.MonkeyPatch, TinyFamily], None]

FULL = DepthPlan.full(LAYERS)
WITHOUT_AN_MLP = DepthPlan.skipping(LAYERS, [3])
WITHOUT_AN_ATTENTION = DepthPlan.skipping(LAYERS, [4], "mask")
SCENARIO = Scenario(
    ((3, 1, 4, 1, 5, 9),),
    4,
    (
        Planned(((2, 6),), FULL),
        Planned(((5,),), WITHOUT_AN_MLP),
        Planned(((3,),), FULL),
        Planned(((8,),), WITHOUT_AN_ATTENTION),
        Planned(((7,),), DepthPlan.exit_at(LAYERS, 2, "propagate")),
        Planned(((1,),), FULL),
    ),
)


def _a_window_too_wide(patch: pytest.MonkeyPatch, tiny: TinyFamily) -> None:
    for block in tiny.stack.blocks:
        if block.window is not None:
            patch.setattr(block, "window", block.window + 1)


def _no_window_where_something_is_masked(patch: pytest.MonkeyPatch, tiny: TinyFamily) -> None:
    attend = sublayers._attend

    def forgetful(stack, layer, part, queries):
        block = stack.blocks[layer]
        window, block.window = block.window, None if part.lane.masked[layer] else block.window
        try:
            return attend(stack, layer, part, queries)
        finally:
            block.window = window

    patch.setattr(sublayers, "_attend", forgetful)


def _a_parallel_mlp_reads_what_attention_made(patch: pytest.MonkeyPatch, tiny: TinyFamily) -> None:
    run = Block.run_mlp
    patch.setattr(Block, "run_mlp", lambda self, hidden, entering=None: run(self, hidden))


def _a_parallel_layer_is_taken_up_again_at_its_mlp(patch: pytest.MonkeyPatch, tiny: TinyFamily) -> None:
    for block in tiny.stack.blocks:
        patch.setattr(block, "parallel", False)
    run = Step._run

    def still_right_within_a_step(self, begin, party, alone=False):
        block = self.stack.blocks[begin // 2]
        block.parallel = True
        try:
            return run(self, begin, party, alone)
        finally:
            block.parallel = False

    patch.setattr(Step, "_run", still_right_within_a_step)


def _logits_are_not_capped(patch: pytest.MonkeyPatch, tiny: TinyFamily) -> None:
    patch.setattr(tiny.stack, "_finish_logits", None)


def _keys_that_propagate_are_not_normed(patch: pytest.MonkeyPatch, tiny: TinyFamily) -> None:
    project = Block.project_kv

    def plain(self, hidden, cos, sin):
        norm, self._key_norm = self._key_norm, None
        try:
            return project(self, hidden, cos, sin)
        finally:
            self._key_norm = norm

    patch.setattr(Block, "project_kv", plain)


FAULTS: list[tuple[str, Patch]] = [
    ("gemma2", _a_window_too_wide),
    ("gemma2", _no_window_where_something_is_masked),
    ("gemma2", _logits_are_not_capped),
    ("gpt_neox", _a_parallel_mlp_reads_what_attention_made),
    ("gpt_neox", _a_parallel_layer_is_taken_up_again_at_its_mlp),
    ("qwen3", _keys_that_propagate_are_not_normed),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({name for name, _ in FAULTS}))
def test_the_scenario_holds_as_things_are(name: str) -> None:
    Check(tiny_family(name), SCENARIO, LayerReference).run()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "plant"), FAULTS)
def test_a_planted_fault_is_caught(name: str, plant: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = tiny_family(name)
    plant(monkeypatch, tiny)
    with pytest.raises((AssertionError, ValueError, KeyError)):
        Check(tiny, SCENARIO, LayerReference).run()


def test_what_lies_outside_the_window_is_not_seen() -> None:
    """Nothing that is kept of it reaches a prediction."""
    tiny = tiny_family("mistral")
    predictions = []
    for spoilt in (False, True):
        session = Session(tiny.stack)
        session.prefill(torch.tensor([[3, 1, 4, 1, 5, 9, 2]]))
        if spoilt:
            for keys, values in zip(session.cache.keys, session.cache.values, strict=True):
                keys[:, :, :3] = torch.nan
                values[:, :, :3] = torch.nan
        predictions.append(session.forward(torch.tensor([[6]]), FULL).logits)
    assert torch.equal(*predictions)
