"""Claims of losslessness of what is sampled: certified in a run, and refuted where the rule is wrong."""

import json

import pytest
import torch

from lsbench import pipeline
from lsbench.errors import EXIT_CLAIM_FAILED, EXIT_DONE
from lsbench.report.live import LiveView
from lsbench.store.run_folder import RunFolder
from lsbench.strategy import acceptance
from support.runs import go, lines_of

pytestmark = pytest.mark.usefixtures("one_thread")

DRAFTING = "self_speculative:draft=static_exit,draft.exit_layer=2,num_speculations=3"


@pytest.fixture
def spec(spec_for):
    return spec_for(
        DRAFTING,
        "static_exit:exit_layer=2",
        tasks=("tiny_generate",),
        dtype="float64",
        temperature=0.9,
        top_k=40,
        max_new_tokens=40,
        repeats=2,
    )


def looks_of(outcome):
    return [line for line in lines_of(outcome.folder.path) if line["kind"] == "certificate"]


def test_a_sampled_claim_that_holds_is_certified(spec):
    outcome = go(spec)
    assert outcome.exit_code == EXIT_DONE
    drafting, lossy = outcome.metrics.strategies
    assert lossy.certificate is None
