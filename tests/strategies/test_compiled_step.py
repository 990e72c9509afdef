"""``hf_generate`` with its static cache, and with a compiled step where one can be."""

import time

import pytest
import torch

from lsbench.engine.clock import Clock
from lsbench.strategy import CannotRun

PROMPTS = [(5, 17, 3, 44, 8, 21, 9), (60,), (7, 8, 9, 7, 8, 9, 7, 8, 9, 7, 8)]


def test_on_a_cpu_it_says_why_not(bench):
    with pytest.raises(CannotRun, match="on CUDA alone; leave out compile=true"):
        bench.make("hf_generate:cache=static,compile=true")


@pytest.mark.slow
def test_a_static_cache_changes_no_token(bench):
    for prompt in PROMPTS:
        static = bench.run("hf_generate:cache=static", prompt, 24)
        assert static.tokens == bench.run("hf_generate", prompt, 24).tokens


@pytest.fixture
def compiling(bench, monkeypatch):
    """The strategy as on a GPU, but for a backend that counts graphs in place of writing kernels."""
    from transformers import CompileConfig

    from lsbench_strategies.compiled_step import CompiledStep

    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        time.sleep(1)
        return graph.forward

    how = CompileConfig(backend=backend, mode=None)
    how._compile_all_devices = True
    monkeypatch.setattr(CompiledStep, "check", lambda self, stack: None)
    monkeypatch.setattr(CompiledStep, "how", how)
    torch.compiler.reset()
    yield bench.make("hf_generate:compile=true"), graphs
    torch.compiler.reset()


@pytest.mark.slow
def test_it_is_compiled_once_and_while_no_clock_runs(compiling, bench):
    strategy, graphs = compiling
    clock = Clock(torch.device("cpu"))
    begin, begin_wall = clock.now_s(), time.perf_counter()
    first = bench.run(strategy, PROMPTS[0], 20).tokens
    assert first == bench.run("autoregressive", PROMPTS[0], 20).tokens
    # The engine's stand-ins for linear modules are no obstacle: the whole step is one graph.
    assert len(graphs) == 1
    aside = (time.perf_counter() - begin_wall) - (clock.now_s() - begin)
    assert aside > 1
    assert bench.run(strategy, PROMPTS[2], 30).tokens == bench.run("autoregressive", PROMPTS[2], 30).tokens
    assert len(graphs) == 1
