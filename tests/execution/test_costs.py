import pytest

from lsbench.engine.block import Block
from lsbench.engine.clock import Clock
from lsbench.engine.stack import DecoderStack
from lsbench.execution.costs import measure_costs
from lsbench.spec import Sampling

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPT = (20, 40, 60, 80, 100)

# What each part takes, in nanoseconds, for a number of tokens.
PARTS = {
    (Block, "project"): lambda n: 2000 + 300 * n,
    (Block, "finish_attention"): lambda n: 1000 + 200 * n,
    (Block, "run_mlp"): lambda n: 9000 + 1000 * n,
    (DecoderStack, "head"): lambda n: 20000 + 5000 * n,
    (DecoderStack, "embed"): lambda n: 700,
}


@pytest.fixture
def virtual_time(monkeypatch):
    """A clock that only the model's parts move, each by what it is said to take."""
    now = [0]
    for (owner, name), takes in PARTS.items():
        real = getattr(owner, name)

        def slow(self, first, *rest, real=real, takes=takes):
            now[0] += takes(first.shape[0])
            return real(self, first, *rest)

        monkeypatch.setattr(owner, name, slow)
    monkeypatch.setattr(Clock, "now_ns", lambda self: now[0])
    return now


def test_every_part_is_told_from_the_others(virtual_time, tiny_stack):
    costs = measure_costs(tiny_stack, PROMPT, (1, 2, 5))
    assert [cost.width for cost in costs] == [1, 2, 5]
    for cost in costs:
        n = cost.width
        assert cost.layer_s == pytest.approx((12000 + 1500 * n) / 1e9)
        assert cost.head_s == pytest.approx((20000 + 5000 * n) / 1e9)
        assert cost.fixed_s == pytest.approx(700 / 1e9)
        assert cost.context == 5
    assert costs[0].attention_s == pytest.approx(3500 / 1e9)
    assert costs[0].mlp_s == pytest.approx(10000 / 1e9)
    assert [cost.attention_s for cost in costs[1:]] == [cost.mlp_s for cost in costs[1:]] == [None, None]


def test_slow_models_are_measured_a_few_times_and_fast_ones_often(virtual_time, tiny_stack, monkeypatch):
    from lsbench.execution import costs

    def steps_for(budget_s):
        monkeypatch.setattr(costs, "_BUDGET_S", budget_s)
        seen = []
        monkeypatch.setattr(Clock, "now_ns", lambda self: seen.append(1) or virtual_time[0])
        measure_costs(tiny_stack, PROMPT, (2,))
        return len(seen) / 2 / 3

    assert steps_for(0) == 4
    assert steps_for(1e9) == 41
    round_s = (3 * (20000 + 10000) + 2 * 700 + 4 * (12000 + 3000)) / 1e9
    assert steps_for(10.5 * round_s) == 12


def test_other_work_on_the_machine_does_not_move_the_costs(virtual_time, tiny_stack, monkeypatch):
    import random

    draw, late = random.Random(3), [0]

    def disturbed(self):
        late[0] += draw.choice((0, 0, 40000))
        return virtual_time[0] + late[0]

    monkeypatch.setattr(Clock, "now_ns", disturbed)
    (cost,) = measure_costs(tiny_stack, PROMPT, (1,))
    assert cost.layer_s == pytest.approx(13500 / 1e9)
    assert cost.head_s == pytest.approx(25000 / 1e9)


def test_real_costs_are_positive_and_the_stack_is_as_before(tiny_stack):
    import torch

    ids = torch.tensor([PROMPT])
    before = tiny_stack.model(ids).logits
    costs = measure_costs(tiny_stack, PROMPT, (1, 3))
    assert all(cost.layer_s > 0 and cost.head_s > 0 and cost.fixed_s > 0 for cost in costs)
    assert torch.equal(tiny_stack.model(ids).logits, before)


def test_what_strategies_do_besides_is_timed_at_width_1_alone(tiny_stack):
    alone, together = measure_costs(tiny_stack, PROMPT, (1, 2), Sampling(temperature=0.7, top_p=0.9))
    assert alone.fill_s > 0
    assert alone.check_s > 0
    assert alone.draw_s > 5e-6
    assert (together.fill_s, together.check_s, together.draw_s) == (None, None, None)
    assert measure_costs(tiny_stack, PROMPT, (1,))[0].draw_s < alone.draw_s / 3


def test_filling_costs_what_projecting_does(virtual_time, tiny_stack, monkeypatch):
    real = Block.project_kv

    def slow(self, hidden, *rest):
        virtual_time[0] += 4300 * hidden.shape[0]
        return real(self, hidden, *rest)

    monkeypatch.setattr(Block, "project_kv", slow)
    (cost,) = measure_costs(tiny_stack, PROMPT, (1,))
    assert cost.fill_s == pytest.approx(4300 / 1e9)
    assert cost.check_s == cost.draw_s == 0


def test_a_prompt_as_long_as_the_context_is_shortened(tiny_stack):
    (cost,) = measure_costs(tiny_stack, PROMPT * 32, (17,))
    assert cost.context == tiny_stack.context_length - 17
