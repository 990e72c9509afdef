import pytest
import torch

from lsbench.engine.block import Block
from lsbench.engine.cache import KVCache
from lsbench.engine.clock import Clock
from lsbench.engine.stack import DecoderStack
from lsbench.execution import roofline
from lsbench.execution.roofline import PartCost, bound_fraction, profile_step

pytestmark = pytest.mark.usefixtures("one_thread")
L = 4

# What each takes, in nanoseconds, for a number of tokens; the norms within a part come on top.
PARTS = {
    (Block, "project"): lambda n: 2000 + 300 * n,
    (Block, "finish_attention"): lambda n: 1000 + 200 * n,
    (Block, "run_mlp"): lambda n: 9000 + 1000 * n,
    (DecoderStack, "head"): lambda n: 20000 + 5000 * n,
    (DecoderStack, "embed"): lambda n: 700,
}
NORM, WRITE = 40, 60


@pytest.fixture
def virtual_time(monkeypatch, tiny_stack):
    now = [0]

    def takes(owner, name, nanoseconds, counted=0):
        real = getattr(owner, name)

        def slow(self, *given):
            now[0] += nanoseconds(given[counted].shape[0])
            return real(self, *given)

        monkeypatch.setattr(owner, name, slow)

    for (owner, name), nanoseconds in PARTS.items():
        takes(owner, name, nanoseconds)
    takes(KVCache, "write", lambda n: WRITE * n, counted=3)
    norm = type(tiny_stack.model.model.norm)
    takes(norm, "forward", lambda n: NORM * n)
    monkeypatch.setattr(Clock, "now_ns", lambda self: now[0])


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("width", [1, 5])
def test_every_part_is_told_from_the_others(tiny_stack, width):
    profile = profile_step(tiny_stack, width)
    n = width
    expected = {
        "attention": L * (3000 + 500 * n),
        "MLP": L * (9000 + 1000 * n),
        "head": 20000 + 5000 * n,
        "norms": (2 * L + 1) * NORM * n,
        "cache write": L * WRITE * n,
        "sampling": 0,
        "Python, the rest": 700,
    }
    assert {part.name: round(part.seconds * 1e9) for part in profile.parts} == expected
    assert round(profile.seconds * 1e9) == sum(expected.values())
    assert profile.width == width


def test_the_weights_of_the_parts_are_those_of_the_step(tiny_stack, monkeypatch):
    monkeypatch.setattr(roofline, "_BUDGET_S", 0)
    profile = profile_step(tiny_stack, 2)
    weights = {part.name: part.weight_bytes for part in profile.parts}
    assert profile.weight_bytes == sum(weights.values())
    assert weights["attention"] == sum(block.attention_bytes for block in tiny_stack.blocks)
    assert weights["MLP"] == sum(block.mlp_bytes for block in tiny_stack.blocks)
    assert all(weights[name] == 0 for name in ("norms", "cache write", "sampling", "Python, the rest"))


def test_a_real_profile_adds_up_and_leaves_the_stack_as_it_was(tiny_stack, monkeypatch):
    monkeypatch.setattr(roofline, "_BUDGET_S", 0)
    ids = torch.tensor([[20, 40, 60]])
    before = tiny_stack.model(ids).logits
    profile = profile_step(tiny_stack, 4)
    assert torch.equal(tiny_stack.model(ids).logits, before)
    assert sum(part.seconds for part in profile.parts) == pytest.approx(profile.seconds)
    assert profile.context == tiny_stack.context_length - 4


def test_passes_do_what_the_step_does(tiny_stack, monkeypatch):
    """Run through all layers one after the other, they would make the step's own hidden states."""
    from lsbench.execution.costs import session_after

    seen = {}
    for name in ("project", "finish_attention", "run_mlp"):
        real = getattr(Block, name)

        def noted(self, *given, real=real, name=name):
            seen.setdefault(name, []).append([tuple(each.shape) for each in given if each is not None])
            return real(self, *given)

        monkeypatch.setattr(Block, name, noted)
    session = session_after(tiny_stack, range(20), 3)
    seen.clear()
    session.forward(torch.tensor([[7, 7, 7]]), session._full)
    in_step = {name: list(shapes) for name, shapes in seen.items()}
    session.truncate(20)
    passes = roofline._passes(session, 3)
    seen.clear()
    with torch.inference_mode():
        for name in ("attention", "mlp"):
            passes[name]()
    assert seen == in_step


def test_where_compiled_code_runs_the_step_its_parts_are_compiled_too(tiny_model, monkeypatch):
    from lsbench.engine.loading import load_stack

    stack = load_stack(tiny_model, "float32", "cpu")
    if stack.native is None:
        pytest.skip("no compiled code")
    monkeypatch.setattr(roofline, "_BUDGET_S", 0)
    profile = profile_step(stack, 3)
    assert [part.name for part in profile.parts] == [
        *("attention, norms and cache write", "MLP and norms", "head", "sampling", "Python, the rest")
    ]
    assert sum(part.weight_bytes for part in profile.parts) == profile.weight_bytes
    assert sum(part.seconds for part in profile.parts) == pytest.approx(profile.seconds)


def test_the_bound_is_what_reading_the_weights_takes():
    assert bound_fraction(PartCost("MLP", 2.0, 300), 200.0) == pytest.approx(0.75)
    assert bound_fraction(PartCost("norms", 2.0, 0), 200.0) is None
    assert bound_fraction(PartCost("MLP", 0.0, 300), 200.0) is None
