from __future__ import annotations

import numpy as np
import pytest
import torch

from lsbench.engine import DecoderStack
from lsbench.engine.mlp import GatedMLP
from lsbench.insight.findings import find, steps_of
from lsbench.tuning.judge import Judge
from lsbench.tuning.predict import predict
from support.judging import COSTS, bench_of
from support.models import random_llama, single_thread

ACTING = 2
"""Layers of the idle model that do anything."""


@pytest.fixture(scope="module")
def idle():
    """Six layers, of which the first two alone change anything."""
    with single_thread():
        stack = DecoderStack(random_llama(3, vocab_size=350, num_hidden_layers=6).double())
        for block in stack.blocks[ACTING:]:
            assert isinstance(block.mlp, GatedMLP)
            block.output.weight.zero_()
            block.mlp.down.weight.zero_()
        return find(bench_of(stack).references, COSTS)


def test_exits_are_those_of_a_search_that_judges_each(bench, findings):
    judge, layers = Judge(bench.references, COSTS), bench.stack.num_layers
    for exit_ in findings.exits:
        plain = judge.judge(bench.strategy(f"static_exit:exit_layer={exit_.layer}"))
        # The first token of every prompt is the prefill's own.
        first = len(bench.references.references)
        agreed = plain.token_agreement * (bench.references.decoded + first) - first
        assert findings.layers[exit_.layer - 1].agreement == pytest.approx(agreed / bench.references.decoded)
        assert exit_.speedup == pytest.approx(predict(plain, COSTS, layers).speedup)
        speeds = {}
        for count in range(1, 17):
            draft = f"draft=static_exit,draft.exit_layer={exit_.layer},num_speculations={count}"
            judged = judge.judge(bench.strategy(f"self_speculative:{draft}"))
            speeds[count] = predict(judged, COSTS, layers).speedup
        assert exit_.draft.speedup == pytest.approx(max(speeds.values()))
        assert speeds[exit_.draft.num_speculations] == pytest.approx(max(speeds.values()))


def test_oracle_and_steps_are_of_the_same_tokens(bench, findings):
    steps = [
        step
        for reference, lens in zip(bench.references.references, findings.lenses, strict=True)
        for step in steps_of(reference, lens)
    ]
    assert len(steps) == bench.references.decoded
    assert findings.kept.mean_layers == pytest.approx(np.mean([step.kept for step in steps]))
    assert findings.first_reached.mean_layers == pytest.approx(np.mean([step.reached for step in steps]))
    assert 1 < findings.first_reached.mean_layers < findings.kept.mean_layers < bench.stack.num_layers
    # What is written is what the last layer predicts, and what is run next.
    for reference, lens in zip(bench.references.references, findings.lenses, strict=True):
        own = steps_of(reference, lens)
        assert tuple(step.choices[-1] for step in own) == reference.tokens[1:]
        assert tuple(step.token for step in own) == reference.tokens[:-1]


def test_layers_that_do_nothing_change_nothing(idle):
    acting, rest = idle.layers[:ACTING], idle.layers[ACTING:]
    assert all(layer.attention_influence < 1e-12 and layer.mlp_influence < 1e-12 for layer in rest)
    assert all(layer.attention_influence > 1e-3 and layer.mlp_influence > 1e-3 for layer in acting)
    np.testing.assert_allclose(idle.similarity[ACTING:, ACTING:], 1.0, atol=1e-12)
    assert (idle.similarity[:ACTING, ACTING:] < 0.999).all()
    assert all(layer.agreement == 1 for layer in idle.layers[ACTING - 1 :])
    assert idle.kept.mean_layers <= ACTING
    # A draft that is always right, of a third of the layers, pays; so does leaving idle sub-layers out.
    best = max(idle.exits, key=lambda each: each.draft.speedup)
    assert best.layer == ACTING
    assert best.draft.acceptance == 1
    assert best.draft.speedup > 1.2
    assert idle.skips
    for rung in idle.skips:
        assert rung.agreement == 1
        assert rung.speedup > 1
        assert rung.draft.acceptance == 1
        assert {int(item.split(".")[0]) for item in rung.items} <= set(range(ACTING + 1, 7))
        assert rung.weight_share <= rung.share + 1e-9


def test_everything_is_looked_at_in_the_models_own_precision(findings):
    for lens in findings.lenses:
        assert lens.choices.shape == lens.chances.shape
        assert torch.isfinite(torch.as_tensor(lens.chances)).all()
        assert (lens.chances > 1 / 350).all()
