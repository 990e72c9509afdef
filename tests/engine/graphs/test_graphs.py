"""Recording and replaying: with a stand-in on a CPU, and as CUDA graphs where there is a GPU."""

from __future__ import annotations

import time

import pytest
import torch

from lsbench.engine import DecoderStack, DepthPlan, Session
from lsbench.engine import graphs as module
from lsbench.engine.clock import Clock
from lsbench.engine.graphs import MOST_ROWS, GraphedDecoder, about_graphs, graphed_decoder
from lsbench.engine.native import products_for
from lsbench.engine.native.library import GRAPHS, PRODUCTS
from lsbench.engine.quantized import quantize
from lsbench.engine.static_step import StaticStep, groups_of
from lsbench.errors import BadInput
from support.families.models import made_family, random_model, tiny_config, tiny_family

PROMPT = tuple(range(1, 20))
"""More than a graph takes, so that it is run operator by operator."""
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def stack(graphed) -> DecoderStack:
    stack = made_family("mistral").stack
    stack.native = graphed(stack)
    return stack


@pytest.fixture
def plain() -> DecoderStack:
    stack = tiny_family("mistral").stack
    assert stack.native is None
    return stack


def decode(stack: DecoderStack, count: int = 6, capacity: int = 32) -> torch.Tensor:
    """Logits of single tokens, then of two together."""
    session = Session(stack, capacity=capacity)
    device = stack.device
    full = DepthPlan.full(stack.num_layers)
    logits = [session.prefill(torch.tensor([PROMPT], device=device))[0][None]]
    for token in range(count):
        logits.append(session.forward(torch.tensor([[token]], device=device), full).logits[0])
    logits.append(session.verify(torch.tensor([[3, 4]], device=device)).logits[0])
    return torch.cat(logits)


def test_a_range_is_recorded_once_and_replayed_in_later_sessions_too(stack, plain, record):
    torch.testing.assert_close(decode(stack), decode(plain), rtol=1e-9, atol=1e-9)
    assert (stack.native.captures, record.replays) == (2, 7)  # one row, and two
    torch.testing.assert_close(decode(stack, 3, 60), decode(plain, 3), rtol=1e-9, atol=1e-9)
    assert (stack.native.captures, stack.native.repeats, record.replays) == (2, 0, 11)
    assert stack.native.words == "2 CUDA graphs were recorded, outside of every timing."


def test_sessions_at_the_same_time_do_not_share_a_place(stack, plain):
    decode(stack)  # leaves one
    full = DepthPlan.full(stack.num_layers)
    for each in (stack, plain):
        each_logits = []
        sessions = [Session(each), Session(each)]
        for shift, session in enumerate(sessions):
            session.prefill(torch.tensor([[token + shift for token in PROMPT]]))
        for token in range(3):
            each_logits.extend(session.forward(torch.tensor([[token]]), full).logits for session in sessions)
        if each is stack:
            ours = each_logits
    torch.testing.assert_close(ours, each_logits, rtol=1e-9, atol=1e-9)
    assert stack.native.captures == 3


def test_a_cache_that_outgrows_its_place_gets_a_larger_one(stack, plain, monkeypatch):
    monkeypatch.setattr("lsbench.engine.fixed_caches._LEAST", 2)
    torch.testing.assert_close(decode(stack, 20, 20), decode(plain, 20, 20), rtol=1e-9, atol=1e-9)
    assert stack.native.captures == 3


def test_what_is_handed_out_is_not_written_to_by_the_next_replay(stack):
    session = Session(stack)
    session.prefill(torch.tensor([PROMPT]))
    half = DepthPlan.exit_at(stack.num_layers, 2)
    kept = []
    for token in range(3):
        session.forward(torch.tensor([[token]]), half)
        kept.append(session.cache.resume[0, len(PROMPT) + token].clone())
    for place, hidden in enumerate(kept):
        assert torch.equal(session.cache.resume[0, len(PROMPT) + place], hidden)


