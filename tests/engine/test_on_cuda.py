"""The KV contract on a GPU, in every family: operator by operator, and where graphs are replayed."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsbench.engine import DecoderStack
from lsbench.engine.graphs import GraphedDecoder
from lsbench.engine.native.library import GRAPHS
from support.families.models import LAYERS, VARIANTS, TinyFamily, made_family
from support.families.reference import LayerReference
from support.kv_contract.check import Check
from support.kv_contract.scenarios import hard_scenarios, scenarios

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]

# Transformers computes some of the things between products in float32 whatever the model's precision.
TOLERANCE = 1e-8


@lru_cache
def _tiny(name: str, graphs: bool) -> TinyFamily:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(GRAPHS, str(int(graphs)))
        made = made_family(name, device="cuda")
    assert isinstance(made.stack, DecoderStack)
    assert made.stack.device.type == "cuda"
    assert graphs == isinstance(made.stack.native, GraphedDecoder)
    return made


@pytest.mark.parametrize("name", VARIANTS)
def test_hard_scenarios_hold_it_in_every_family(name):
    for scenario in hard_scenarios(LAYERS).values():
        Check(_tiny(name, False), scenario, LayerReference, TOLERANCE).run()


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "qwen3"])
def test_hard_scenarios_hold_it_where_graphs_are_replayed(name):
    for scenario in hard_scenarios(LAYERS).values():
        Check(_tiny(name, True), scenario, LayerReference, TOLERANCE).run()
    assert _tiny(name, True).stack.native.failure is None  # pyright: ignore[reportOptionalMemberAccess]
    assert _tiny(name, True).stack.native.captures > 0  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize("graphs", [False, True])
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_scenarios_hold_it(graphs, data):
    batch = data.draw(st.integers(1, 2))
    Check(_tiny("mistral", graphs), data.draw(scenarios(LAYERS, batch, 8)), LayerReference, TOLERANCE).run()
