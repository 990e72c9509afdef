"""Members of a batch decode as they would alone, however their steps meet."""

from collections.abc import Callable

import pytest
import torch

from lsbench.engine import ConstantPolicy, DepthPlan, DepthPolicy, Session
from lsbench.engine.batch import Batch

PROMPTS = ([5, 17, 3, 14, 8], [9], [21, 2, 10, 7, 7, 7, 11, 20, 1], [12, 13])


def decode(session: Session, prompt: list[int], count: int, plan: DepthPlan, verify_every: int) -> list[int]:
    """Some tokens, verified now and then, as many as the prompt is long more than ``count``."""
    logits = session.prefill(torch.tensor([prompt]))[0]
    tokens = [int(logits.argmax())]
    while len(tokens) < count + len(prompt):
        if len(tokens) % verify_every:
            logits = session.forward(torch.tensor([tokens[-1:]]), ConstantPolicy(plan)).logits[0, -1]
        else:
            ids = [*prompt, *tokens][session.exact_lengths[0] :]
            logits = session.verify(torch.tensor([ids])).logits[0, -1]
        tokens.append(int(logits.argmax()))
    return tokens


@pytest.fixture
def stack(tiny):
    return tiny().stack


def members(stack, session_of: Callable[[], Session], fill: str) -> list[Callable[[], list[int]]]:
    layers = stack.num_layers
    return [
        lambda prompt=prompt, place=place: decode(
            session_of(), prompt, 6, DepthPlan.exit_at(layers, 1 + place % layers, fill), 2 + place
        )
        for place, prompt in enumerate(PROMPTS)
    ]


@pytest.mark.parametrize("fill", ["recompute", "propagate", "mask"])
def test_each_gives_what_it_gives_alone(stack, fill):
    alone = [member() for member in members(stack, lambda: Session(stack), fill)]
    batch = Batch(stack)
    together = list(batch.run(members(stack, lambda: batch.session(8), fill)))
    assert sorted(together) == sorted(alone)
    assert together != alone  # who has less to do is there first


class InTurn(DepthPolicy):
    """Two shallow tokens, then one at full depth that takes them along."""

    def plan(self, context):
        depth = context.num_layers if context.position % 3 == 2 else 1 + context.position % 2
        return DepthPlan.exit_at(context.num_layers, depth)


def draft_and_verify(session: Session, prompt: list[int], cycles: int, drafts: int) -> list[int]:
    """The full model's tokens: those drafted that it takes, and its own."""
    tokens = [*prompt, int(session.prefill(torch.tensor([prompt]))[0].argmax())]
    for _ in range(cycles):
        session.begin_draft()
        start = session.lengths[0]
        drafted = tokens[start:]
        for _ in range(drafts):
            logits = session.forward(torch.tensor([drafted[-1:]]), InTurn()).logits[0, -1]
            drafted.append(int(logits.argmax()))
        said = session.verify(torch.tensor([drafted]), first=start).logits[0].argmax(-1).tolist()
        taken = 0
        while taken < drafts and drafted[taken + 1] == said[taken]:
            taken += 1
        session.truncate(start + taken + 1)
        tokens += said[: taken + 1]
    return tokens


def test_drafts_of_members_that_take_older_tokens_along_are_verified_exactly(tiny):
    model = tiny()
    batch = Batch(model.stack)

    def members_of(session_of: Callable[[], Session]) -> list[Callable[[], list[int]]]:
        return [
            lambda prompt=prompt, place=place: draft_and_verify(session_of(), prompt, 5 + place, 2 + place)
            for place, prompt in enumerate(PROMPTS)
        ]

    together = list(batch.run(members_of(lambda: batch.session(8))))
    assert sorted(together) == sorted(member() for member in members_of(lambda: Session(model.stack)))
    for text in together:
        prompt = next(prompt for prompt in PROMPTS if text[: len(prompt)] == prompt)
        said = model.full_pass(text).argmax(-1).tolist()
        assert text[len(prompt) :] == said[len(prompt) - 1 : -1]


