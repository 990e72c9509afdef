"""A bench on which a check takes a fraction of a second, and plugins with a fault in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from lsbench.strategy.conformance import Bench, CheckResult, check_strategy, random_bench

IMPORTS = """
import random
import numpy as np
import torch
from pydantic import field_serializer, field_validator
from lsbench.engine import ConstantPolicy, DepthPlan, DepthPolicy, Sampler, Session
from lsbench.strategy import *

class Half(Strategy):
    '''Runs the first half of the layers; without a fault.'''

    def prepare(self, preparation):
        self.num_layers = preparation.num_layers
        self.plan = DepthPlan.exit_at(self.num_layers, self.num_layers // 2)

    def policy(self, request):
        return ConstantPolicy(self.plan)

class Full(Half):
    '''The full model; without a fault.'''
    lossless = True

    def prepare(self, preparation):
        self.plan = DepthPlan.full(preparation.num_layers)
"""


@pytest.fixture(scope="session")
def bench() -> Bench:
    """The kit's own, with fewer prompts and shorter outputs."""
    whole = random_bench()
    return replace(whole, prompts=whole.prompts[:5], max_new_tokens=10, draws=100)


@pytest.fixture
def verdict(install, bench) -> Callable[[str, str], CheckResult]:
    """What one check says of the class ``Planted`` of a plugin's source."""

    def verdict(check: str, source: str) -> CheckResult:
        install("planted", IMPORTS + source, planted="planted_module:Planted")
        (result,) = check_strategy("planted", bench, only=[check]).results
        return result

    return verdict


@pytest.fixture(scope="session")
def imports() -> str:
    """How every planted plugin begins."""
    return IMPORTS