def test_more_rows_run_operator_by_operator(stack, record):
    session = Session(stack)
    session.prefill(torch.tensor([PROMPT]))
    session.forward(torch.tensor([[1] * (MOST_ROWS + 1)]), DepthPlan.full(stack.num_layers))
    assert not record.replays
    session.forward(torch.tensor([[1] * MOST_ROWS]), DepthPlan.full(stack.num_layers))
    assert record.replays == 1


def test_recording_takes_no_time_of_any_clock(stack):
    inner = stack.native._record

    def slow(run, device):
        time.sleep(0.2)
        return inner(run, device)

    stack.native._record = slow
    session = Session(stack)
    session.prefill(torch.tensor([PROMPT]))
    clock, begin = Clock(CPU), time.perf_counter()
    before = clock.now_s()
    session.forward(torch.tensor([[1]]), DepthPlan.full(stack.num_layers))
    assert time.perf_counter() - begin - (clock.now_s() - before) >= 0.2


def test_who_stands_where_is_part_of_what_was_recorded(stack):
    """Three rows of two sequences in the same caches, in turns two and one, and one and two."""
    caches = [torch.zeros(2, 2, 8, 4, dtype=torch.float64) for _ in range(2)]
    others = [cache.clone() for cache in caches]
    hidden = torch.randn(3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rotary = stack.rotary(8)
    for sequences, positions in (([0, 0, 1], [0, 1, 0]), ([0, 1, 1], [2, 1, 2]), ([0, 0, 1], [3, 4, 3])):
        places = torch.tensor([[0] * 3, sequences, positions])
        turns = rotary[0][positions], rotary[1][positions]
        step = StaticStep(stack.blocks, stack.shape.scale, 0, 2, groups_of(places), others[:1], others[1:])
        made = stack.native.run(hidden, 0, 2, places, turns, caches[:1], caches[1:])
        torch.testing.assert_close(made, step(hidden, places[2], *turns))
        torch.testing.assert_close(caches, others)
    assert stack.native.captures == 2


def test_what_is_masked_is_read_anew_by_every_replay(stack, plain, record):
    made: list[torch.Tensor] = []
    full = DepthPlan.full(stack.num_layers)
    for each in (stack, plain):
        session = Session(each)
        session.prefill(torch.tensor([PROMPT]))
        for token, exit_layer in enumerate((1, 2, 1, 2, 3)):
            session.forward(torch.tensor([[token]]), DepthPlan.exit_at(each.num_layers, exit_layer, "mask"))
            made.append(session.forward(torch.tensor([[token]]), full).logits)
    torch.testing.assert_close(made[:5], made[5:], rtol=1e-9, atol=1e-9)
    # Full depth is taken exactly up to the first masked layer, and what follows in one range.
    assert record.replays > stack.native.captures


def test_few_are_kept_and_one_made_again_is_timed_and_told(stack, plain, monkeypatch):
    monkeypatch.setattr(module, "MOST_GRAPHS", 1)
    torch.testing.assert_close(decode(stack), decode(plain), rtol=1e-9, atol=1e-9)
    monkeypatch.setattr(module, "set_aside", lambda device: pytest.fail("it is not timed"))
    decode(stack)
    assert (stack.native.captures, stack.native.repeats) == (4, 2)
    assert stack.native.words.endswith(", 2 of them again and within timings.")


def test_where_recording_fails_everything_runs_as_before_and_says_so(stack, plain):
    def fails(run, device):
        run()
        tried.append(1)
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    tried: list[int] = []
    stack.native._record = fails
    torch.testing.assert_close(decode(stack), decode(plain), rtol=1e-9, atol=1e-9)
    assert len(tried) == 1
    assert stack.native.most_rows == 0
    assert "(operation not permitted when stream is capturing);" in stack.native.words


def test_nothing_to_run_runs_nothing(stack, record):
    hidden = torch.zeros(1, 16, dtype=torch.float64)
    places = torch.zeros(3, 1, dtype=torch.int64)
    assert stack.native.run(hidden, 0, 0, places, (hidden, hidden), [], []) is hidden
    assert not record.replays


@pytest.mark.parametrize(
    ("graphs", "products", "device", "serves"),
    [
        ("1", None, CUDA, True),
        ("1", "native", CUDA, True),
        ("1", None, CPU, False),
        ("1", "torch", CUDA, False),
        ("0", None, CUDA, False),
        (None, None, CUDA, True),
        (None, "torch", CUDA, False),
        (None, None, CPU, False),
    ],
)
def test_it_serves_on_cuda_unless_it_is_left_out(graphs, products, device, serves, monkeypatch, plain):
    for name, value in ((GRAPHS, graphs), (PRODUCTS, products)):
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    assert isinstance(graphed_decoder(plain.blocks, 1.0, device), GraphedDecoder) is serves


@pytest.mark.parametrize("name", ["gpt_neox", "mixtral"])
def test_it_does_not_serve_what_is_not_static(name, monkeypatch):
    monkeypatch.setenv(GRAPHS, "1")
    assert graphed_decoder(tiny_family(name).stack.blocks, 1.0, CUDA) is None


def test_a_misspelt_choice_is_refused(monkeypatch, plain):
    monkeypatch.setenv(GRAPHS, "yes")
    with pytest.raises(BadInput, match="LSBENCH_CUDA_GRAPHS 'yes'"):
        graphed_decoder(plain.blocks, 1.0, CUDA)


def test_results_say_what_came_of_it(monkeypatch, stack):
    decode(stack)
    assert about_graphs(stack.native, CPU) == [stack.native.words]
    monkeypatch.setenv(GRAPHS, "0")
    assert about_graphs(None, CUDA) == []
    assert "CUDA graphs are left out" in products_for(torch.bfloat16, CUDA).words
    monkeypatch.delenv(GRAPHS, raising=False)
    assert about_graphs(None, CPU) == []
    assert about_graphs(None, CUDA)[0].startswith("No CUDA graph serves this model")
    assert "replayed as CUDA graphs where they can be" in products_for(torch.bfloat16, CUDA).words


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", ["mistral", "gemma2", "qwen3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuda_graphs_give_what_the_operators_give(name, dtype, monkeypatch):
    monkeypatch.setenv(GRAPHS, "1")
    ours, theirs = (DecoderStack(made_family(name, dtype).stack.model.to(CUDA)) for _ in range(2))
    theirs.native = None
    tolerance = 1e-3 if dtype == torch.float32 else 0.3
    for count in (6, 3):
        torch.testing.assert_close(decode(ours, count), decode(theirs, count), rtol=tolerance, atol=tolerance)
    assert isinstance(ours.native, GraphedDecoder)
    assert (ours.native.failure, ours.native.captures, ours.native.repeats) == (None, 2, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_graphs_of_int8_weights_give_what_the_operators_give(monkeypatch):
    monkeypatch.delenv(GRAPHS, raising=False)

    def quantized() -> DecoderStack:
        model = random_model(tiny_config("llama", torch.float32), torch.float32)
        quantize(model)
        return DecoderStack(model.to(CUDA))

    ours, theirs = quantized(), quantized()
    theirs.native = None
    torch.testing.assert_close(decode(ours), decode(theirs), rtol=1e-3, atol=1e-3)
    assert isinstance(ours.native, GraphedDecoder)
    assert (ours.native.failure, ours.native.captures) == (None, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_many_cuda_graphs_share_one_memory_and_none_disturbs_another(monkeypatch):
    """Each range is another graph, and all are replayed in turns after all were recorded."""
    monkeypatch.delenv(GRAPHS, raising=False)
    ours, theirs = (
        DecoderStack(made_family("mistral", torch.float32).stack.model.to(CUDA)) for _ in range(2)
    )
    theirs.native = None
    plans = [DepthPlan.skipping(ours.num_layers, [index]) for index in range(2 * ours.num_layers)]
    made = []
    for stack in (ours, theirs):
        session = Session(stack, capacity=128)
        session.prefill(torch.tensor([PROMPT], device=CUDA))
        logits = [
            session.forward(torch.tensor([[token]], device=CUDA), plan).logits[0]
            for token, plan in enumerate(plans * 3)
        ]
        made.append(torch.cat(logits))
    torch.testing.assert_close(*made, rtol=1e-3, atol=1e-3)
    assert ours.native.captures > len(plans)
    assert ours.native.repeats == 0