@pytest.fixture
def widths(stack, monkeypatch) -> list[int]:
    """How many rows each step's first layer had."""
    seen: list[int] = []
    block = stack.blocks[0]
    mlp = block.run_mlp

    def counting(hidden, *others):
        seen.append(hidden.shape[0])
        return mlp(hidden, *others)

    monkeypatch.setattr(block, "run_mlp", counting)
    return seen


def test_one_step_serves_all_and_who_has_ended_leaves(stack, widths):
    batch = Batch(stack)
    full = DepthPlan.full(stack.num_layers)

    def member(count: int) -> int:
        session = batch.session(8)
        session.prefill(torch.tensor([[3, 4]]))
        for _ in range(count):
            session.forward(torch.tensor([[5]]), full)
        return count

    assert list(batch.run([lambda count=count: member(count) for count in (3, 1, 2)])) == [1, 2, 3]
    assert widths == [6, 3, 2, 1]


def test_who_verifies_waits_for_who_drafts(stack, widths):
    batch = Batch(stack)
    shallow = DepthPlan.exit_at(stack.num_layers, 1)

    def member(drafts: int) -> int:
        session = batch.session(16)
        session.prefill(torch.tensor([[3, 4]]))
        for token in range(drafts):
            session.forward(torch.tensor([[token]]), shallow)
        session.verify(torch.tensor([[*range(drafts), 9]]))
        return drafts

    assert list(batch.run([lambda: member(1), lambda: member(3)])) == [1, 3]
    # Both prompts; the first draft of both; two more of the second; what is verified resumes after layer 1,
    # where only the tokens that no draft ran come in from below.
    assert widths == [4, 2, 1, 1, 2]


class Looking(DepthPolicy):
    def plan(self, context):
        return DepthPlan.full(context.num_layers)


class Failing(Looking):
    def should_exit(self, layer, exit_view):
        raise RuntimeError("cannot decide")


def test_a_step_that_fails_fails_for_those_in_it_and_others_go_on(stack):
    batch = Batch(stack)

    def member(policy: DepthPolicy, drafts: int) -> str:
        session = batch.session(16)
        session.prefill(torch.tensor([[3, 4]]))
        try:
            if drafts:
                session.forward(torch.tensor([[5]]), policy)
            else:
                session.verify(torch.tensor([[5]]))
        except RuntimeError as error:
            return str(error)
        return "went on"

    said = list(
        batch.run([lambda: member(Failing(), 1), lambda: member(Looking(), 1), lambda: member(Looking(), 0)])
    )
    assert said == ["cannot decide", "cannot decide", "went on"]


def test_what_a_member_raises_ends_the_batch_and_unwinds_the_others(stack):
    batch, unwound = Batch(stack), []

    def waiting() -> None:
        session = batch.session(8)
        try:
            session.prefill(torch.tensor([[3]]))
            session.forward(torch.tensor([[4]]), DepthPolicy())
        finally:
            unwound.append(True)

    def broken() -> None:
        batch.session(8).prefill(torch.tensor([[3]]))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(batch.run([waiting, broken]))
    assert unwound == [True]
    assert not torch.is_inference_mode_enabled()


def test_a_batch_that_is_closed_unwinds_who_has_not_ended(stack):
    batch, unwound = Batch(stack), []

    def member(count: int) -> int:
        session = batch.session(8)
        try:
            for _ in range(count):
                session.prefill(torch.tensor([[3]]))
        finally:
            unwound.append(count)
        return count

    results = batch.run([lambda: member(1), lambda: member(5)])
    assert next(results) == 1
    assert not torch.is_inference_mode_enabled()
    results.close()
    assert unwound == [1, 5]


def test_the_clock_stands_still_while_a_result_is_dealt_with(stack, monkeypatch):
    import time

    now = [0]
    monkeypatch.setattr(time, "perf_counter_ns", lambda: now[0])
    batch = Batch(stack)

    def member(count: int) -> int:
        session = batch.session(8)
        begin = batch.clock.now_ns()
        for _ in range(count):
            now[0] += 10
            session.prefill(torch.tensor([[3]]))
        return batch.clock.now_ns() - begin

    taken = []
    for result in batch.run([lambda: member(1), lambda: member(2)]):
        taken.append(result)
        now[0] += 1_000_000
    assert taken == [20, 20]  # each is there for two of the three prompts
