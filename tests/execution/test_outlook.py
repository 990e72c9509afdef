"""What is told of strategies before a run, against what they then do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lsbench.engine import ConstantPolicy, DepthPlan, Session
from lsbench.execution.outlook import exit_of, outlooks
from lsbench.execution.worker import Contender
from lsbench.spec import parse_strategy
from lsbench.strategy import PolicyDraft, Preparation, Strategy, speculate
from lsbench.strategy.registry import resolve
from support.judging import llama_bench

PROMPTS = tuple(tuple((13 * text + 3 * place) % 340 + 2 for place in range(40)) for text in range(3))
READ = 24
END = 2
"""Of the model's texts."""


@pytest.fixture(scope="module")
def stack():
    return llama_bench().stack


@pytest.fixture(scope="module")
def own(stack):
    """[B, N + 1] what the model writes after each prompt, token by token."""
    rows = []
    for prompt in PROMPTS:
        session = Session(stack)
        token = session.prefill(torch.tensor([prompt[:READ]])).argmax(-1)
        written = [int(token)]
        for _ in range(24):
            token = session.forward(token[:, None], DepthPlan.full(stack.num_layers)).logits[:, 0].argmax(-1)
            written.append(int(token))
        rows.append(written)
    return np.array(rows)


def _contender(stack, text: str, strategy: Strategy | None = None) -> Contender:
    choice = parse_strategy(text)
    made = strategy or resolve(choice)
    made.prepare(Preparation(stack, PROMPTS))
    return Contender(choice, made)


def _agrees(stack, own, plan) -> np.ndarray:
    """[B, N] one step at a time, each after an exact text."""
    found = []
    for prompt, written in zip(PROMPTS, own, strict=True):
        row = []
        for place in range(24):
            session = Session(stack)
            session.prefill(torch.tensor([[*prompt[:READ], *written[:place]]]))
            logits = session.forward(torch.tensor([[written[place]]]), plan).logits[0, 0]
            row.append(int(logits.argmax()) == written[place + 1])
        found.append(row)
    return np.array(found)


def _alive(own) -> np.ndarray:
    """[B, N] up to where the model ended the text."""
    return (own[:, :-1] == END).cumsum(axis=1) == 0


def _same(told, expected, own) -> None:
    alive = _alive(own)
    assert 0 < alive.sum() < alive.size
    assert [list(row) for row in told] == [
        row[kept].tolist() for row, kept in zip(expected, alive, strict=True)
    ]


def test_an_exit_and_its_draft(stack, own):
    alone, draft = outlooks(
        stack,
        PROMPTS,
        [
            _contender(stack, "static_exit:exit_layer=4"),
            _contender(stack, "self_speculative:draft=static_exit,draft.exit_layer=4,num_speculations=3"),
        ],
    )
    expected = _agrees(stack, own, DepthPlan.exit_at(stack.num_layers, 4))
    assert 0 < expected.mean() < 1
    _same(alone.agrees, expected, own)
    _same(draft.agrees, expected, own)
    assert (alone.kind, alone.exit_layer, alone.layers) == ("decodes", 4, 4.0)
    assert (draft.kind, draft.resumed_layers, draft.num_speculations) == ("drafts", 4.0, 3)
    assert draft.fixed_length


def test_a_third_partys_draft_that_leaves_out_layers_sees_an_exact_text(stack, own):
    plan = DepthPlan.skipping(stack.num_layers, [6, 8, 9])

    class Theirs(Strategy):
        def prepare(self, preparation):
            pass

        def generate(self, session, request):
            return speculate(session, request, PolicyDraft(ConstantPolicy(plan), 0.1), 5)

    (draft,) = outlooks(stack, PROMPTS, [_contender(stack, "theirs", Theirs(Theirs.Options()))])
    _same(draft.agrees, _agrees(stack, own, plan), own)
    assert (draft.label, draft.kind, draft.exit_layer) == ("theirs", "drafts", None)
    assert draft.resumed_layers == 3.0
    assert 4 < draft.layers < 5
    assert not draft.fixed_length


def test_exits_at_a_few_layers_are_foreseen(stack, own):
    (found,) = outlooks(
        stack, PROMPTS, [_contender(stack, "dynamic_exit:candidate_layers=[2,4],threshold=0.9")]
    )
    agrees = {layer: _agrees(stack, own, DepthPlan.exit_at(stack.num_layers, layer)) for layer in (2, 4)}
    first = np.where(agrees[2], 2, np.where(agrees[4], 4, stack.num_layers))
    assert (found.kind, found.candidates) == ("exits", (2, 4))
    assert found.layers == pytest.approx(first[_alive(own)].mean())


def test_nothing_runs_for_those_that_cannot_be_told(stack, monkeypatch):
    class Own(Strategy):
        def prepare(self, preparation):
            pass

        def generate(self, session, request):
            raise RuntimeError("not yet")

    contenders = [
        _contender(stack, "autoregressive"),
        _contender(stack, "hf_generate"),
        _contender(stack, "own", Own(Own.Options())),
    ]
    monkeypatch.setattr(Session, "prefill", None)
    assert outlooks(stack, PROMPTS, contenders) == ()


def test_where_a_plan_ends():
    assert exit_of(DepthPlan.exit_at(6, 4)) == 4
    assert exit_of(DepthPlan.full(6)) == 6
    assert exit_of(DepthPlan.skipping(6, [4])) is None
    assert exit_of(DepthPlan.skipping(6, range(12))) is None
    assert exit_of(DepthPlan.skipping(6, [11])) is None
